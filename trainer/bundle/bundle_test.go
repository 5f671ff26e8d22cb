package bundle_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"math"
	"math/rand/v2"
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

// TestOpenedScoresAsTrained is the whole point: what serves computes the bits of
// what trained, on rows that neither has seen.
func TestOpenedScoresAsTrained(t *testing.T) {
	for _, task := range []learn.Task{learn.Binary, learn.Regression} {
		for seed := range uint64(5) {
			w, dir := newWorld(t, task, seed, 400), t.TempDir()
			if seed == 4 {
				w.transform.Clip = 0.5
			}
			b, err := bundle.Open(dir, w.write(t, dir), []ed25519.PublicKey{public(testKey(9)), public(w.key)})
			if err != nil {
				t.Fatal(err)
			}
			r := rand.New(rand.NewPCG(seed, 1))
			for range 1000 {
				x := randomRow(r)
				got, err := b.Score(x)
				if want := w.score(x); err != nil || math.Float64bits(got) != math.Float64bits(want) {
					t.Fatalf("%s, seed %d: score %v of %v, %v; in memory %v", task, seed, got, x, err, want)
				}
			}
		}
	}
}

// TestOpenedSaysWhatWasWritten compares manifest and files.
func TestOpenedSaysWhatWasWritten(t *testing.T) {
	w, dir := newWorld(t, learn.Binary, 1, 50), t.TempDir()
	id := w.write(t, dir)
	b, err := bundle.Open(dir, id, []ed25519.PublicKey{public(w.key)})
	if err != nil {
		t.Fatal(err)
	}
	if b.ID() != id || len(id) != 64 {
		t.Errorf("id %q, written as %q", b.ID(), id)
	}
	m := *b.Manifest()
	if m.Format != 1 || m.Set != bundle.SetID(w.inputs) || m.Inputs[3].KindName != "string" || len(m.Files) != 4 {
		t.Errorf("manifest %+v", m)
	}
	m.Format, m.Set, m.Files = 0, "", nil
	for i := range m.Inputs {
		m.Inputs[i].KindName = ""
	}
	got, _ := json.Marshal(m)
	if want, _ := json.Marshal(w.contents.Manifest); !bytes.Equal(got, want) || m.Inputs[3].Kind != expr.String {
		t.Errorf("manifest %s, want %s", got, want)
	}
	if got := b.File("profile.json"); string(got) != "{}\n" {
		t.Errorf("profile.json: %q", got)
	}
	for name, data := range readAll(t, filepath.Join(dir, id)) {
		if got := b.File(name); name == bundle.WeightsName && got != nil || name != bundle.WeightsName && string(got) != data {
			t.Errorf("%s: %q", name, got)
		}
	}
	if b.File("none.json") != nil {
		t.Error("a file that is not there")
	}
}

// TestOthersMayRead lets a server be another user, and nobody write by mistake.
func TestOthersMayRead(t *testing.T) {
	w, dir := newWorld(t, learn.Binary, 1, 20), filepath.Join(t.TempDir(), "data", "models")
	folder := filepath.Join(dir, w.write(t, dir))
	want := map[string]fs.FileMode{folder: fs.ModeDir | 0o755}
	for _, name := range names(t, folder) {
		want[filepath.Join(folder, name)] = 0o444
	}
	for path, mode := range want {
		if info, err := os.Stat(path); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v; want %v", path, info.Mode(), err, mode)
		}
	}
}

// readAll returns the files of a folder.
func readAll(t testing.TB, folder string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(folder, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[e.Name()] = string(data)
	}
	return files
}

