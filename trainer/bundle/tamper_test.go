package bundle_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/trainer/bundle"
	"github.com/millrace/millrace/trainer/learn"
)

// A copied bundle lies in a folder of its own, where it can be changed.
type copied struct {
	dir, id string
	files   map[string]string
	trusted []ed25519.PublicKey
}

func newCopied(t testing.TB, w *world) *copied {
	t.Helper()
	dir := t.TempDir()
	id := w.write(t, dir)
	c := &copied{t.TempDir(), id, readAll(t, filepath.Join(dir, id)), []ed25519.PublicKey{public(w.key)}}
	if err := os.Mkdir(filepath.Join(c.dir, id), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, data := range c.files {
		c.put(t, name, data)
	}
	if err := c.open(); err != nil {
		t.Fatalf("a copy does not open: %v", err)
	}
	return c
}

func (c *copied) path(name string) string { return filepath.Join(c.dir, c.id, name) }

func (c *copied) put(t testing.TB, name, data string) {
	t.Helper()
	if err := os.WriteFile(c.path(name), []byte(data), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (c *copied) open() error {
	_, err := bundle.Open(c.dir, c.id, c.trusted)
	return err
}

// refused reports a bundle that opens all the same, and an error that does not
// name the file.
func (c *copied) refused(t *testing.T, name, how string) {
	t.Helper()
	if err := c.open(); err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), c.id[:12]) {
		t.Errorf("%s %s: %v", name, how, err)
	}
}

// TestEachByteCounts changes one bit of each byte of each file in turn, cuts
// files and makes them longer.
func TestEachByteCounts(t *testing.T) {
	w := newWorld(t, learn.Binary, 1, 30)
	w.contents.Golden = w.rows[:2]
	c := newCopied(t, w)
	for name, data := range c.files {
		for i := range len(data) {
			changed := []byte(data)
			changed[i] ^= []byte{0x20, 1, 0x80, 4}[i%4] // 0x20 makes small letters large ones
			c.put(t, name, string(changed))
			c.refused(t, name, fmt.Sprintf("with byte %d changed", i))
		}
		for _, n := range []int{0, 1, len(data) / 2, len(data) - 1} {
			c.put(t, name, data[:n])
			c.refused(t, name, fmt.Sprintf("cut to %d bytes", n))
		}
		for _, more := range []string{"\x00", "\n", " ", "{}", data} {
			c.put(t, name, data+more)
			c.refused(t, name, fmt.Sprintf("with %d bytes more", len(more)))
		}
		c.put(t, name, data)
	}
	if err := c.open(); err != nil {
		t.Errorf("put right again, it does not open: %v", err)
	}
}

// TestFilesAreThoseListed removes files, adds some and puts others in their place.
func TestFilesAreThoseListed(t *testing.T) {
	c := newCopied(t, newWorld(t, learn.Binary, 1, 30))
	for name, data := range c.files {
		path := c.path(name)
		remove := func() {
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
		}
		remove()
		c.refused(t, name+" is missing", "removed")
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
		c.refused(t, name+" is not a file", "a folder")
		remove()
		c.put(t, "../"+name, data)
		if err := os.Symlink("../"+name, path); err != nil {
			t.Fatal(err)
		}
		c.refused(t, name+" is not a file", "a link")
		remove()
		c.put(t, name, data)
	}
	for _, name := range []string{"more.txt", ".hidden", "manifest.json~"} {
		c.put(t, name, "")
		c.refused(t, name+" is in the folder and not in the manifest", "added")
		os.Remove(c.path(name))
	}
	if err := c.open(); err != nil {
		t.Errorf("put right again, it does not open: %v", err)
	}
}

// TestPartsOfTwoBundles puts a file of one bundle into another, whole and valid
// as it is, and a bundle under another's name.
func TestPartsOfTwoBundles(t *testing.T) {
	one, other := newCopied(t, newWorld(t, learn.Binary, 1, 30)), newCopied(t, newWorld(t, learn.Binary, 2, 30))
	for name, data := range other.files {
		if data == one.files[name] {
			continue
		}
		one.put(t, name, data)
		one.refused(t, name, "of another bundle")
		one.put(t, name, one.files[name])
	}
	for name, data := range other.files {
		one.put(t, name, data)
	}
	one.refused(t, "manifest.json: its SHA-256 is "+other.id+" and not the bundle's id", "of another bundle, with all its files")
}

// TestOnlyTrustedKeys names the key, and what to do.
func TestOnlyTrustedKeys(t *testing.T) {
	w := newWorld(t, learn.Binary, 1, 30)
	c := newCopied(t, w)
	for _, trusted := range [][]ed25519.PublicKey{nil, {public(testKey(2))}, {public(testKey(2)), public(testKey(3))}} {
		c.trusted = trusted
		c.refused(t, fmt.Sprintf("manifest.sig: signed by key %q, which is not trusted here", bundle.KeyID(public(w.key))), "of a stranger")
		c.refused(t, `"millrace keys trust FILE"`, "of a stranger")
		if err := c.open(); !errors.Is(err, bundle.ErrUntrusted) {
			t.Errorf("%v is not ErrUntrusted", err)
		}
	}
	c.trusted = []ed25519.PublicKey{public(w.key)}
	// A stranger's signature under a trusted key's name.
	forged, _ := json.Marshal(map[string]string{
		"key":       bundle.KeyID(public(w.key)),
		"signature": hex.EncodeToString(ed25519.Sign(testKey(2), []byte(c.files[bundle.ManifestName]))),
	})
	c.put(t, bundle.SignatureName, string(forged)+"\n")
	c.refused(t, "manifest.sig: key "+bundle.KeyID(public(w.key))+" has not signed this manifest.json", "forged")
	if err := c.open(); errors.Is(err, bundle.ErrUntrusted) {
		t.Errorf("trusting a key does not help here: %v", err)
	}
}

// sign makes a bundle of changed files: sums, id and signature are right.
func (c *copied) sign(t *testing.T, files map[string]string, change func(manifest string) string) {
	t.Helper()
	var m bundle.Manifest
	if err := json.Unmarshal([]byte(c.files[bundle.ManifestName]), &m); err != nil {
		t.Fatal(err)
	}
	for i := range m.Files {
		f := &m.Files[i]
		sum := sha256.Sum256([]byte(files[f.Name]))
		f.Size, f.SHA256 = int64(len(files[f.Name])), hex.EncodeToString(sum[:])
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(m); err != nil {
		t.Fatal(err)
	}
	manifest := change(b.String())
	signature, _ := json.Marshal(struct {
		Key       string `json:"key"`
		Signature string `json:"signature"`
	}{bundle.KeyID(public(testKey(1))), hex.EncodeToString(ed25519.Sign(testKey(1), []byte(manifest)))})
	files[bundle.ManifestName], files[bundle.SignatureName] = manifest, string(signature)+"\n"
	sum := sha256.Sum256([]byte(manifest))
	c.id = hex.EncodeToString(sum[:])
	if err := os.MkdirAll(c.path(""), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, data := range files {
		c.put(t, name, data)
	}
}

// TestSignedNonsense opens bundles that a trusted key has signed and that are
// wrong all the same: from a faulty or newer program, or one that computes
// otherwise.
func TestSignedNonsense(t *testing.T) {
	w := newWorld(t, learn.Binary, 1, 30)
	w.contents.Golden = [][]features.Value{w.rows[0], w.rows[1]}
	c := newCopied(t, w)
	other := newWorld(t, learn.Regression, 1, 30)
	otherWeights, _ := other.learner.AppendBinary(nil)
	score := fmt.Sprintf(`"score":%v`, w.score(w.rows[1]))
	tests := []struct{ file, old, new, want string }{
		{"", "", "", ""}, // nothing changed: what follows fails for its change alone
		{"manifest.json", `"format":1,`, `"format":2,"more":true,`, "manifest.json: format 2; this version of millrace reads 1"},
		{"manifest.json", `"seed":1`, `"seed":1,"sead":1`, `manifest.json: json: unknown field "sead"`},
		{"manifest.json", `"seed":1`, `"seed": 1`, "manifest.json: it is not as millrace writes it, from byte "},
		{"manifest.json", `"seed":1`, `"SEED":1`, "manifest.json: it is not as millrace writes it"},
		{"manifest.json", `"examples":30}`, `"examples":30`, "manifest.json: unexpected end of JSON input"},
		{"manifest.json", `"task":"binary"`, `"task":"ranking"`, `manifest.json: task "ranking" is neither`},
		{"manifest.json", `"learner":"ftrl"`, `"learner":"wish"`, `manifest.json: learner "wish"; this version of millrace has ftrl, gbdt and exec`},
		{"manifest.json", `"learner":"ftrl"`, `"learner":"gbdt"`, `transform.json: its form is "", and learner gbdt has "categories"`},
		{"transform.json", `{"hash_bits":6,"clip":8,`, `{"form":"plain",`, "transform.json: column \"shop.rate\" of kind float has unit"},
		{"transform.json", `{"hash_bits"`, `{"form":"bent","hash_bits"`, "transform.json: form \"bent\""},
		{"transform.json", `{"hash_bits"`, `{"form":"plain","hash_bits"`, "transform.json: hash_bits 6 and clip 8"},
		{"manifest.json", `"hash_bits":6`, `"hash_bits":5`, "manifest.json: params: hash_bits 5, and 6 in transform.json"},
		{"manifest.json", `"hash_bits":6`, `"hash_bits":25`, "manifest.json: params: ftrl: hash_bits 25"},
		{"manifest.json", `"kind":"string"`, `"kind":"time"`, `manifest.json: input "shop.city": kind "time" is none of`},
		{"manifest.json", `"name":"shop.rate"`, `"name":"shop.rat"`, "manifest.json: set "},
		{"manifest.json", `"name":"golden.json"`, `"name":"../golden.json"`, `manifest.json: file "../golden.json": no such name is allowed`},
		{"manifest.json", `"name":"profile.json"`, `"name":"manifest.sig"`, `manifest.json: file "manifest.sig": no such name is allowed`},
		{"manifest.json", `"name":"profile.json"`, `"name":"golden.json"`, `manifest.json: files "golden.json" and "golden.json" are not in order`},
		{"manifest.json", `"name":"golden.json"`, `"name":"bronze.json"`, "manifest.json: the files lack one of golden.json"},
		{"manifest.json", `{"name":"profile.json","size":3`, `{"name":"profile.json","size":68000000`, `manifest.json: file "profile.json" of 68000000 bytes; it may have 67108864`},
		{"manifest.json", `{"name":"profile.json","size":3`, `{"name":"profile.json","size":-1`, `manifest.json: file "profile.json" of -1 bytes`},
		{"manifest.json", `{"name":"profile.json","size":3`, `{"name":"profile.json","size":2`, "profile.json has 3 bytes; there may be 2"},
		{"transform.json", `"hash_bits":6`, `"hash_bits":31`, "transform.json: hash_bits 31 is not from 1 to 30"},
		{"transform.json", `"clip":8`, `"clip":-1`, "transform.json: clip -1 is not above 0"},
		{"transform.json", `"clip":8`, `"clip":1e999`, "transform.json: json: cannot unmarshal number 1e999"},
		{"transform.json", `"clip":8`, `"clip":8.0`, "transform.json: it is not as millrace writes it"},
		{"transform.json", `"clip":8`, `"clip":0.25`, "golden.json: row "},
		{"transform.json", `"name":"shop.rate"`, `"name":"shop.rat"`, `transform.json: column 0 is the float "shop.rat", and the input there is the float "shop.rate"`},
		{"transform.json", `"name":"shop.rate","kind":"float"`, `"name":"shop.rate","kind":"int"`, `transform.json: column 0 is the int "shop.rate"`},
		{"transform.json", `"std":`, `"std":-`, "transform.json: column "},
		{"transform.json", `{"name":"shop.city","kind":"string"}`, `{"name":"shop.city","kind":"string","mean":1}`, `transform.json: column "shop.city" of kind string has unit 0, mean 1`},
		{"transform.json", `,{"name":"shop.city","kind":"string"}`, ``, "transform.json: 4 columns for 5 inputs"},
		{"weights.bin", "", "x", "weights.bin: "},
		{"weights.bin", "", string(otherWeights), "weights.bin: "},
		{"golden.json", score, `"score":0.5`, "golden.json: row 1 scores "},
		{"golden.json", score, fmt.Sprintf(`"score":%v`, math.Nextafter(w.score(w.rows[1]), 1)), "golden.json: row 1 scores "},
		{"golden.json", `"x":[`, `"x":[null,`, "golden.json: row 0 has 6 values for 5 inputs"},
		{"golden.json", `"x":[`, `"x":[ `, "golden.json: it is not as millrace writes it"},
		{"golden.json", c.files["golden.json"], "{\"rows\":[]}\n", "golden.json: 0 rows; there are 1 to 1000"},
		{"golden.json", c.files["golden.json"], "", "golden.json: it ends too early"},
		{"golden.json", c.files["golden.json"], `{"rows":[{"x":[1.0,null,null,null,null],"score":0}]}` + "\n", `row 0, input "shop.rate": 1.0 for a float: it is not as millrace writes it, 1`},
		{"golden.json", c.files["golden.json"], `{"rows":[{"x":["NaN",null,null,null,null],"score":0}]}` + "\n", `row 0, input "shop.rate": "NaN" for a float`},
		{"golden.json", c.files["golden.json"], `{"rows":[{"x":[null,null,1,null,null],"score":0}]}` + "\n", `row 0, input "shop.known": 1 for a bool: not a value of that kind`},
		{"golden.json", c.files["golden.json"], `{"rows":[{"x":[null,null,null,7,null],"score":0}]}` + "\n", `row 0, input "shop.city": 7 for a string`},
		{"golden.json", c.files["golden.json"], `{"rows":[{"x":[null,null,null,"\u004f",null],"score":0}]}` + "\n", `row 0, input "shop.city": "\u004f" for a string: it is not as millrace writes it, "O"`},
	}
	for _, test := range tests {
		files := maps.Clone(c.files)
		edit := func(s string) string {
			if !strings.Contains(s, test.old) {
				t.Errorf("%s: no %s to change in %s", test.want, test.old, s)
			}
			if test.old == "" {
				return test.new
			}
			return strings.Replace(s, test.old, test.new, 1)
		}
		whole := func(s string) string { return s }
		if test.file == "manifest.json" {
			c.sign(t, files, edit)
		} else {
			if test.file != "" {
				files[test.file] = edit(files[test.file])
			}
			c.sign(t, files, whole)
		}
		err := c.open()
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %s for %s: %v, want %q", test.file, test.new, test.old, err, test.want)
		}
	}
}
