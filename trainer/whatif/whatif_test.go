package whatif

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/features/offline"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/loadtest/stocks"
	"github.com/millrace/millrace/trainer/bundle"
	"github.com/millrace/millrace/trainer/eval"
)

const day = 24 * time.Hour

// written is the project's view with windows written otherwise.
func (w *world) written(t *testing.T, windows map[string]string) *features.Plan {
	t.Helper()
	v := w.cfg.Views[0]
	v.Features = slices.Clone(v.Features)
	for name, text := range windows {
		size, err := parseLength(text)
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(v.Features, func(f features.Feature) bool { return stocks.View+"."+f.Name == name })
		v.Features[i].Window.Size = size
	}
	plan, err := features.Compile(w.plan.Clock, w.plan.Source, v)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// dataset builds a plan's data set of an entity at moments from the lake.
func (w *world) dataset(t *testing.T, plan *features.Plan, entity string, moments []time.Time) (rows []map[string]any) {
	t.Helper()
	dir := t.TempDir()
	f := offline.Files{Events: w.cfg.Lake, Probes: filepath.Join(dir, "probes.jsonl"), Out: filepath.Join(dir, "out.jsonl")}
	var probes strings.Builder
	for _, at := range moments {
		fmt.Fprintf(&probes, `{"symbol":%q,"as_of":%q,"ret":0.01}`+"\n", entity, at.Format(time.RFC3339Nano))
	}
	if err := os.WriteFile(f.Probes, []byte(probes.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := offline.BuildFiles(t.Context(), plan, f, offline.Options{}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(f.Out)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		row := map[string]any{} // numbers are doubles, which are written so that they read back equal
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row)
	}
	return rows
}

// TestWindowsEqualAProjectOfThem holds what is answered under changed windows
// against the data set of a project whose windows really are so, to the bit.
func TestWindowsEqualAProjectOfThem(t *testing.T) {
	l, r := shared.lab(nil), rand.New(rand.NewPCG(1, 2))
	for _, windows := range []map[string]string{
		{"daily.ret_std_30d": "60d"},
		{"daily.ret_std_30d": "7d", "daily.ret_mean_30d": "90d"}, // cut into tiles of 6 hours
		{"daily.range_mean_1w": "30d", "daily.days_30d": "18h", "daily.range_mean_30d": "200d"},
		{"daily.big_share_60d": "13d"},
	} {
		var moments []time.Time
		for range 12 {
			at := shared.examples[r.IntN(len(shared.examples))].Prediction.Time
			moments = append(moments, time.UnixMicro(at+r.Int64N(3)*r.Int64N(2e11)).UTC())
		}
		before, after := shared.dataset(t, shared.plan, "MSFT", moments), shared.dataset(t, shared.written(t, windows), "MSFT", moments)
		changed := 0
		for i, at := range moments {
			a := ask(t, l, Question{Entity: map[string]string{"symbol": "MSFT"}, AsOf: at, Windows: windows, Request: map[string]string{"ret": "0.01"}, Past: NoPast})
			for _, c := range a.Features {
				name := strings.TrimPrefix(c.Name, stocks.View+".")
				if got, want := asJSON(t, c.Before), before[i][name]; got != want {
					t.Fatalf("%s at %v: %v before, the data set has %v", c.Name, at, got, want)
				}
				if got, want := asJSON(t, c.After), after[i][name]; got != want {
					t.Fatalf("%s at %v under %v: %v, the data set of such a project has %v", c.Name, at, windows, got, want)
				}
				if c.Changed != (before[i][name] != after[i][name]) {
					t.Fatalf("%s at %v: changed is %v", c.Name, at, c.Changed)
				}
				if c.Changed {
					changed++
				}
			}
			if !a.AsOf.Equal(at) {
				t.Fatalf("as of %v, asked for %v", a.AsOf, at)
			}
		}
		if changed < len(moments)/2 {
			t.Errorf("under %v only %d values changed", windows, changed)
		}
	}
}

// asJSON is a value as a decoder of JSON reads it.
func asJSON(t *testing.T, v Value) (x any) {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &x); err != nil {
		t.Fatal(err)
	}
	return x
}

// TestOwnLengthsAndValuesChangeNothing sets each window to the length that it
// has, and each value to the one that it has.
func TestOwnLengthsAndValuesChangeNothing(t *testing.T) {
	const n = 800
	l := shared.lab(nil)
	windows, lengths := map[string]string{}, 0
	for _, k := range l.Knobs(stocks.Model) {
		if k.Kind == WindowKnob {
			windows[k.Feature], lengths = lengthText(k.Window), lengths+1
		}
	}
	request := map[string]string{"ret": "0.02"}
	a := ask(t, l, Question{Windows: windows, Request: request, Past: n})
	if lengths < 7 || len(a.Features) < 11 {
		t.Errorf("%d windows, %d features", lengths, len(a.Features))
	}
	if a.Base == nil {
		t.Fatal("the answer does not say what made it")
	}
	odds := *a.Base
	for _, c := range a.Features {
		if (c.Adds != nil) != c.Input {
			t.Errorf("%s, input %v, adds %v", c.Name, c.Input, c.Adds)
		} else if c.Input {
			odds += c.Adds.After
		}
	}
	if got := 1 / (1 + math.Exp(-odds)); math.Abs(got-a.After.Value) > 1e-9 {
		t.Errorf("base and inputs add up to a score of %v, want %v", got, a.After.Value)
	}
	values := map[string]string{}
	for _, c := range a.Features {
		values[c.Name] = c.Before.String()
		if c.Changed {
			t.Errorf("%s is changed by windows of their own length: %v, then %v", c.Name, c.Before, c.After)
		}
	}
	unchanged := func(what string, a *Answer) {
		t.Helper()
		p := a.Past
		if a.Before != a.After || a.Before.Version != 1 || p.LossBefore != p.LossAfter || p.AUCBefore != p.AUCAfter || p.Gain != (eval.Bounds{}) {
			t.Errorf("%s: %+v, then %+v; past %+v", what, a.Before, a.After, p)
		}
		if p.Rows != n {
			t.Errorf("%s: %d rows", what, p.Rows)
		}
	}
	unchanged("windows", a)
	if a.Past.Recomputed != n || a.Past.Equal != n {
		t.Errorf("of %d vectors %d are those that were served", a.Past.Recomputed, a.Past.Equal)
	}
	b := ask(t, l, Question{Values: values, Request: request, Past: n})
	unchanged("values", b)
	if b.Past.Recomputed != 0 || b.Before != a.Before || !strings.Contains(b.notes(), "values are set for the entity alone") || strings.Contains(b.notes(), "as served") {
		t.Errorf("values: %+v, %s", b.Past, b.notes())
	}
}

// A naive computes vectors as the pipeline does, event by event, under a plan.
func (w *world) naive(t *testing.T, plan *features.Plan) map[string][]features.Value {
	t.Helper()
	other := &world{cfg: w.cfg, plan: plan}
	days := stocks.Days(stocks.Events())
	if err := other.serve(slices.Concat(days[len(days)-worldDays:]...)); err != nil {
		t.Fatal(err)
	}
	vectors := map[string][]features.Value{}
	for _, x := range other.examples {
		vectors[x.Prediction.ID] = x.Prediction.Vector
	}
	return vectors
}

// expect is a Past by the definitions of its figures.
func (w *world) expect(t *testing.T, n int, after func(id string, vector []features.Value) []features.Value) *Past {
	t.Helper()
	var times []int64
	var labels, diffs []float64
	var scores [2][]float64
	var losses [2]float64
	for _, x := range w.examples[len(w.examples)-n:] {
		served := x.Prediction.Vector
		var loss [2]float64
		for side, vector := range [][]features.Value{served, after(x.Prediction.ID, slices.Clone(served))} {
			score, err := w.bundle.Score(vector)
			if err != nil {
				t.Fatal(err)
			}
			scores[side] = append(scores[side], score)
			loss[side] = -math.Log(score)
			if x.Label == 0 {
				loss[side] = -math.Log(1 - score)
			}
			losses[side] += loss[side] / float64(n)
		}
		times, labels, diffs = append(times, x.Prediction.Time), append(labels, x.Label), append(diffs, loss[0]-loss[1])
	}
	g := w.cfg.Models[0].Gate
	lo, mean, hi, err := eval.Interval(times, diffs, eval.Bootstrap{Confidence: g.Confidence, Block: 10 * day, Periods: g.Periods, Replicates: g.Replicates, Seed: g.Seed})
	if err != nil {
		t.Fatal(err)
	}
	return &Past{
		Rows: n, LossBefore: eval.Number(losses[0]), LossAfter: eval.Number(losses[1]),
		Gain:       eval.Bounds{Lo: eval.Number(lo), Mean: eval.Number(mean), Hi: eval.Number(hi)},
		Confidence: 0.95, AUCBefore: auc(labels, scores[0]), AUCAfter: auc(labels, scores[1]),
		From: time.UnixMicro(times[0]).UTC(), To: time.UnixMicro(times[n-1]).UTC(),
	}
}

// auc compares each positive row with each negative one.
func auc(labels, scores []float64) eval.Number {
	won, pairs := 0.0, 0.0
	for i := range labels {
		for j := range labels {
			if labels[i] == 1 && labels[j] == 0 {
				pairs++
				switch {
				case scores[i] > scores[j]:
					won++
				case scores[i] == scores[j]:
					won += 0.5
				}
			}
		}
	}
	return eval.Number(won / pairs)
}

// near compares the figures of two Pasts, which were added up in other orders.
func near(t *testing.T, what string, got, want *Past) {
	t.Helper()
	figures := func(p *Past) []eval.Number {
		return []eval.Number{p.LossBefore, p.LossAfter, p.Gain.Lo, p.Gain.Mean, p.Gain.Hi, p.AUCBefore, p.AUCAfter}
	}
	for i, x := range figures(got) {
		if y := figures(want)[i]; !(math.Abs(float64(x-y)) <= 1e-12) {
			t.Errorf("%s: figure %d is %v, by its definition %v", what, i, x, y)
		}
	}
	if got.Rows != want.Rows || got.Confidence != want.Confidence || !got.From.Equal(want.From) || !got.To.Equal(want.To) {
		t.Errorf("%s: %+v, want %+v", what, got, want)
	}
}

// TestPastEqualsANaiveRecomputation replays the log under the changed windows, and
// takes the figures by their definitions.
func TestPastEqualsANaiveRecomputation(t *testing.T) {
	n := shared.whole(900)
	l := shared.lab(nil)
	windows := map[string]string{"daily.ret_std_30d": "60d", "daily.range_mean_30d": "12d"}
	vectors := shared.naive(t, shared.written(t, windows))
	kept := slices.IndexFunc(shared.cfg.Models[0].Inputs, func(in bundle.Input) bool { return in.Name == "daily.ret_z" })
	want := shared.expect(t, n, func(id string, vector []features.Value) []features.Value {
		ret := vector[kept]
		vector = vectors[id]
		vector[kept] = ret // its request is not kept
		return vector
	})
	a := ask(t, l, Question{Windows: windows, Past: n})
	near(t, "windows", a.Past, want)
	if a.Past.Recomputed != n || a.Past.Equal != n || a.Past.LossBefore == a.Past.LossAfter || !strings.Contains(a.notes(), "daily.ret_z: in past examples as served") {
		t.Errorf("%+v\n%s", a.Past, a.notes())
	}
	b := ask(t, l, Question{Windows: map[string]string{"daily.range_mean_1w": "20d"}, Past: n})
	if strings.Contains(b.notes(), "daily.ret_z") {
		t.Errorf("ret_z is not computed of what is changed: %s", b.notes())
	}
}

// TestValuesInThePast sets a value in all past examples: what is computed of it
// on demand follows, from the lake.
func TestValuesInThePast(t *testing.T) {
	n := shared.whole(800)
	l := shared.lab(nil)
	inputs := shared.cfg.Models[0].Inputs
	at := func(name string) int {
		return slices.IndexFunc(inputs, func(in bundle.Input) bool { return in.Name == "daily."+name })
	}
	plan := shared.written(t, nil)
	mean := slices.IndexFunc(plan.Outputs(), func(o features.Output) bool { return o.Name == "ret_mean_30d" })
	means := map[string]float64{}
	for _, symbol := range shared.symbols() {
		rows := shared.dataset(t, plan, symbol, times(shared, symbol))
		for i, x := range of(shared, symbol) {
			means[x], _ = rows[i][plan.Outputs()[mean].Name].(float64)
		}
	}
	want := shared.expect(t, n, func(id string, vector []features.Value) []features.Value {
		vector[at("ret_std_30d")] = expr.FloatValue(0.02)
		vector[at("last_ret_z")] = features.Value{}
		if last := vector[at("last_ret")]; last.Kind == expr.Float {
			vector[at("last_ret_z")] = expr.FloatValue((last.Float() - means[id]) / 0.02)
		}
		return vector
	})
	q := Question{Values: map[string]string{"daily.ret_std_30d": "0.02"}, Past: n, All: true}
	a := ask(t, l, q)
	near(t, "a value that others are computed of", a.Past, want)
	if a.Past.Recomputed != n || a.Past.Equal != n {
		t.Errorf("%+v", a.Past)
	}
	z := a.feature(t, "daily.last_ret_z")
	if x := (a.feature(t, "daily.last_ret").After.Float() - a.feature(t, "daily.ret_mean_30d").After.Float()) / 0.02; z.After.Float() != x || !z.Changed {
		t.Errorf("the entity's last_ret_z is %v, want %v", z.After, x)
	}

	want = shared.expect(t, n, func(_ string, vector []features.Value) []features.Value {
		vector[at("big_share_60d")], vector[at("ticker")], vector[at("ret_z")] = features.Value{}, expr.StringValue("IBM"), expr.FloatValue(3)
		return vector
	})
	q.Values = map[string]string{"daily.big_share_60d": "", "daily.ticker": "IBM", "daily.ret_z": "3"}
	a = ask(t, l, q)
	near(t, "values", a.Past, want)
	if a.Past.Recomputed != 0 || strings.Contains(a.notes(), "as served") {
		t.Errorf("%+v\n%s", a.Past, a.notes())
	}
	if c := a.feature(t, "daily.big_share_60d"); !c.After.Missing() || !c.Changed || a.Before == a.After {
		t.Errorf("%+v; %+v, then %+v", c, a.Before, a.After)
	}
}

// whole is about n: the last examples that are of whole days.
func (w *world) whole(n int) int {
	first := w.examples[len(w.examples)-n].Prediction.Time
	return len(w.examples) - slices.IndexFunc(w.examples, func(x feedback.Example) bool { return x.Prediction.Time >= first })
}

// symbols lists whom the examples are about.
func (w *world) symbols() (symbols []string) {
	for _, x := range w.examples {
		symbols = append(symbols, x.Prediction.Key)
	}
	slices.Sort(symbols)
	return slices.Compact(symbols)
}

// of lists a symbol's examples, and times when they were asked for.
func of(w *world, symbol string) (ids []string) {
	for _, x := range w.examples {
		if x.Prediction.Key == symbol {
			ids = append(ids, x.Prediction.ID)
		}
	}
	return ids
}

func times(w *world, symbol string) (times []time.Time) {
	for _, x := range w.examples {
		if x.Prediction.Key == symbol {
			times = append(times, time.UnixMicro(x.Prediction.Time).UTC())
		}
	}
	return times
}

// TestValuesInJSON has each kind of value.
func TestValuesInJSON(t *testing.T) {
	for want, v := range map[string]features.Value{
		`null`: {}, `1.5`: expr.FloatValue(1.5), `-7`: expr.IntValue(-7), `true`: expr.BoolValue(true), `"a\"b"`: expr.StringValue(`a"b`),
		`"2026-01-01T00:00:00Z"`: expr.TimeValue(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()), `"+Inf"`: expr.FloatValue(math.Inf(1)),
	} {
		if text, err := json.Marshal(Value{v}); err != nil || string(text) != want {
			t.Errorf("%+v is %s, %v; want %s", v, text, err, want)
		}
	}
	if text, err := json.Marshal(Value{expr.FloatValue(math.NaN())}); err != nil || string(text) != "null" {
		t.Errorf("NaN is %s, %v", text, err)
	}
}
