package trainer

import (
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
	"testing"
	"time"

	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/trainer/bundle"
	"github.com/millrace/millrace/trainer/eval"
)

// judgementOf is the report of a version.
func judgementOf(t *testing.T, v registry.Version) (j eval.Judgement) {
	t.Helper()
	if err := json.Unmarshal(v.Report, &j); err != nil {
		t.Fatal(err, string(v.Report))
	}
	return j
}

// TestVerdicts judges candidates of a world in which a column tells the label, of
// one where it soon tells the opposite, and of one where what is learned is worth what it costs.
func TestVerdicts(t *testing.T) {
	opposite := func(r *rand.Rand, hour int) ([]features.Value, float64) {
		x, label := planted(r, hour)
		if hour >= 90 {
			label = 1 - label
		}
		return x, label
	}
	weak := func(r *rand.Rand, _ int) ([]features.Value, float64) {
		x, label := r.NormFloat64(), 0.0
		if r.Float64() < 1/(1+math.Exp(-0.3*x)) {
			label = 1
		}
		return vector(r, x), label
	}
	for _, c := range []struct {
		verdict eval.Verdict
		state   registry.State
		tell    teller
	}{{eval.Promote, registry.Review, planted}, {eval.Reject, registry.Closed, opposite}, {eval.Inconclusive, registry.Closed, weak}} {
		m := testModel()
		r := newRig(t, m, 2)
		w := newWorld(t, &m, 21, 2, 200, c.tell)
		r.replay(w, r.loop(), 4)
		v := r.versions()[0]
		j := judgementOf(t, v)
		if v.Verdict != string(c.verdict) || v.State != c.state || v.Baseline != registry.BaseRateVersion || len(v.Reasons) == 0 {
			t.Errorf("%s, %s: %q; want %s", v.Verdict, v.State, v.Reasons, c.verdict)
		}
		if j.Rows < m.Gate.Rows || j.Rows > m.Gate.Rows+8 || len(j.Loss) != 4 || len(j.Slices) != 2 {
			t.Errorf("%d rows, losses %v, slices %v", j.Rows, j.Loss, j.Slices)
		}
	}
}

// TestJudgedOnceAndInTime is judged at the first step at which its rows are
// complete, and never again.
func TestJudgedOnceAndInTime(t *testing.T) {
	m := testModel()
	r := newRig(t, m, 2)
	w := newWorld(t, &m, 22, 2, 220, planted)
	l := r.loop()
	judged := false
	for h := 80; h <= w.hours; h += 3 {
		r.write(w, h)
		r.step(l)
		versions := r.versions()
		if len(versions) == 0 {
			continue
		}
		b, v := l.books[0], versions[0]
		ready := naiveCohort(w, b, v.Cutoff) != nil
		if ready != (v.Verdict != "") {
			t.Fatalf("hour %d: its rows are complete: %v, its verdict: %q", h, ready, v.Verdict)
		}
		if want := int64(0); v.Verdict != "" {
			all := naiveCohort(w, b, v.Cutoff)
			if want = all[len(all)-1].Prediction.Time + m.wait(); v.Judged != want {
				t.Fatalf("judged as of %d, want %d", v.Judged, want)
			}
			judged = true
		}
	}
	events, err := r.registry.History(t.Context(), m.Name)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range events {
		if e.Version == 1 && e.What == "judged" {
			n++
		}
	}
	if n != 1 || !judged {
		t.Errorf("judged %d times: %+v", n, events)
	}
}

