package bundle

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const (
	privateName = "signing.key"
	trustedName = "trusted"
	publicExt   = ".pub"
	publicPEM   = "PUBLIC KEY"
	privatePEM  = "PRIVATE KEY"

	maxKeyBytes = 16 << 10 // of a key's file: it has 120
	maxTrusted  = 256      // keys: each may be tried at each opening
)

// Keys are a project's keys: the pair that signs its bundles, and those whose
// bundles are trusted. In their folder, signing.key is the private key, PKCS#8
// in PEM, which nobody but its owner may read, and trusted/*.pub are public
// ones, PKIX in PEM: the formats of openssl. The keys are as they were when they
// were read.
type Keys struct {
	dir     string
	private ed25519.PrivateKey // nil: none that we can read
	trusted []ed25519.PublicKey
}

// OpenKeys reads the keys in a folder. It makes the pair where there is none:
// of several processes that do so at once, all get the same one. Its own key is
// always among the trusted.
func OpenKeys(dir string) (*Keys, error) {
	k, err := openKeys(dir)
	if err != nil {
		return nil, fmt.Errorf("bundle: keys: %w", err)
	}
	return k, nil
}

func openKeys(dir string) (*Keys, error) {
	path := filepath.Join(dir, privateName)
	private, err := readPrivate(path)
	if errors.Is(err, fs.ErrNotExist) {
		if private, err = generate(); err == nil {
			err = writePrivate(path, private, os.Link) // refuses a name that is taken
		}
		if errors.Is(err, fs.ErrExist) || err == nil {
			private, err = readPrivate(path)
		}
	}
	if err != nil {
		return nil, err
	}
	if err := writePublic(dir, private.Public().(ed25519.PublicKey)); err != nil {
		return nil, err
	}
	k := &Keys{dir: dir, private: private}
	k.trusted, err = readTrusted(dir)
	return k, err
}

// ReadKeys reads the keys in a folder and makes none: those who only open
// bundles need no private key, and have none where they may not read it.
func ReadKeys(dir string) (*Keys, error) {
	k := &Keys{dir: dir}
	var err error
	k.private, err = readPrivate(filepath.Join(dir, privateName))
	if err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		k.trusted, err = readTrusted(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("bundle: keys: %w", err)
	}
	return k, nil
}

// Private returns the key that signs, or nil where ReadKeys found none.
func (k *Keys) Private() ed25519.PrivateKey { return k.private }

// Public returns the public half of the key that signs, or nil.
func (k *Keys) Public() ed25519.PublicKey {
	if k.private == nil {
		return nil
	}
	return k.private.Public().(ed25519.PublicKey)
}

// Trusted returns the keys whose bundles are opened, by the names of their files.
func (k *Keys) Trusted() []ed25519.PublicKey { return k.trusted }

// Trust adds a key to those that are trusted, for good.
func (k *Keys) Trust(key ed25519.PublicKey) error {
	if err := writePublic(k.dir, key); err != nil {
		return fmt.Errorf("bundle: keys: %w", err)
	}
	return k.reread()
}

// Rotate replaces the pair that signs by a new one. The old public key stays
// trusted, so that what it signed can still be opened.
func (k *Keys) Rotate() error {
	private, err := generate()
	if err == nil {
		err = writePublic(k.dir, private.Public().(ed25519.PublicKey)) // first: what a new key signs is trusted at once
	}
	if err == nil {
		err = writePrivate(filepath.Join(k.dir, privateName), private, os.Rename)
	}
	if err != nil {
		return fmt.Errorf("bundle: keys: %w", err)
	}
	k.private = private
	return k.reread()
}

func (k *Keys) reread() error {
	trusted, err := readTrusted(k.dir)
	if err != nil {
		return fmt.Errorf("bundle: keys: %w", err)
	}
	k.trusted = trusted
	return nil
}

// Format prints the folder alone, whatever the verb: no log gets to see a key.
func (k Keys) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "keys in %s", k.dir) }

// EncodePublic returns a public key in PEM.
func EncodePublic(key ed25519.PublicKey) []byte {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		panic(err) // an ed25519 key has a form
	}
	return pem.EncodeToMemory(&pem.Block{Type: publicPEM, Bytes: der})
}

