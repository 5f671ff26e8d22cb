package bundle_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/trainer/bundle"
	"github.com/millrace/millrace/trainer/learn"
)

// TestSameTrainingSameBytes trains twice, and writes many files in the order of
// a map, which is another each time.
func TestSameTrainingSameBytes(t *testing.T) {
	var first map[string]string
	var firstID string
	for range 5 {
		w, dir := newWorld(t, learn.Binary, 7, 200), t.TempDir()
		for _, name := range []string{"a.txt", "b.txt", "c.txt", "d.txt"} {
			w.contents.Extra[name] = []byte(name)
		}
		id := w.write(t, dir)
		files := readAll(t, filepath.Join(dir, id))
		if first == nil {
			first, firstID = files, id
		}
		if id != firstID || !maps.Equal(files, first) {
			t.Fatalf("bundle %s with %q, then %s with %q", firstID, first, id, files)
		}
	}
}

// TestAnotherTrainingAnotherID changes one thing at a time.
func TestAnotherTrainingAnotherID(t *testing.T) {
	dir := t.TempDir()
	seen := map[string]string{newWorld(t, learn.Binary, 7, 50).write(t, dir): "nothing"}
	for what, change := range map[string]func(w *world){
		"seed":      func(w *world) { w.contents.Manifest.Seed++ },
		"code":      func(w *world) { w.contents.Manifest.Code = "v1.2.4" },
		"range":     func(w *world) { w.contents.Manifest.Data.Ranges[0].Next++ },
		"extra":     func(w *world) { w.contents.Extra["profile.json"][0] = '[' },
		"clip":      func(w *world) { w.transform.Clip = 7.5 },
		"golden":    func(w *world) { w.contents.Golden = w.contents.Golden[1:] },
		"one step":  func(w *world) { w.learner.Learn(learn.Row{Dense: make([]float64, 8)}, 1, 1) },
		"finger":    func(w *world) { w.contents.Manifest.Inputs[0].Fingerprint = "x" },
		"inclusion": func(w *world) { delete(w.contents.Extra, "profile.json") },
	} {
		w := newWorld(t, learn.Binary, 7, 50)
		change(w)
		id := w.write(t, dir)
		if other, taken := seen[id]; taken {
			t.Errorf("%s changed and %s changed: the same id", what, other)
		}
		seen[id] = what
	}
	// No ranges and an empty list of them are the same.
	w := newWorld(t, learn.Binary, 7, 50)
	w.contents.Manifest.Data.Ranges = nil
	none := w.write(t, dir)
	w.contents.Manifest.Data.Ranges = []bundle.Range{}
	if empty := w.write(t, dir); empty != none {
		t.Errorf("no ranges: %s; empty: %s", none, empty)
	}
}

// TestWriteAgain writes what is there: by the same key, by another, and by many
// at once.
func TestWriteAgain(t *testing.T) {
	w, dir := newWorld(t, learn.Binary, 2, 50), t.TempDir()
	var writers sync.WaitGroup
	for range 8 {
		writers.Go(func() {
			if _, err := bundle.Write(dir, &w.contents, w.key); err != nil {
				t.Error(err)
			}
		})
	}
	writers.Wait()
	id := w.write(t, dir)
	if got := names(t, dir); !slices.Equal(got, []string{id}) {
		t.Errorf("the folder holds %q", got)
	}
	before := readAll(t, filepath.Join(dir, id))
	w.key = testKey(2)
	if again := w.write(t, dir); again != id {
		t.Errorf("id %s by one key, %s by another", id, again)
	}
	after := readAll(t, filepath.Join(dir, id))
	if after[bundle.SignatureName] == before[bundle.SignatureName] {
		t.Error("the signature is still that of the first key")
	}
	if _, err := bundle.Open(dir, id, []ed25519.PublicKey{public(w.key)}); err != nil {
		t.Error(err)
	}
	after[bundle.SignatureName] = before[bundle.SignatureName]
	if !maps.Equal(before, after) {
		t.Error("another key changed another file")
	}
}

