package bundle_test

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/millrace/millrace/trainer/bundle"
	"github.com/millrace/millrace/trainer/learn"
)

// The key pair of RFC 8410, section 10, as openssl writes it.
const (
	rfcPrivate = `-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
-----END PRIVATE KEY-----
`
	rfcPublic = `-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PUBLIC KEY-----
`
	// A P-256 key: a public key, but of another kind.
	ecPublic = `-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt
6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==
-----END PUBLIC KEY-----
`
)

func openKeys(t *testing.T, dir string) *bundle.Keys {
	t.Helper()
	keys, err := bundle.OpenKeys(dir)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// put writes a file with exactly that mode.
func put(t *testing.T, path, data string, mode fs.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(data), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func trusts(k *bundle.Keys, key ed25519.PublicKey) bool {
	return slices.ContainsFunc(k.Trusted(), func(t ed25519.PublicKey) bool { return t.Equal(key) })
}

// TestOpenKeysMakesOnePair lets many make it at once: all get the same.
func TestOpenKeysMakesOnePair(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data", "keys")
	var openers sync.WaitGroup
	got := make([]*bundle.Keys, 8)
	for i := range got {
		openers.Go(func() {
			var err error
			if got[i], err = bundle.OpenKeys(dir); err != nil {
				t.Error(err)
			}
		})
	}
	openers.Wait()
	if t.Failed() {
		return
	}
	for _, k := range got {
		if !k.Private().Equal(got[0].Private()) || !trusts(k, k.Public()) {
			t.Fatal("two processes have two keys, or one that they do not trust")
		}
	}
	if all := names(t, dir); !slices.Equal(all, []string{"signing.key", "trusted"}) {
		t.Errorf("the folder holds %q", all)
	}
	if all := names(t, filepath.Join(dir, "trusted")); !slices.Equal(all, []string{bundle.KeyID(got[0].Public()) + ".pub"}) {
		t.Errorf("trusted holds %q", all)
	}
	if info, err := os.Stat(filepath.Join(dir, "signing.key")); err != nil || info.Mode() != 0o600 {
		t.Errorf("signing.key: %v, %v", info.Mode(), err)
	}
}

// TestKeysOfOpenSSL reads a pair made by others, and through a link, as clusters
// mount secrets.
func TestKeysOfOpenSSL(t *testing.T) {
	dir, secrets := t.TempDir(), t.TempDir()
	put(t, filepath.Join(secrets, "key"), rfcPrivate, 0o400)
	if err := os.Symlink(filepath.Join(secrets, "key"), filepath.Join(dir, "signing.key")); err != nil {
		t.Fatal(err)
	}
	keys := openKeys(t, dir)
	if got := string(bundle.EncodePublic(keys.Public())); got != rfcPublic {
		t.Errorf("public key %s", got)
	}
	key, err := bundle.DecodePublic([]byte("# of the trainer\n" + rfcPublic + "\n"))
	if err != nil || !key.Equal(keys.Public()) {
		t.Errorf("%v, %v", key, err)
	}
	if got := bundle.KeyID(key); got != "e744c0791320c328" {
		t.Errorf("key id %s", got)
	}
}

// TestReadKeysMakesNothing is for servers, which have no private key.
func TestReadKeysMakesNothing(t *testing.T) {
	dir := t.TempDir()
	keys, err := bundle.ReadKeys(dir)
	if err != nil || keys.Private() != nil || keys.Public() != nil || len(keys.Trusted()) != 0 || len(names(t, dir)) != 0 {
		t.Fatalf("%v, %v, and the folder holds %q", keys, err, names(t, dir))
	}
	if err := keys.Trust(public(testKey(5))); err != nil || !trusts(keys, public(testKey(5))) {
		t.Errorf("%v: %v", keys.Trusted(), err)
	}
	again, err := bundle.ReadKeys(dir)
	if err != nil || again.Private() != nil || !trusts(again, public(testKey(5))) {
		t.Errorf("%v, %v", again, err)
	}
	if own := openKeys(t, dir); len(own.Trusted()) != 2 || !trusts(own, own.Public()) {
		t.Errorf("%d keys trusted", len(own.Trusted()))
	}
	if withPair, err := bundle.ReadKeys(dir); err != nil || withPair.Private() == nil {
		t.Errorf("the pair is there now: %v", err)
	}
}

// TestTrustIsForWholeBundles signs on one machine and opens on another.
func TestTrustIsForWholeBundles(t *testing.T) {
	trainer, server, models := openKeys(t, t.TempDir()), openKeys(t, t.TempDir()), t.TempDir()
	w := newWorld(t, learn.Binary, 1, 20)
	w.key = trainer.Private()
	id := w.write(t, models)
	if _, err := bundle.Open(models, id, server.Trusted()); err == nil || !strings.Contains(err.Error(), bundle.KeyID(trainer.Public())) {
		t.Errorf("a stranger's bundle: %v", err)
	}
	for range 2 { // again changes nothing
		if err := server.Trust(trainer.Public()); err != nil || len(server.Trusted()) != 2 {
			t.Fatalf("%d keys, %v", len(server.Trusted()), err)
		}
	}
	if _, err := bundle.Open(models, id, server.Trusted()); err != nil {
		t.Error(err)
	}
}

// TestRotate makes a new pair, and still opens what the old one signed.
func TestRotate(t *testing.T) {
	dir, models := t.TempDir(), t.TempDir()
	keys := openKeys(t, dir)
	w := newWorld(t, learn.Binary, 1, 20)
	w.key = keys.Private()
	id, old := w.write(t, models), keys.Public()
	if err := keys.Rotate(); err != nil {
		t.Fatal(err)
	}
	again := openKeys(t, dir)
	if keys.Public().Equal(old) || !again.Private().Equal(keys.Private()) || len(again.Trusted()) != 2 || len(keys.Trusted()) != 2 {
		t.Errorf("old %s, new %s, %d trusted", bundle.KeyID(old), bundle.KeyID(again.Public()), len(again.Trusted()))
	}
	if _, err := bundle.Open(models, id, again.Trusted()); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(filepath.Join(dir, "signing.key")); err != nil || info.Mode() != 0o600 {
		t.Errorf("signing.key: %v, %v", info.Mode(), err)
	}
	if all := names(t, dir); !slices.Equal(all, []string{"signing.key", "trusted"}) {
		t.Errorf("the folder holds %q", all)
	}
}

// TestKeysRefuse holds what is wrong with files of keys, by both ways to open
// them where it concerns both.
func TestKeysRefuse(t *testing.T) {
	for want, make := range map[string]func(t *testing.T, dir string){
		"can be read by others (mode 0644); chmod 600 it": func(t *testing.T, dir string) { put(t, filepath.Join(dir, "signing.key"), rfcPrivate, 0o644) },
		"(mode 0640)":                               func(t *testing.T, dir string) { put(t, filepath.Join(dir, "signing.key"), rfcPrivate, 0o640) },
		"no line -----BEGIN PRIVATE KEY-----":       func(t *testing.T, dir string) { put(t, filepath.Join(dir, "signing.key"), "", 0o600) },
		`it is a "PUBLIC KEY", not a "PRIVATE KEY"`: func(t *testing.T, dir string) { put(t, filepath.Join(dir, "signing.key"), rfcPublic, 0o600) },
		"signing.key: the key is damaged": func(t *testing.T, dir string) {
			put(t, filepath.Join(dir, "signing.key"), strings.Replace(rfcPrivate, "MC4C", "MC4D", 1), 0o600)
		},
		"is not the file of a key": func(t *testing.T, dir string) {
			put(t, filepath.Join(dir, "signing.key"), strings.Repeat("x", 1<<14+1), 0o600)
		},
		"a.pub: bundle: public key: it is a private key, which stays where it was made": func(t *testing.T, dir string) {
			put(t, filepath.Join(dir, "trusted", "a.pub"), rfcPrivate, 0o644)
		},
		"b.pub: bundle: public key: there is no line -----BEGIN PUBLIC KEY-----": func(t *testing.T, dir string) {
			put(t, filepath.Join(dir, "trusted", "b.pub"), "ssh-ed25519 AAAA", 0o644)
		},
		"bundles are signed with ed25519": func(t *testing.T, dir string) { put(t, filepath.Join(dir, "trusted", "c.pub"), ecPublic, 0o644) },
		"something after the key; one file has one key": func(t *testing.T, dir string) {
			put(t, filepath.Join(dir, "trusted", "d.pub"), rfcPublic+rfcPublic, 0o644)
		},
		"asn1": func(t *testing.T, dir string) {
			put(t, filepath.Join(dir, "trusted", "e.pub"), strings.Replace(rfcPublic, "MCow", "MCox", 1), 0o644)
		},
		"trusted: not a directory": func(t *testing.T, dir string) { put(t, filepath.Join(dir, "trusted"), "", 0o644) },
	} {
		dir := t.TempDir()
		make(t, dir)
		_, err := bundle.OpenKeys(dir)
		_, readErr := bundle.ReadKeys(dir)
		for _, err := range []error{err, readErr} {
			if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "MC4C") {
				t.Errorf("%v, want %q", err, want)
			}
		}
	}
}

// TestTrustHasALimit says what to do about it.
func TestTrustHasALimit(t *testing.T) {
	dir := t.TempDir()
	for i := range 256 {
		put(t, filepath.Join(dir, "trusted", fmt.Sprint(i, ".pub")), string(bundle.EncodePublic(public(testKey(byte(i))))), 0o644)
	}
	keys, err := bundle.ReadKeys(dir)
	if err != nil || len(keys.Trusted()) != 256 || keys.Trust(public(testKey(7))) != nil {
		t.Fatal(err)
	}
	if err := keys.Trust(make(ed25519.PublicKey, 32)); err == nil || !strings.Contains(err.Error(), "256 keys are trusted; remove some of ") {
		t.Error(err)
	}
}

// TestNoLogShowsKeys prints keys in every way that people do by mistake.
func TestNoLogShowsKeys(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "signing.key"), rfcPrivate, 0o600)
	keys := openKeys(t, dir)
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d", "%q"} {
		fmt.Fprintf(&out, verb+"\n", keys)
		fmt.Fprintf(&out, verb+"\n", *keys)
	}
	slog.New(slog.NewTextHandler(&out, nil)).Info("keys", "keys", keys)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("keys", "keys", keys)
	seed := keys.Private().Seed()
	for _, form := range []string{"%x", "%X", "%d", "%s", "%q", "%v"} {
		if secret := strings.Trim(fmt.Sprintf(form, seed[:8]), "[]\""); strings.Contains(out.String(), secret) {
			t.Errorf("the private key is in\n%s", out.String())
		}
	}
	if !strings.Contains(out.String(), "keys in "+dir) {
		t.Errorf("printed: %s", out.String())
	}
}