// DecodePublic reads a public key in PEM.
func DecodePublic(data []byte) (ed25519.PublicKey, error) {
	block, err := decodePEM(data, publicPEM)
	if err != nil {
		return nil, fmt.Errorf("bundle: public key: %w", err)
	}
	key, err := x509.ParsePKIXPublicKey(block)
	if err != nil {
		return nil, fmt.Errorf("bundle: public key: %w", err)
	}
	public, ok := key.(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("bundle: public key: it is a %T; bundles are signed with ed25519", key)
	}
	return public, nil
}

// decodePEM returns the bytes of the one block of data. Its errors show nothing
// of what is in it.
func decodePEM(data []byte, want string) ([]byte, error) {
	block, rest := pem.Decode(data)
	switch {
	case block == nil:
		return nil, fmt.Errorf("there is no line -----BEGIN %s-----", want)
	case want == publicPEM && strings.HasSuffix(block.Type, privatePEM):
		return nil, errors.New(`it is a private key, which stays where it was made; print the public one there by "millrace keys show"`)
	case block.Type != want:
		return nil, fmt.Errorf("it is a %q, not a %q", block.Type, want)
	case len(bytes.TrimSpace(rest)) > 0:
		return nil, errors.New("there is something after the key; one file has one key")
	}
	return block.Bytes, nil
}

// generate makes a private key.
func generate() (ed25519.PrivateKey, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	return private, err
}

// readPrivate reads signing.key.
func readPrivate(path string) (ed25519.PrivateKey, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("%s can be read by others (mode %04o); chmod 600 it, and if somebody may have read it, make another by \"millrace keys rotate\"", path, mode)
	}
	data, err := readKey(path)
	if err != nil {
		return nil, err
	}
	der, err := decodePEM(data, privatePEM)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("%s: the key is damaged", path) // the parser's words may show bytes of it
	}
	private, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s: it is a %T; bundles are signed with ed25519", path, key)
	}
	return private, nil
}

// readKey reads the file of a key, which may be a link: that is how clusters
// mount secrets.
func readKey(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxKeyBytes {
		return nil, fmt.Errorf("%s is not the file of a key, which has at most %d bytes", path, maxKeyBytes)
	}
	return os.ReadFile(path)
}

// writePrivate writes a private key and gives it its name by link or rename.
func writePrivate(path string, key ed25519.PrivateKey, name func(from, to string) error) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return writeKey(path, pem.EncodeToMemory(&pem.Block{Type: privatePEM, Bytes: der}), 0o600, name)
}

// writePublic adds a public key to the trusted ones, where it is not there.
func writePublic(dir string, key ed25519.PublicKey) error {
	trusted, err := readTrusted(dir)
	if err != nil {
		return err
	}
	for _, t := range trusted {
		if t.Equal(key) {
			return nil
		}
	}
	if len(trusted) >= maxTrusted {
		return fmt.Errorf("%d keys are trusted; remove some of %s", len(trusted), filepath.Join(dir, trustedName, "*"+publicExt))
	}
	return writeKey(filepath.Join(dir, trustedName, KeyID(key)+publicExt), EncodePublic(key), 0o644, os.Rename)
}

// writeKey writes a whole file beside path and then names it.
func writeKey(path string, data []byte, mode fs.FileMode, name func(from, to string) error) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, tempPrefix) // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := name(f.Name(), path); err != nil {
		return err
	}
	return syncFolder(dir)
}

// readTrusted reads trusted/*.pub. One that is no key is an error: whoever put
// it there believes that it is trusted.
func readTrusted(dir string) ([]ed25519.PublicKey, error) {
	folder := filepath.Join(dir, trustedName)
	entries, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var keys []ed25519.PublicKey
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), publicExt) || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		data, err := readKey(filepath.Join(folder, e.Name()))
		if err != nil {
			return nil, err
		}
		key, err := DecodePublic(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w; remove the file, or put a public key there", filepath.Join(folder, e.Name()), err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}