// TestWriteOverDamaged says what to do about a bundle that is there and does not
// open.
func TestWriteOverDamaged(t *testing.T) {
	for name, want := range map[string]string{
		bundle.WeightsName:  "is there already, and does not open; remove that folder, and the bundle can be written: weights.bin: its SHA-256 is",
		bundle.ManifestName: "it was changed or damaged; remove the bundle's folder",
		"profile.json":      "profile.json is missing; remove the bundle's folder",
	} {
		w, dir := newWorld(t, learn.Binary, 2, 50), t.TempDir()
		path := filepath.Join(dir, w.write(t, dir), name)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if name != "profile.json" {
			data[0] ^= 1
			if err := os.WriteFile(path, data, 0o666); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := bundle.Write(dir, &w.contents, w.key); !errors.Is(err, bundle.ErrInTheWay) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		if got := names(t, dir); len(got) != 1 {
			t.Errorf("the folder holds %q", got)
		}
	}
}

// TestWriteRefuses leaves nothing behind of what Open would not take.
func TestWriteRefuses(t *testing.T) {
	for want, change := range map[string]func(w *world){
		"0 golden rows: give 1 to 1000": func(w *world) { w.contents.Golden = nil },
		"1001 golden rows":              func(w *world) { w.contents.Golden = make([][]features.Value, 1001) },
		"golden row 1: bundle: a vector of 1 values": func(w *world) {
			w.contents.Golden = [][]features.Value{w.rows[0], w.rows[0][:1]}
		},
		`golden row 0, input "shop.city": the text "\xff" is not UTF-8`: func(w *world) {
			w.contents.Golden[0] = slices.Clone(w.rows[0])
			w.contents.Golden[0][3] = expr.StringValue("\xff")
		},
		"the model predicts NaN, which is no answer to a binary task": func(w *world) {
			w.transform.Clip = math.NaN()
			w.contents.Golden = [][]features.Value{{expr.FloatValue(1), expr.IntValue(1), expr.BoolValue(true), expr.StringValue(""), expr.FloatValue(1)}}
		},
		"transform.json: json: unsupported value: +Inf": func(w *world) { w.transform.Clip = math.Inf(1) },
		"transform.json: clip -1 is not above 0": func(w *world) {
			w.transform.Clip = -1
			w.contents.Golden = [][]features.Value{make([]features.Value, 5)}
		},
		"the transform is not that of the inputs: column 0 is the float \"shop.rate\", and the input there is the int \"shop.rate\"": func(w *world) {
			w.contents.Manifest.Inputs = slices.Clone(w.inputs)
			w.contents.Manifest.Inputs[0].Kind = expr.Int
		},
		"5 columns for 4 inputs": func(w *world) { w.contents.Manifest.Inputs = w.inputs[:4] },
		"the manifest says set 0, and its inputs are " + bundle.SetID(newWorld(t, learn.Binary, 1, 1).inputs): func(w *world) { w.contents.Manifest.Set = "0" },
		"manifest.json: params: hash_bits 7, and 6 in transform.json": func(w *world) {
			w.contents.Manifest.Params = bytes.Replace(w.contents.Manifest.Params, []byte(`"hash_bits":6`), []byte(`"hash_bits":7`), 1)
		},
		"manifest.json: params: it is not as millrace writes it": func(w *world) { w.contents.Manifest.Params = json.RawMessage(`{}`) },
		"manifest.json: params: ftrl: alpha -1": func(w *world) {
			w.contents.Manifest.Params = json.RawMessage(strings.Replace(string(w.contents.Manifest.Params), `"alpha":0.1`, `"alpha":-1`, 1))
		},
		`learner "oracle"; this version of millrace has ftrl, gbdt and exec`: func(w *world) { w.contents.Manifest.Learner = "oracle" },
		`its form is "", and learner gbdt has "categories"`:                  func(w *world) { w.contents.Manifest.Learner = "gbdt" },
		`task "ranking" is neither`:                                          func(w *world) { w.contents.Manifest.Task = "ranking" },
		`file "../x": a name has`:                                            func(w *world) { w.contents.Extra["../x"] = nil },
		`file "weights.bin": a name has`:                                     func(w *world) { w.contents.Extra["weights.bin"] = nil },
		`file "a.": a name has`:                                              func(w *world) { w.contents.Extra["a."] = nil },
		`file "manifest.sig": a name has`:                                    func(w *world) { w.contents.Extra["manifest.sig"] = nil },
		"33 files; there may be 32": func(w *world) {
			for i := range 29 {
				w.contents.Extra["x"+string(rune('a'+i%26))+string(rune('0'+i/26))] = nil
			}
		},
		"a key of 1 bytes": func(w *world) { w.key = w.key[:1] },
	} {
		w, dir := newWorld(t, learn.Binary, 3, 20), t.TempDir()
		change(w)
		if _, err := bundle.Write(dir, &w.contents, w.key); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		if got := names(t, dir); len(got) != 0 {
			t.Errorf("%s: the folder holds %q", want, got)
		}
	}
}

// TestWriteSweeps removes what a writer left that died a day ago, and nothing of
// one that may live.
func TestWriteSweeps(t *testing.T) {
	w, dir := newWorld(t, learn.Binary, 3, 20), t.TempDir()
	for _, name := range []string{".tmp-old", ".tmp-new", "other"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name, "weights.bin"), nil, 0o444); err != nil {
			t.Fatal(err)
		}
		if then := time.Now().Add(-25 * time.Hour); name != ".tmp-new" {
			if err := os.Chtimes(filepath.Join(dir, name), then, then); err != nil {
				t.Fatal(err)
			}
		}
	}
	id := w.write(t, dir)
	if got := names(t, dir); !slices.Equal(got, []string{".tmp-new", id, "other"}) {
		t.Errorf("the folder holds %q", got)
	}
}

// TestWriteNeedsTheName says so where something else has it.
func TestWriteNeedsTheName(t *testing.T) {
	w, dir := newWorld(t, learn.Binary, 2, 50), t.TempDir()
	id := w.write(t, t.TempDir())
	put(t, filepath.Join(dir, id), "", 0o644)
	if _, err := bundle.Write(dir, &w.contents, w.key); err == nil || !strings.Contains(err.Error(), "bundle: writing "+id[:12]) {
		t.Error(err)
	}
	if got := names(t, dir); !slices.Equal(got, []string{id}) {
		t.Errorf("the folder holds %q", got)
	}
	file := filepath.Join(t.TempDir(), "file")
	put(t, file, "", 0o644)
	if _, err := bundle.Write(file, &w.contents, w.key); err == nil || !strings.Contains(err.Error(), file) {
		t.Error(err)
	}
}
