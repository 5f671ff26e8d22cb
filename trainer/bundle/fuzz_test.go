package bundle

import (
	"bytes"
	"crypto/ed25519"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/trainer/learn"
)

// stored are the files of a bundle that an earlier build wrote.
func stored(t testing.TB) (id string, files map[string][]byte) {
	t.Helper()
	folders, err := filepath.Glob("testdata/format1/????????????????????????????????????????????????????????????????")
	if err != nil || len(folders) != 1 {
		t.Fatalf("bundles in testdata/format1: %q, %v", folders, err)
	}
	files = make(map[string][]byte)
	entries, err := os.ReadDir(folders[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if files[e.Name()], err = os.ReadFile(filepath.Join(folders[0], e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Base(folders[0]), files
}

func storedKey() ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(slices.Repeat([]byte{1}, ed25519.SeedSize))
}

// TestOpenFormat1 opens a bundle that an earlier build wrote. When it fails,
// people's bundles no longer open: what reads them has to stay, or the format
// gets another number.
func TestOpenFormat1(t *testing.T) {
	id, files := stored(t)
	b, err := Open("testdata/format1", id, []ed25519.PublicKey{storedKey().Public().(ed25519.PublicKey)})
	if err != nil {
		t.Fatal(err)
	}
	// Written again, it is the same: what it says was read in full.
	c := Contents{Manifest: b.manifest, Transform: b.scorer.transform, Model: b.scorer.model, Extra: map[string][]byte{"profile.json": b.File("profile.json")}}
	if c.Golden, _, err = decodeGolden(files[GoldenName], b.manifest.Inputs); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	again, err := Write(dir, &c, storedKey())
	if err != nil || again != id {
		t.Errorf("written again it is %s, %v; it was %s", again, err, id)
	}
	for name, data := range files {
		if got, err := os.ReadFile(filepath.Join(dir, again, name)); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s is %q, %v; it was %q", name, got, err, data)
		}
	}
}

// TestStoredSayTheirKinds keeps the stored bundle one that shows everything.
func TestStoredSayTheirKinds(t *testing.T) {
	_, files := stored(t)
	for name, want := range map[string][]string{
		TransformName: {`"kind":"bool"`, `"kind":"int"`, `"kind":"float"`, `"kind":"string"`, `"unit":`, `"mean":`, `"std":`},
		GoldenName:    {"null", "true", `"+Inf"`, "-0", "Oslo"},
		ManifestName:  {`"ranges":[{"partition":0`, `"metrics":{"log_loss":0.5}`, `"learner":"ftrl"`},
	} {
		for _, w := range want {
			if !strings.Contains(string(files[name]), w) {
				t.Errorf("%s has no %s:\n%s", name, w, files[name])
			}
		}
	}
}

// FuzzDecoders reads damaged files: an error, or something that is written as
// the same bytes again; never a panic.
func FuzzDecoders(f *testing.F) {
	_, files := stored(f)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		f.Add(files[name])
	}
	f.Add(EncodePublic(storedKey().Public().(ed25519.PublicKey)))
	f.Add([]byte(`{"hash_bits":30,"clip":8,"columns":[{"name":"v.x","kind":"float","unit":5e-324,"mean":1e308,"std":5e-324}]}` + "\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		fuzzManifest(t, data)
		fuzzTransform(t, data)
		_ = verify([]byte("{}"), data, []ed25519.PublicKey{storedKey().Public().(ed25519.PublicKey)})
		if key, err := DecodePublic(data); err == nil {
			if again, err := DecodePublic(EncodePublic(key)); err != nil || !again.Equal(key) {
				t.Errorf("key %x, then %x, %v", key, again, err)
			}
		}
	})
}

func fuzzManifest(t *testing.T, data []byte) {
	var m Manifest
	if decodeManifest(data, &m) != nil {
		return
	}
	again, err := encodeJSON(m)
	if err != nil || !bytes.Equal(again, data) {
		t.Errorf("manifest %s, then %s, %v", data, again, err)
	}
}

// fuzzTransform also makes rows: no transform that decodes gives NaN.
func fuzzTransform(t *testing.T, data []byte) {
	tr, err := decodeTransform(data)
	if err != nil {
		return
	}
	again, err := tr.encode()
	if err != nil || !bytes.Equal(again, data) {
		t.Errorf("transform %s, then %s, %v", data, again, err)
	}
	for _, v := range []features.Value{{}, expr.FloatValue(math.Inf(1)), expr.FloatValue(-math.MaxFloat64), expr.FloatValue(0)} {
		x := make([]features.Value, len(tr.columns))
		for i := range x {
			if x[i] = v; tr.columns[i].kind == expr.String && v.Kind != expr.Missing {
				x[i] = expr.StringValue("x")
			}
		}
		var row learn.Row
		tr.Row(&row, x)
		for _, d := range row.Dense {
			if math.IsNaN(d) || math.Abs(d) > max(tr.Clip, 1) {
				t.Errorf("%s makes %v of %v", data, row.Dense, v)
			}
		}
		for _, h := range row.Hashed {
			if h >= 1<<tr.hashBits {
				t.Errorf("%s makes place %d", data, h)
			}
		}
	}
}

// FuzzGolden reads damaged golden rows: whatever is read is written as the same
// bytes again.
func FuzzGolden(f *testing.F) {
	_, files := stored(f)
	inputs := []Input{{Name: "a", Kind: expr.Float}, {Name: "b", Kind: expr.Int}, {Name: "c", Kind: expr.Bool}, {Name: "d", Kind: expr.String}, {Name: "e", Kind: expr.Float}}
	f.Add(files[GoldenName])
	f.Add([]byte(`{"rows":[{"x":[null,-0,false,"\u2028","+Inf"],"score":0},{"x":[1e+21,9007199254740993,true,"",0],"score":-0}]}` + "\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		rows, scores, err := decodeGolden(data, inputs)
		if err != nil {
			return
		}
		next := 0
		again, err := encodeGolden(rows, inputs, func([]features.Value) (float64, error) { next++; return scores[next-1], nil })
		if err != nil || !bytes.Equal(again, data) {
			t.Errorf("golden rows %s, then %s, %v", data, again, err)
		}
	})
}
