package trainer

import (
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/trainer/bundle"
	"github.com/millrace/millrace/trainer/learn"
)

// TestTopicOfExamplesIsMadeAnew begins again with what is there then.
func TestTopicOfExamplesIsMadeAnew(t *testing.T) {
	m := testModel()
	r := newRig(t, m, 1)
	w := newWorld(t, &m, 8, 1, 200, planted)
	l := r.loop()
	r.write(w, 150)
	r.step(l)
	before := r.outcome()
	r.remake(1)
	r.write(w, 50)
	r.step(l)
	if n := len(r.collect()); n == 0 || !slices.Equal(r.outcome(), before) {
		t.Errorf("%d records; %.500q", n, r.outcome())
	}
	if !strings.Contains(string(r.logged.text), "made anew") {
		t.Errorf("%s", r.logged.text)
	}
	r.write(w, w.hours)
	r.step(l)
	if len(r.runs()) < 2 || !slices.Equal(r.outcome()[:1], before[:1]) {
		t.Errorf("%.500q", r.outcome())
	}
}

// TestLostHeadOfTheTopic starts on a topic whose first records are gone.
func TestLostHeadOfTheTopic(t *testing.T) {
	m := testModel()
	r := newRig(t, m, 1)
	w := newWorld(t, &m, 9, 1, 200, planted)
	r.write(w, w.hours)
	r.deleteBefore(0, 500)
	r.step(r.loop())
	if runs := r.runs(); len(runs) != 1 || runs[0].Status != registry.Trained {
		t.Errorf("%+v", runs)
	}
}

// TestOtherFeaturesAreNotLearnedFrom changes the project's features: old
// examples count for nothing, and that is said once.
func TestOtherFeaturesAreNotLearnedFrom(t *testing.T) {
	m := testModel()
	r := newRig(t, m, 2)
	w := newWorld(t, &m, 10, 2, 250, planted)
	r.write(w, w.hours)
	old := r.loop()
	r.step(old)
	runs := len(r.runs())
	r.model.Inputs = slices.Clone(m.Inputs)
	r.model.Inputs[1].Fingerprint = "changed"
	r.logged.text = nil
	l := r.loop()
	for range 3 {
		l.looked = l.looked.Add(-2 * pollEvery)
		r.step(l)
	}
	if got := len(r.runs()); got != runs {
		t.Errorf("%d runs, and there were %d", got, runs)
	}
	if n := strings.Count(string(r.logged.text), "of other features than the project defines now"); n != 1 {
		t.Errorf("said %d times: %s", n, r.logged.text)
	}
	if p := l.Problems(); len(p) != 0 {
		t.Error(p)
	}
}

// TestOutagesOfTheDiskAreTriedAgain cannot write bundles for a while: that is no
// failed run, and in Problems.
func TestOutagesOfTheDiskAreTriedAgain(t *testing.T) {
	m := testModel()
	r := newRig(t, m, 1)
	w := newWorld(t, &m, 11, 1, 150, planted)
	r.write(w, w.hours)
	c := r.config()
	if err := os.WriteFile(c.Bundles, nil, 0o600); err != nil { // a file where the folder should be
		t.Fatal(err)
	}
	l := r.loop()
	for range 2 {
		if err := l.Step(t.Context()); err == nil {
			t.Fatal("it works")
		}
	}
	if p := l.Problems(); len(p) != 1 || !strings.Contains(p[0], c.Bundles) {
		t.Errorf("%q", p)
	}
	if len(r.runs()) != 0 {
		t.Error(r.outcome())
	}
	if err := os.Remove(c.Bundles); err != nil {
		t.Fatal(err)
	}
	r.step(l)
	want := newRig(t, m, 1)
	want.write(w, w.hours)
	want.step(want.loop())
	if p := l.Problems(); len(p) != 0 || !slices.Equal(r.outcome(), want.outcome()) || len(r.runs()) == 0 {
		t.Errorf("%q, %.500q", p, r.outcome())
	}
}