// names returns what is in a folder.
func names(t testing.TB, folder string) []string {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

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
		bundle.WeightsName:  "is there already, and does not open: weights.bin: its SHA-256 is",
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
		if _, err := bundle.Write(dir, &w.contents, w.key); err == nil || !strings.Contains(err.Error(), want) {
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
		`learner "gbdt"; this version of millrace has ftrl`: func(w *world) { w.contents.Manifest.Learner = "gbdt" },
		`task "ranking" is neither`:                         func(w *world) { w.contents.Manifest.Task = "ranking" },
		`file "../x": a name has`:                           func(w *world) { w.contents.Extra["../x"] = nil },
		`file "weights.bin": a name has`:                    func(w *world) { w.contents.Extra["weights.bin"] = nil },
		`file "a.": a name has`:                             func(w *world) { w.contents.Extra["a."] = nil },
		`file "manifest.sig": a name has`:                   func(w *world) { w.contents.Extra["manifest.sig"] = nil },
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

// TestGoldenKeepsValues writes and reads each kind at its limits.
func TestGoldenKeepsValues(t *testing.T) {
	w, dir := newWorld(t, learn.Regression, 5, 100), t.TempDir()
	w.contents.Golden = nil
	numbers := []float64{0, math.Copysign(0, -1), 5e-324, math.MaxFloat64, math.Inf(1), math.Inf(-1), math.NaN(), 0.1, 1e21, 1 << 53}
	for i, x := range numbers {
		row := slices.Clone(w.rows[i])
		row[0], row[4] = expr.FloatValue(x), expr.IntValue(1<<53+1)                      // ints for a float
		row[1] = []features.Value{expr.IntValue(math.MinInt64), expr.FloatValue(x)}[i%2] // and floats for an int
		row[3] = expr.StringValue([]string{"", "\"\\\n\u2028<&>", "Ω\U0001F600"}[i%3])
		w.contents.Golden = append(w.contents.Golden, row)
	}
	if _, err := bundle.Open(dir, w.write(t, dir), []ed25519.PublicKey{public(w.key)}); err != nil {
		t.Error(err)
	}
}

// TestScoreRefuses refuses vectors of other inputs.
func TestScoreRefuses(t *testing.T) {
	w, dir := newWorld(t, learn.Binary, 5, 100), t.TempDir()
	b, err := bundle.Open(dir, w.write(t, dir), []ed25519.PublicKey{public(w.key)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Score(w.rows[0][1:]); err == nil || !strings.Contains(err.Error(), "a vector of 4 values for a model of 5 inputs") {
		t.Error(err)
	}
	if _, err := b.Score(slices.Repeat(w.rows[0][3:4], 5)); err == nil {
		t.Error("texts for numbers were taken")
	}
}

// TestScoreAtOnce scores in many goroutines: each gets what one alone gets.
func TestScoreAtOnce(t *testing.T) {
	w, dir := newWorld(t, learn.Binary, 6, 300), t.TempDir()
	b, err := bundle.Open(dir, w.write(t, dir), []ed25519.PublicKey{public(w.key)})
	if err != nil {
		t.Fatal(err)
	}
	var want []float64
	for _, x := range w.rows {
		want = append(want, w.score(x))
	}
	var scorers sync.WaitGroup
	for start := range 8 {
		scorers.Go(func() {
			for k := range 3 * len(want) {
				i := (k*7 + start) % len(want)
				if got, err := b.Score(w.rows[i]); err != nil || got != want[i] {
					t.Errorf("row %d: %v, %v; want %v", i, got, err, want[i])
					return
				}
			}
		})
	}
	scorers.Wait()
}

// TestOpenNeedsAnID refuses names that lead elsewhere, and says what to do about
// a bundle that is not there.
func TestOpenNeedsAnID(t *testing.T) {
	dir := t.TempDir()
	for _, id := range []string{"", "..", strings.Repeat("../", 21) + "x", strings.Repeat("A", 64), strings.Repeat("a", 63), strings.Repeat("a", 66)} {
		if _, err := bundle.Open(dir, id, nil); err == nil || !strings.Contains(err.Error(), "is no id of a bundle") {
			t.Errorf("%q: %v", id, err)
		}
	}
	_, err := bundle.Open(dir, strings.Repeat("a", 64), nil)
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "bundle aaaaaaaaaaaa: it is not in "+dir+"; copy its folder there") {
		t.Error(err)
	}
}
