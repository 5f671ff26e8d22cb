package bundle_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

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