// champion puts a version into service as the deployer does.
func (r *rig) champion(number int) {
	r.t.Helper()
	ctx := r.t.Context()
	if err := r.registry.Approve(ctx, r.model.Name, number, "anna", ""); err != nil {
		r.t.Fatal(err)
	}
	ro, err := r.registry.Begin(ctx, r.model.Name, number, nil)
	if err == nil {
		err = r.registry.Switch(ctx, ro.ID, nil)
	}
	if err == nil {
		err = r.registry.Finish(ctx, ro.ID, nil)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// TestJudgedAgainstTheChampion pairs a candidate with the version that serves, on
// rows that neither has learned from.
func TestJudgedAgainstTheChampion(t *testing.T) {
	m := testModel()
	r := newRig(t, m, 2)
	w := newWorld(t, &m, 23, 2, 280, planted)
	l := r.loop()
	r.write(w, 190)
	r.step(l)
	r.champion(1)
	r.write(w, 280)
	r.step(l)
	versions := r.versions()
	v := versions[1]
	if v.Baseline != 1 || v.Verdict == "" {
		t.Fatalf("version 2: %s against %d", v.Verdict, v.Baseline)
	}
	j := judgementOf(t, v)
	b := l.books[0]
	rows, _ := b.cohort(v.Cutoff)
	one, err := l.open(versions[0].Bundle)
	if err != nil {
		t.Fatal(err)
	}
	got, err := scores(one, rows)
	if err != nil {
		t.Fatal(err)
	}
	var labels []float64
	for _, x := range rows {
		labels = append(labels, x.label)
	}
	if want := eval.Measured("binary", labels, got).Loss; j.Loss["champion"] != want || j.Loss["base_rate"] == want {
		t.Errorf("losses %v, want %v for the champion", j.Loss, want)
	}
}

// TestChampionOfOtherFeatures cannot score the rows: the base rate, which answers
// for it, stands for it. A candidate of other features is superseded.
func TestChampionOfOtherFeatures(t *testing.T) {
	m := testModel()
	r := newRig(t, m, 2)
	w := newWorld(t, &m, 24, 2, 190, planted)
	l := r.loop()
	r.write(w, w.hours)
	r.step(l)
	l.Close()
	r.champion(1)
	if v := r.versions()[1]; v.State != registry.Judging {
		t.Fatalf("version 2 is in state %s", v.State)
	}
	r.model.Inputs = slices.Clone(m.Inputs)
	r.model.Inputs[1].Fingerprint = "changed"
	later := newWorld(t, &r.model, 25, 2, 190, planted)
	for p := range later.records { // they go on where the others ended
		for i := range later.records[p] {
			e := &later.records[p][i]
			e.Seq += 1_000_000
			e.Known += 200 * hour
			e.Prediction.Time += 200 * hour
			e.Prediction.ID = "later-" + e.Prediction.ID
		}
	}
	r.sent = make([]int, 2)
	r.write(later, later.hours)
	r.step(r.loop())
	versions := r.versions()
	if v := versions[1]; v.State != registry.Superseded {
		t.Errorf("version 2, of features that are gone, is in state %s", v.State)
	}
	v := versions[2]
	if v.Verdict != "promote" || v.Baseline != 1 || !strings.Contains(strings.Join(v.Reasons, ";"), "version 1 is for the features") {
		t.Errorf("version 3: %s against %d: %q", v.Verdict, v.Baseline, v.Reasons)
	}
}

// TestBundleIsGone breaks a candidate whose bundle was deleted or changed before
// it is judged. One that the disk does not give is tried again.
func TestBundleIsGone(t *testing.T) {
	for _, c := range []struct {
		name   string
		spoil  func(folder string) error
		reason string
	}{
		{"deleted", os.RemoveAll, "it is not in"},
		{"changed", func(folder string) error {
			return os.WriteFile(filepath.Join(folder, "profile.json"), []byte("{}"), 0o600)
		}, "profile.json"},
	} {
		m := testModel()
		r := newRig(t, m, 1)
		w := newWorld(t, &m, 27, 1, 190, planted)
		l := r.loop()
		r.write(w, 100)
		r.step(l)
		if err := c.spoil(filepath.Join(r.config().Bundles, r.versions()[0].Bundle)); err != nil {
			t.Fatal(err)
		}
		r.write(w, w.hours)
		r.step(l)
		if v := r.versions()[0]; v.State != registry.Broken {
			t.Errorf("%s: version 1 is in state %s", c.name, v.State)
		}
		events, err := r.registry.History(t.Context(), m.Name)
		if err != nil || !slices.ContainsFunc(events, func(e registry.Event) bool { return e.What == "broken" && strings.Contains(e.Why, c.reason) }) {
			t.Errorf("%s: %v, %+v", c.name, err, events)
		}
		if len(r.versions()) != 2 {
			t.Errorf("%s: %d versions", c.name, len(r.versions()))
		}
	}
}

// TestKeyIsNotTrusted waits for it, says so, and goes on once it is trusted: where
// a candidate is to be judged, and where another is due before that.
func TestKeyIsNotTrusted(t *testing.T) {
	for name, per := range map[string]time.Duration{"judged": 1000 * time.Hour, "due": time.Hour} {
		t.Run(name, func(t *testing.T) { keyIsNotTrusted(t, per) })
	}
}

func keyIsNotTrusted(t *testing.T, per time.Duration) {
	m := testModel()
	m.Train.Per = per
	r := newRig(t, m, 1)
	w := newWorld(t, &m, 27, 1, 190, planted)
	r.write(w, 100)
	r.step(r.loop())
	r.write(w, w.hours)
	c := r.config()
	c.Trusted = func() ([]ed25519.PublicKey, error) { return nil, nil }
	l := New(c)
	defer l.Close()
	for range 2 {
		if err := l.Step(t.Context()); !errors.Is(err, bundle.ErrUntrusted) {
			t.Fatalf("%v, want that the key is not trusted", err)
		}
	}
	if p := l.Problems(); len(p) != 1 || !strings.Contains(p[0], `"millrace keys trust FILE"`) {
		t.Errorf("%q", p)
	}
	if v := r.versions(); len(v) != 1 || v[0].State != registry.Judging {
		t.Errorf("%+v", v)
	}
	l.cfg.Trusted = func() ([]ed25519.PublicKey, error) { return nil, fs.ErrNotExist }
	if err := l.Step(t.Context()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v, want that there are no keys", err)
	}
	l.cfg.Trusted = trusted
	r.step(l)
	want := newRig(t, m, 1)
	want.write(w, w.hours)
	want.step(want.loop())
	if p := l.Problems(); len(p) != 0 || !slices.Equal(r.outcome(), want.outcome()) {
		t.Errorf("%q, %.500q", p, r.outcome())
	}
}

// TestBudgetOfFalsePromotions gives one judgement a year.
func TestBudgetOfFalsePromotions(t *testing.T) {
	m := testModel()
	m.Gate.PerYear = 0.1
	r := newRig(t, m, 1)
	w := newWorld(t, &m, 28, 1, 380, planted)
	r.replay(w, r.loop(), 10)
	versions := r.versions()
	if v := versions[0]; v.Verdict != "promote" {
		t.Fatalf("version 1: %s", v.Verdict)
	}
	for _, v := range versions[1 : len(versions)-2] {
		if v.Verdict != "inconclusive" || v.State != registry.Closed || !strings.Contains(v.Reasons[0], "the budget of 0.1 false promotions a year is spent") || v.Report != nil || v.Judged != 0 {
			t.Errorf("version %d: %s, %q, %s", v.Number, v.Verdict, v.Reasons, v.Report)
		}
	}
	// A year later there is room for another: those that were given up have spent
	// nothing.
	l := New(r.config())
	for _, c := range []struct {
		after time.Duration
		ok    bool
	}{{364 * 24 * time.Hour, false}, {365 * 24 * time.Hour, true}} {
		_, ok, err := l.budget(t.Context(), &m, versions[0].Judged+c.after.Microseconds())
		if err != nil || ok != c.ok {
			t.Errorf("after %v: %v, %v", c.after, ok, err)
		}
	}
}

// TestRowsThatAreLost closes a candidate that can never be judged, and says why.
// Nothing of the budget is spent by that.
func TestRowsThatAreLost(t *testing.T) {
	m := testModel()
	m.Gate.PerYear = 0.1 // one judgement
	r := newRig(t, m, 1)
	w := newWorld(t, &m, 29, 1, 280, planted)
	l := r.loop()
	r.write(w, 100)
	r.step(l)
	cutoff := r.versions()[0].Cutoff
	l.Close()
	r.step(l)
	if hold := l.books[0].hold; hold != cutoff {
		t.Errorf("what became known after %d is held, want %d", hold, cutoff)
	}
	l.books[0].forgotten = cutoff + hour // as by very many rows that are not complete
	l.looked = time.Time{}
	r.step(l)
	if v := r.versions()[0]; v.Verdict != "inconclusive" || v.State != registry.Closed || !strings.Contains(v.Reasons[0], "are no longer held") || v.Judged != 0 {
		t.Errorf("%s: %q", v.Verdict, v.Reasons)
	}
	l.looked = time.Time{}
	r.step(l)
	if hold := l.books[0].hold; hold != math.MaxInt64 {
		t.Errorf("what became known after %d is held", hold)
	}
	r.write(w, w.hours)
	r.step(l)
	if v := r.versions()[1]; v.Verdict != "promote" {
		t.Errorf("version 2: %s: %q", v.Verdict, v.Reasons)
	}
}

// TestRowsAreHeldForCandidates has more rows come than are kept: those that a
// candidate waits for stay, and no others.
func TestRowsAreHeldForCandidates(t *testing.T) {
	m := testModel()
	m.Train.Window, m.Gate.Rows = 100, 10
	w := newWorld(t, &m, 30, 1, 150, planted)
	b := newBook(&m, 1)
	b.hold = 60 * hour
	feed(b, w, rand.New(rand.NewPCG(1, 6)), func() {})
	after := 0
	for _, x := range labelsOf(w, b.known) {
		if x.Known > b.hold {
			after++
		}
	}
	if b.forgotten > b.hold || b.forgotten < b.hold-hour || after < 5*b.limit || len(b.rows) < after {
		t.Errorf("%d rows, forgotten up to %d; %d became known after %d", len(b.rows), b.forgotten, after, b.hold)
	}
	b.hold = math.MaxInt64
	b.forget()
	if len(b.rows) != b.limit {
		t.Errorf("%d rows, want %d", len(b.rows), b.limit)
	}
}

// TestConflictsAreNoErrors judges what another has judged meanwhile.
func TestConflictsAreNoErrors(t *testing.T) {
	m := testModel()
	r := newRig(t, m, 1)
	w := newWorld(t, &m, 31, 1, 100, planted)
	r.write(w, w.hours)
	l := r.loop()
	r.step(l)
	v := r.versions()[0]
	if err := r.registry.Judge(t.Context(), m.Name, 1, registry.Judgement{Verdict: "reject", Reasons: []string{"another was first"}}); err != nil {
		t.Fatal(err)
	}
	if err := l.giveUp(t.Context(), &v, 0, "late"); !errors.Is(err, registry.ErrConflict) {
		t.Error(err)
	}
	l.looked = time.Time{}
	r.step(l)
	if v := r.versions()[0]; !slices.Equal(v.Reasons, []string{"another was first"}) {
		t.Error(v.Reasons)
	}
}
