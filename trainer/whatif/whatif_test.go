package whatif

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
	"github.com/millrace/millrace/features/featurestest"
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
	if b.Past.Recomputed != 0 || b.Before != a.Before || !strings.Contains(b.notes(), "values are set for the entity alone") {
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

// TestFaults has what is wrong with a question, and what is said.
func TestFaults(t *testing.T) {
	l := shared.lab(nil)
	for _, x := range []struct{ edit, want string }{
		{`{"model":"other"}`, `model: there is no model "other"; the project has big_move`},
		{`{"entity":{}}`, "entity.symbol: missing; model big_move is about symbol"},
		{`{"entity":{"symbol":"AAPL","shop":"1"}}`, "entity.shop: model big_move is not about it, but about symbol"},
		{`{"entity":{"symbol":"APPL"}}`, "entity: the lake has no events of symbol APPL; see that it is spelt"},
		{`{"as_of":"0020-01-01T00:00:00Z"}`, "as_of: 0020-01-01T00:00:00Z: give a time between"},
		{`{"past":100001}`, "past: 100001 examples; at most 100000"},
		{`{"values":{"daily.nothing":"1"}}`, "values.daily.nothing: model big_move does not know it; it has daily.ticker, daily.last_ret, "},
		{`{"values":{"volume_mean_30d":"1"}}`, "values.volume_mean_30d: model big_move does not know it"},
		{`{"values":{"daily.volume_mean_30d":"1"}}`, "values.daily.volume_mean_30d: nothing that model big_move sees is computed of it"},
		{`{"values":{"daily.last_ret":"much"}}`, `values.daily.last_ret: "much" is not a number`},
		{`{"values":{"daily.last_ret":"NaN"}}`, `values.daily.last_ret: "NaN" is not a number`},
		{`{"values":{"daily.days_30d":"1.5"}}`, `values.daily.days_30d: "1.5" is not a whole number`},
		{`{"windows":{"daily.ret_std_30d":"long"}}`, "windows.daily.ret_std_30d: "},
		{`{"windows":{"daily.ticker":"30d"}}`, "windows.daily.ticker: it has no window: it looks back over all events"},
		{`{"windows":{"daily.last_ret_z":"30d"}}`, "windows.daily.last_ret_z: it has no window, but is computed on demand of daily.last_ret, daily.ret_mean_30d, daily.ret_std_30d; change"},
		{`{"windows":{"daily.range_mean_1w":"36h"}}`, "windows.daily.range_mean_1w: 1d12h is not a multiple of its hop of 1d in the project file; 1d and 2d fit"},
		{`{"windows":{"daily.range_mean_1w":"1h"}}`, "windows.daily.range_mean_1w: 1h is not a multiple of its hop of 1d in the project file; 1d fits"},
		{`{"windows":{"daily.ret_std_30d":"11s"}}`, "windows.daily.ret_std_30d: 11s: give at least 12s"},
		{`{"windows":{"daily.ret_std_30d":"90500ms"}}`, "windows.daily.ret_std_30d: 1m30.5s has no usual hop; 1m30s and 1m31s fit"},
		{`{"windows":{"daily.ret_std_30d":"30d1s"}}`, "windows.daily.ret_std_30d: "},
		{`{"windows":{"daily.ret_std_30d":"720h0m1s"}}`, "windows.daily.ret_std_30d: 30d1s would be cut into tiles of 1s, too many of them; 30d and 30d1h fit"},
		{`{"windows":{"daily.ret_std_30d":"4000d"}}`, "windows.daily.ret_std_30d: 4000d: give at most ten years"},
		{`{"windows":{"daily.ret_std_30d":"60d"},"values":{"daily.ret_std_30d":"1"}}`, "windows.daily.ret_std_30d: it is set to a value, too; give one of both"},
		{`{"request":{"rat":"1"}}`, "request.rat: no feature on demand of the model's views uses it; they use ret"},
		{`{"request":{"ret":"x"}}`, `request.ret: "x" is not a number`},
	} {
		q := Question{Model: stocks.Model, Entity: map[string]string{"symbol": "AAPL"}}
		edit := Question{Entity: q.Entity}
		if strings.Contains(x.edit, `"entity"`) {
			edit.Entity = nil
		}
		if err := json.Unmarshal([]byte(x.edit), &edit); err != nil {
			t.Fatal(err)
		}
		if edit.Model == "" {
			edit.Model = q.Model
		}
		_, err := l.Ask(t.Context(), edit, nil)
		var fault *Fault
		if !errors.As(err, &fault) || !strings.HasPrefix(err.Error(), x.want) {
			t.Errorf("%s: %v\nwant: %s", x.edit, err, x.want)
		}
	}
}

// TestMoments asks about times that the lake has little of.
func TestMoments(t *testing.T) {
	l := shared.lab(nil)
	newest := ask(t, l, Question{Past: NoPast})
	if end := shared.examples[len(shared.examples)-1].Happened; newest.AsOf.UnixMicro() != end || newest.Lake.UnixMicro() != end || newest.Past != nil {
		t.Errorf("as of %v, the lake ends at %v, want both %v", newest.AsOf, newest.Lake, time.UnixMicro(end))
	}
	before := ask(t, l, Question{AsOf: time.UnixMicro(shared.examples[0].Prediction.Time - 1), Past: NoPast})
	if c := before.feature(t, "daily.days_30d"); c.After.Int() != 0 || !before.feature(t, "daily.last_ret").After.Missing() || !strings.Contains(before.notes(), "no event of the entity up to then") {
		t.Errorf("before all events: %+v %s", c, before.notes())
	}
	after := ask(t, l, Question{AsOf: newest.AsOf.Add(400 * day), Past: NoPast})
	if c := after.feature(t, "daily.days_30d"); c.After.Int() != 0 || !strings.Contains(after.notes(), "the lake ends at "+newest.AsOf.Format(time.RFC3339)) {
		t.Errorf("after all events: %+v %s", c, after.notes())
	}
	all := ask(t, l, Question{Windows: map[string]string{"daily.ret_std_30d": "60d"}, Past: 100_000})
	if n := len(shared.examples); all.Past.Rows != n || all.Past.Equal != n || !strings.Contains(all.notes(), fmt.Sprintf("%d past examples are from before the first event", older)) {
		t.Errorf("%+v of %d\n%s", all.Past, n, all.notes())
	}
	few := ask(t, l, Question{Windows: map[string]string{"daily.ret_std_30d": "60d"}, Past: 100})
	if few.Past.Rows != 100 || few.Past.Gain.Lo.Defined() || !strings.Contains(few.notes(), "the gain has no bounds: ") {
		t.Errorf("%+v\n%s", few.Past, few.notes())
	}
}

// TestWithoutMuch asks where there is no lake, none of the events or examples, no
// version that serves, or one of other features.
func TestWithoutMuch(t *testing.T) {
	q := Question{Model: stocks.Model, Entity: map[string]string{"symbol": "AAPL"}, Windows: map[string]string{"daily.ret_std_30d": "60d"}, Past: 300}
	_, err := shared.lab(func(c *Config) { c.Lake = "" }).Ask(t.Context(), q, nil)
	if err == nil || !strings.Contains(err.Error(), "the project has no lake") {
		t.Errorf("no lake: %v", err)
	}
	_, err = shared.lab(func(c *Config) { c.Lake = t.TempDir() }).Ask(t.Context(), q, nil)
	if err == nil || !strings.Contains(err.Error(), "has nothing of source prices yet") {
		t.Errorf("an empty lake: %v", err)
	}
	half := t.TempDir()
	if err := os.CopyFS(filepath.Join(half, "events_prices"), os.DirFS(filepath.Join(shared.cfg.Lake, "events_prices"))); err != nil {
		t.Fatal(err)
	}
	l := shared.lab(func(c *Config) { c.Lake = half })
	if a := ask(t, l, q); a.Past != nil || !strings.Contains(a.notes(), "the lake has no labelled examples of model big_move yet") || a.Before == a.After {
		t.Errorf("no examples: %+v\n%s", a.Past, a.notes())
	}
	if e, err := l.Entities(t.Context(), stocks.Model, 9); len(e) > 0 || err != nil {
		t.Errorf("no examples: %v, %v", e, err)
	}
	a := ask(t, shared.lab(func(c *Config) { c.Registry = nil }), q)
	if a.Before != (Score{0, 0.5}) || a.After != a.Before || a.Past.Recomputed != 300 || a.Past.Gain != (eval.Bounds{}) ||
		!strings.Contains(a.notes(), "no version of model big_move serves yet") || !a.feature(t, "daily.ret_std_30d").Changed {
		t.Errorf("no version: %+v, then %+v\n%+v\n%s", a.Before, a.After, a.Past, a.notes())
	}
	other := shared.lab(func(c *Config) {
		m := c.Models[0]
		m.Inputs = slices.Clone(m.Inputs[1:])
		c.Models = []Model{m}
	})
	if a := ask(t, other, q); a.After.Version != 0 || a.Past != nil ||
		!strings.Contains(a.notes(), "version 1 of model big_move was trained on other features") || !strings.Contains(a.notes(), "past examples of other features") {
		t.Errorf("another set: %+v\n%s", a.After, a.notes())
	}
	_, err = shared.lab(func(c *Config) { c.Bundles = half }).Ask(t.Context(), q, nil)
	if err == nil || !strings.Contains(err.Error(), "version 1 of model big_move, which serves: ") {
		t.Errorf("no bundle: %v", err)
	}
	_, err = shared.lab(func(c *Config) { c.Plans = nil }).Ask(t.Context(), q, nil)
	if err == nil || !strings.Contains(err.Error(), `sees view "daily", which the project does not have`) {
		t.Errorf("no plan: %v", err)
	}
}

// TestAQuestionEnds has questions that are given up, or take too long.
func TestAQuestionEnds(t *testing.T) {
	q := Question{Model: stocks.Model, Entity: map[string]string{"symbol": "AAPL"}}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	l := shared.lab(nil)
	if _, err := l.Ask(ctx, q, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
	ask(t, l, q) // and the next has its turn
	if _, err := shared.lab(func(c *Config) { c.Limit = 1 }).Ask(t.Context(), q, nil); err == nil || !strings.Contains(err.Error(), "no answer within 1ns") {
		t.Errorf("too long: %v", err)
	}
	q.Windows = map[string]string{"daily.ret_std_30d": "60d"}
	_, err := shared.lab(func(c *Config) { c.Memory = 100_000 }).Ask(t.Context(), q, nil)
	if err == nil || !strings.Contains(err.Error(), "do not fit into 0 MiB of memory") {
		t.Errorf("too large: %v", err)
	}
}

// TestTheLakeIsReadOnce counts what is read for question after question.
func TestTheLakeIsReadOnce(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(shared.cfg.Lake)); err != nil {
		t.Fatal(err)
	}
	l := shared.lab(func(c *Config) { c.Lake = dir })
	read := func(q Question) (total int64) {
		t.Helper()
		q.Model = stocks.Model
		if q.Past == 0 {
			q.Past = 50
		}
		last := int64(-1)
		_, err := l.Ask(t.Context(), q, func(done, of int64) {
			if done < last || done > of || of == 0 {
				t.Errorf("%d of %d after %d", done, of, last)
			}
			last, total = done, of
		})
		if err != nil || total > 0 && last != total {
			t.Fatalf("%d of %d: %v", last, total, err)
		}
		return total
	}
	apple, google := map[string]string{"symbol": "AAPL"}, map[string]string{"symbol": "GOOG"}
	if n := read(Question{Entity: apple, Past: NoPast}); n != int64(len(shared.examples)+len(shared.symbols())) {
		t.Errorf("%d events are read for an entity alone", n)
	}
	if n := read(Question{Entity: google}); n == 0 {
		t.Error("nothing is read for another entity")
	}
	for _, length := range []string{"7d", "14d", "60d", "7d"} {
		if n := read(Question{Entity: apple, Windows: map[string]string{"daily.ret_std_30d": length}}); n != 0 {
			t.Errorf("%d events are read for a window of %s", n, length)
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "events_prices", "*"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	if err := os.Chtimes(files[0], time.Now(), time.Unix(1, 0)); err != nil { // as another file would
		t.Fatal(err)
	}
	if n := read(Question{Entity: apple}); n == 0 {
		t.Error("a lake that has changed is not read again")
	}
}

// TestQuestionsAtOnce has the answers of questions that are asked one by one.
func TestQuestionsAtOnce(t *testing.T) {
	l, one := shared.lab(func(c *Config) { c.Memory = 1 << 20 }), shared.lab(nil) // which holds little
	var asking sync.WaitGroup
	for i := range 4 {
		q := Question{Model: stocks.Model, Entity: map[string]string{"symbol": []string{"AAPL", "MSFT"}[i%2]}, Windows: map[string]string{"daily.ret_std_30d": fmt.Sprintf("%dd", 20*(i+1))}, Past: 200}
		want := ask(t, one, q)
		asking.Go(func() {
			got, err := l.Ask(t.Context(), q, nil)
			if err != nil || inJSON(t, got) != inJSON(t, want) {
				t.Errorf("%v: %s\nwant %s", err, inJSON(t, got), inJSON(t, want))
			}
		})
		asking.Go(func() { l.Knobs(stocks.Model) })
	}
	asking.Wait()
}

func inJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Error(err)
	}
	return string(text)
}

// TestKnobs lists what can be changed, and each can.
func TestKnobs(t *testing.T) {
	l := shared.lab(nil)
	if k := l.Knobs("other"); k != nil {
		t.Errorf("another model: %v", k)
	}
	ask(t, l, Question{Past: 300})
	var names []string
	windows, values := map[string]string{}, map[string]string{}
	for _, k := range l.Knobs(stocks.Model) {
		names = append(names, k.Kind+" "+k.Feature)
		if k.Kind == WindowKnob {
			if k.MinWindow <= 0 || k.MinWindow > k.Window || k.MaxWindow < k.Window || k.MinWindow%k.Step != 0 || k.MaxWindow%k.Step != 0 {
				t.Errorf("%+v", k)
			}
			windows[k.Feature] = lengthText(k.MinWindow)
			continue
		}
		number := k.Type == expr.Float || k.Type == expr.Int
		if number && k.Input != (k.Min < k.Max) || k.Min.Defined() && !k.Input {
			t.Errorf("%+v", k)
		}
		values[k.Feature] = k.Max.String()
		if k.Feature == "daily.days_30d" && (k.Min < 0 || k.Max > 31) {
			t.Errorf("%+v", k)
		}
	}
	want := "window daily.last_ret, window daily.ret_std_30d, window daily.days_30d, window daily.range_mean_1w, window daily.big_share_60d, window daily.ret_mean_30d, window daily.range_mean_30d, " +
		"value daily.ticker, value daily.last_ret, value daily.ret_std_30d, value daily.days_30d, value daily.range_mean_1w, value daily.last_ret_z, value daily.ret_z, value daily.log_range_30d, value daily.big_share_60d, value daily.ret_mean_30d, value daily.range_mean_30d"
	if got := strings.Join(names, ", "); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	if windows["daily.ret_std_30d"] != "7d" || values["daily.last_ret"] == "" {
		t.Errorf("%v %v", windows, values)
	}
	for _, k := range l.Knobs(stocks.Model) {
		for _, length := range []time.Duration{k.MinWindow, k.MinWindow + k.Step, k.MaxWindow} {
			if k.Kind == WindowKnob {
				ask(t, l, Question{Windows: map[string]string{k.Feature: lengthText(length)}, Past: NoPast})
			}
		}
	}
	entities, err := l.Entities(t.Context(), stocks.Model, 3)
	if err != nil || fmt.Sprint(entities) != "[map[symbol:AAPL] map[symbol:FB] map[symbol:GOOG]]" {
		t.Errorf("%v, %v", entities, err)
	}
}

// TestAnOtherwiseKeyedView is applied from a re-keyed topic: the lake's order is
// said to stand for that.
func TestAnOtherwiseKeyedView(t *testing.T) {
	src := shared.plan.Source
	src.KeyedBy = nil
	plan, err := features.Compile(shared.plan.Clock, src, shared.cfg.Views[0])
	if err != nil {
		t.Fatal(err)
	}
	q := Question{Windows: map[string]string{"daily.ret_std_30d": "60d"}, Past: 300}
	want, got := ask(t, shared.lab(nil), q), ask(t, shared.lab(func(c *Config) { c.Plans = []*features.Plan{plan} }), q)
	if inJSON(t, got.Features) != inJSON(t, want.Features) || inJSON(t, got.Past) != inJSON(t, want.Past) || !strings.Contains(got.notes(), "re-keyed by symbol") {
		t.Errorf("%+v\nwant %+v\n%s", got, want, got.notes())
	}
}

// TestWallClocksSeeWhatHadArrived recomputes past vectors of views with either
// clock: what came after a prediction by the wall clock was not seen by it.
func TestWallClocksSeeWhatHadArrived(t *testing.T) {
	clocks, late := map[features.Clock]int{}, 0
	for seed := range uint64(40) {
		w := featurestest.New(seed)
		plan, err := features.Compile(w.Clock, w.Source, w.View)
		if err != nil {
			t.Fatal(err)
		}
		x := &examples{keys: [][]string{nil}}
		asked := map[string]bool{}
		var probes, other []offline.Probe
		for i := range w.Events {
			key := w.Events[i].Values[featurestest.Key].Str
			if key == "" {
				continue
			}
			p := offline.Probe{Entity: key, AsOf: w.Events[i].Arrival, KnownBy: features.AnyArrival}
			other = append(other, p)
			if w.Clock == features.WallClock {
				p.KnownBy = p.AsOf
			}
			probes, asked[key] = append(probes, p), true
			x.times, x.keys[0] = append(x.times, p.AsOf), append(x.keys[0], key)
		}
		s, err := (&reading{most: 1 << 30}).gather(rowsOf(w), plan, "", asked, nil)
		if err != nil {
			t.Fatal(err)
		}
		c := &comparison{lab: New(Config{}), past: x, streams: []*stream{s}}
		m, err := c.vectors(t.Context(), 0, plan)
		if err != nil {
			t.Fatal(err)
		}
		build := func(probes []offline.Probe) *offline.Set {
			events := func(yield func(*features.Event, error) bool) {
				for row := range rowsOf(w) {
					if !yield(&row.Event, nil) {
						return
					}
				}
			}
			shardOf := func(_ *features.Event, entity []byte) int { return partitionOf(string(entity)) }
			set, err := offline.Build(t.Context(), plan, events, shardOf, probes, offline.Options{})
			if err != nil {
				t.Fatal(err)
			}
			return set
		}
		set, all := build(probes), build(other)
		for i := range probes {
			want := set.AppendVector(nil, i)
			if got := m.row(nil, i); !slices.Equal(got, want) {
				t.Fatalf("seed %d, row %d: %v, want %v", seed, i, got, want)
			}
			if !slices.Equal(want, all.AppendVector(nil, i)) {
				late++
			}
		}
		clocks[w.Clock]++
	}
	if len(clocks) != 2 || late == 0 {
		t.Errorf("%v worlds by clock, %d vectors would have been others", clocks, late)
	}
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
