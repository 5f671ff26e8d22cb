package whatif

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
	"github.com/millrace/millrace/loadtest/stocks"
	"github.com/millrace/millrace/trainer/eval"
)

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

// TestWhatWasServedOtherwise has a lake that gives other features than were
// served: both sides are computed from it, and none counts as equal.
func TestWhatWasServedOtherwise(t *testing.T) {
	view := shared.cfg.Views[0]
	view.Derive = slices.Clone(view.Derive)
	i := slices.IndexFunc(view.Derive, func(d features.Named) bool { return d.Name == "range" })
	view.Derive[i].Expr = "(high - low) / low"
	plan, err := features.Compile(shared.plan.Clock, shared.plan.Source, view)
	if err != nil {
		t.Fatal(err)
	}
	l := shared.lab(func(c *Config) { c.Plans, c.Views = []*features.Plan{plan}, []features.View{view} })
	served, a := ask(t, l, Question{Past: 300}), ask(t, l, Question{Windows: map[string]string{"daily.ret_std_30d": "30d"}, Past: 300})
	if p := a.Past; p.Recomputed != 300 || p.Equal > 3 || p.LossBefore != p.LossAfter || p.LossBefore == served.Past.LossBefore {
		t.Errorf("%+v; what was served had %+v", p, served.Past)
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