// TestDamagedFolderIsInTheWay has a folder of the next bundle's name, damaged, as
// a disk leaves it: that is no failed run, whose spec would never be tried again.
func TestDamagedFolderIsInTheWay(t *testing.T) {
	m := testModel()
	w := newWorld(t, &m, 11, 1, 150, planted)
	want := newRig(t, m, 1)
	want.write(w, w.hours)
	want.step(want.loop())
	r := newRig(t, m, 1)
	r.write(w, w.hours)
	folder := filepath.Join(r.config().Bundles, want.runs()[0].Bundle)
	if err := errors.Join(os.MkdirAll(folder, 0o700), os.WriteFile(filepath.Join(folder, "weights.bin"), []byte("half"), 0o600)); err != nil {
		t.Fatal(err)
	}
	l := r.loop()
	for range 2 {
		if err := l.Step(t.Context()); !errors.Is(err, bundle.ErrInTheWay) {
			t.Fatalf("%v, want that a folder is in the way", err)
		}
	}
	if p := l.Problems(); len(p) != 1 || !strings.Contains(p[0], folder+" is there already, and does not open; remove that folder") || len(r.runs()) != 0 {
		t.Errorf("%q, %.500q", p, r.outcome())
	}
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	r.step(l)
	if p := l.Problems(); len(p) != 0 || !slices.Equal(r.outcome(), want.outcome()) {
		t.Errorf("%q, %.500q", p, r.outcome())
	}
}

// TestRegistryIsAway at first: what was read then is not lost.
func TestRegistryIsAway(t *testing.T) {
	m := testModel()
	r := newRig(t, m, 1)
	r.write(newWorld(t, &m, 15, 1, 120, planted), 120)
	l := r.loop()
	l.cfg.Registry = openRegistry(t, t.TempDir())
	if err := l.cfg.Registry.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Step(t.Context()); err == nil || len(l.Problems()) != 1 {
		t.Fatal(err, l.Problems())
	}
	l.cfg.Registry = r.registry
	r.step(l)
	if n := len(r.runs()); n != 1 || len(l.Problems()) != 0 {
		t.Errorf("%d runs, %q", n, l.Problems())
	}
}

// TestImpossibleDataIsAFailedRun has what no disk is to blame for.
func TestImpossibleDataIsAFailedRun(t *testing.T) {
	if aboutFiles(nil) || aboutFiles(errors.New("weights")) || aboutFiles(os.ErrNotExist) {
		t.Error("these are not about files")
	}
	m := testModel()
	m.Task = learn.Regression
	r := newRig(t, m, 1)
	w := newWorld(t, &m, 12, 1, 130, func(r *rand.Rand, hour int) ([]features.Value, float64) {
		x, _ := planted(r, hour)
		return x, math.MaxFloat64 * (1 - r.Float64()/10) // whose sum is no number
	})
	r.replay(w, r.loop(), 10)
	if runs := r.runs(); len(runs) != 1 || runs[0].Status != registry.Failed || runs[0].Error == "" || len(r.versions()) != 0 {
		t.Errorf("%.500q", r.outcome())
	}
}

// TestBaseRateIsServed follows the labels until there is a champion.
func TestBaseRateIsServed(t *testing.T) {
	m := testModel()
	r := newRig(t, m, 2)
	w := newWorld(t, &m, 13, 2, 60, planted)
	l := r.loop()
	for h := 5; h <= w.hours; h += 5 {
		r.write(w, h)
		r.step(l)
		s, err := r.registry.Serving(t.Context(), m.Name)
		if err != nil {
			t.Fatal(err)
		}
		b := l.books[0]
		if n := int64(b.all.count); s.BaseRate.Count > n || n-s.BaseRate.Count > n/rateStep+1 || n > 0 && s.BaseRate.Count == 0 {
			t.Fatalf("hour %d: the base rate is of %d labels, and there are %d", h, s.BaseRate.Count, n)
		}
		known := labelsOf(w, s.BaseRate.AsOf)
		sum := 0.0
		for _, x := range known {
			sum += x.Label
		}
		if want := (sum + 1) / float64(len(known)+2); s.BaseRate.Count > 0 && s.BaseRate.Value != want {
			t.Fatalf("hour %d: %v, want %v", h, s.BaseRate.Value, want)
		}
	}
	if set := bundle.SetID(m.Inputs); l.books[0].set != set {
		t.Error(set)
	}
}
