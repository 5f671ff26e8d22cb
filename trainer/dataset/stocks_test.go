package dataset_test

import (
	"iter"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/features/profile"
	"github.com/millrace/millrace/loadtest/stocks"
	"github.com/millrace/millrace/streams/codec"
	. "github.com/millrace/millrace/trainer/dataset"
)

// A set is a data set in memory.
type set struct {
	columns []profile.Column
	rows    [][]features.Value
	labels  []float64
}

// all yields the rows.
func (s *set) all() iter.Seq2[[]features.Value, float64] {
	return func(yield func([]features.Value, float64) bool) {
		for i, row := range s.rows {
			if !yield(row, s.labels[i]) {
				return
			}
		}
	}
}

// first returns the n oldest rows, which it shares.
func (s *set) first(n int) *set {
	return &set{s.columns, s.rows[:n:n], s.labels[:n:n]}
}

// changed returns a copy of s of which each row was changed.
func (s *set) changed(change func(row []features.Value, label float64)) *set {
	out := &set{columns: slices.Clone(s.columns), labels: s.labels}
	for i, row := range s.rows {
		row = slices.Clone(row)
		change(row, s.labels[i])
		out.rows = append(out.rows, row)
	}
	return out
}

func (s *set) summary() *Summary { return Summarise(s.columns, s.all()) }

// stocksSet is the demo's training set: all features of each stock after each
// of its trading days, and whether the next one had a big move.
var stocksSet = sync.OnceValues(func() (*set, error) {
	p, err := stocks.Project("unused")
	if err != nil {
		return nil, err
	}
	plan := p.Plan(stocks.View)
	decoder, err := codec.New(plan.Source)
	if err != nil {
		return nil, err
	}
	s := new(set)
	for _, o := range plan.Outputs() {
		s.columns = append(s.columns, profile.Column{Name: o.Name, Kind: o.Kind})
	}
	shard := plan.NewShard(features.NoTime, features.Counts{})
	rows := map[string]*features.Row{}
	last := map[string]int{} // the row of the symbol that waits for its label
	for _, day := range stocks.Events() {
		e := features.Event{Arrival: day.Time.UnixMicro()}
		if err := decoder.Decode(day.JSON, &e); err != nil {
			return nil, err
		}
		if rows[day.Symbol] == nil {
			rows[day.Symbol] = plan.NewRow()
		}
		if ok, refused := shard.Admit(&e); !ok {
			return nil, refused
		}
		shard.Fold(rows[day.Symbol], &e)
		if at, ok := last[day.Symbol]; ok {
			s.labels[at] = 0
			if math.Abs(day.Close/day.Open-1) >= 0.02 {
				s.labels[at] = 1
			}
		}
		last[day.Symbol] = len(s.rows)
		s.rows = append(s.rows, plan.Vector(nil, rows[day.Symbol], features.At{AsOf: shard.Newest}, nil))
		s.labels = append(s.labels, math.NaN())
		for i := range s.rows[len(s.rows)-1] {
			v := &s.rows[len(s.rows)-1][i]
			v.Str = strings.Clone(v.Str)
		}
	}
	return s.answered(), nil
})

// answered returns the rows that have a label.
func (s *set) answered() *set {
	out := &set{columns: s.columns}
	for i, label := range s.labels {
		if !math.IsNaN(label) {
			out.rows, out.labels = append(out.rows, s.rows[i]), append(out.labels, label)
		}
	}
	return out
}

// of returns s with these columns alone.
func (s *set) of(names []string) *set {
	out := &set{labels: s.labels, rows: make([][]features.Value, len(s.rows))}
	for _, name := range names {
		at := slices.IndexFunc(s.columns, func(c profile.Column) bool { return c.Name == name })
		out.columns = append(out.columns, s.columns[at])
		for i, row := range s.rows {
			out.rows[i] = append(out.rows[i], row[at])
		}
	}
	return out
}

func stocksRows(t *testing.T) *set {
	t.Helper()
	s, err := stocksSet()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// modelRows are the columns that the demo's model sees.
func modelRows(t *testing.T) *set {
	t.Helper()
	p, err := stocks.Project("unused")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range p.Models[0].Features {
		names = append(names, strings.TrimPrefix(f, stocks.View+"."))
	}
	return stocksRows(t).of(names)
}

// TestStocksHaveNoErrors validates the training sets of the demo as they grow,
// each against the one before, with the schema of the first. A stock that goes
// public is a new text, which is worth a warning and no more.
func TestStocksHaveNoErrors(t *testing.T) {
	var sizes []int
	for n := 500; n <= 12_000; n += 500 {
		sizes = append(sizes, n)
	}
	warned := grow(t, modelRows(t), sizes)
	if !warned["ticker domain"] {
		t.Errorf("no warning of a new stock: %v", warned)
	}
}

// TestAllFeaturesHaveNoErrors takes what the model does not see as well. What
// counts the days of thirteen years drifts, and what depends on the request is
// always missing.
func TestAllFeaturesHaveNoErrors(t *testing.T) {
	warned := grow(t, stocksRows(t), []int{500, 1000, 1500, 2000, 4000, 8000, 12_000})
	if !warned["days drift"] || !warned["ret_z constant"] {
		t.Errorf("no warning of the days or of a missing feature: %v", warned)
	}
}

// grow validates ever more rows, and returns which column has which warnings.
func grow(t *testing.T, s *set, sizes []int) (warned map[string]bool) {
	var schema *Schema
	var accepted *profile.Profile
	warned = map[string]bool{}
	for _, n := range sizes {
		now := s.first(n).summary()
		if schema == nil {
			schema = Infer(now)
		}
		for _, a := range Validate(schema, now, accepted) {
			if a.Level != Warning {
				t.Errorf("%d rows: %v", n, a)
			}
			warned[a.Column+" "+a.Kind] = true
		}
		accepted = now.Profile
	}
	return warned
}

// check says that anomalies stop and that all errors are about one column, or
// two, and of a kind.
func check(t *testing.T, what string, found []Anomaly, kind string, columns ...string) {
	t.Helper()
	if !Stops(found) {
		t.Errorf("%s is not stopped: %v", what, found)
	}
	for _, a := range found {
		if a.Level != Error {
			continue
		}
		named := slices.Contains(columns, a.Column)
		for _, c := range columns {
			named = named && (c == a.Column || strings.Contains(a.Detail, strconv.Quote(c)))
		}
		if a.Kind != kind || !named {
			t.Errorf("%s: %v", what, a)
		}
	}
}

// TestShiftedColumnIsStopped multiplies each column of numbers by a hundred, and
// moves it by five standard deviations.
func TestShiftedColumnIsStopped(t *testing.T) {
	s := stocksRows(t)
	for _, n := range []int{1000, 6000} {
		before := s.first(n).summary()
		schema := Infer(before)
		for i, stats := range before.Profile.Columns {
			if stats.Numbers == nil || stats.Name == "days" { // days drifts by itself
				continue
			}
			shift := map[string]func(float64) float64{
				"x100":  func(x float64) float64 { return x * 100 },
				"+5std": func(x float64) float64 { return x + 5*stats.Numbers.Std },
			}
			for what, move := range shift {
				now := s.first(n + 500).of([]string{stats.Name}).changed(func(row []features.Value, _ float64) {
					switch v := row[0]; v.Kind {
					case expr.Float:
						row[0] = expr.FloatValue(move(v.Float()))
					case expr.Int:
						row[0] = expr.IntValue(int64(move(float64(v.Int()))))
					}
				})
				one := &Schema{Label: schema.Label, Columns: schema.Columns[i : i+1]}
				check(t, stats.Name+" "+what, Validate(one, now.summary(), before.Profile), Drift, stats.Name)
			}
		}
	}
}

func TestColumnWithoutValuesIsStopped(t *testing.T) {
	s := modelRows(t)
	before := s.first(2000).summary()
	schema := Infer(before)
	for i, c := range s.columns {
		gone := s.first(2500).changed(func(row []features.Value, _ float64) { row[i] = features.Value{} })
		found := Validate(schema, gone.summary(), before.Profile)
		check(t, c.Name, slices.DeleteFunc(slices.Clone(found), func(a Anomaly) bool { return a.Kind == Drift }), Presence, c.Name)
		for _, a := range found {
			if a.Level == Error && a.Column != c.Name {
				t.Errorf("%s has no values: %v", c.Name, a)
			}
		}
	}
}

func TestAbsentColumnIsStopped(t *testing.T) {
	s := modelRows(t)
	before := s.first(2000).summary()
	var names []string
	for _, c := range s.columns[1:] {
		names = append(names, c.Name)
	}
	found := Validate(Infer(before), s.first(2500).of(names).summary(), before.Profile)
	check(t, "absent", found, MissingColumn, s.columns[0].Name)
}

// TestSwappedColumnsAreStopped puts each pair of the model's numbers in each
// other's place.
func TestSwappedColumnsAreStopped(t *testing.T) {
	s := modelRows(t)
	before := s.first(2000).summary()
	schema := Infer(before)
	for i, a := range s.columns {
		for j, b := range s.columns[:i] {
			if a.Kind != b.Kind {
				continue
			}
			swapped := s.first(2500).changed(func(row []features.Value, _ float64) { row[i], row[j] = row[j], row[i] })
			check(t, a.Name+" and "+b.Name, Validate(schema, swapped.summary(), before.Profile), Swapped, a.Name, b.Name)
		}
	}
}

// TestNothingIsSwappedByItself slides windows over the prices: columns that
// measure the same over other spans drift, and none into the place of another.
func TestNothingIsSwappedByItself(t *testing.T) {
	s := stocksRows(t)
	for _, window := range []int{500, 1000, 4000} {
		var accepted *profile.Profile
		for n := window; n <= 12_000; n += 500 {
			now := (&set{s.columns, s.rows[n-window : n], s.labels[n-window : n]}).summary()
			for _, a := range Validate(&Schema{Columns: driftOnly(now)}, now, accepted) {
				if a.Kind == Swapped {
					t.Errorf("rows %d to %d: %v", n-window, n, a)
				}
			}
			accepted = now.Profile
		}
	}
}

// driftOnly are the columns of an inferred schema without the tests for leaks.
func driftOnly(s *Summary) []Column {
	columns := Infer(s).Columns
	for i := range columns {
		columns[i].Leak = nil
	}
	return columns
}

// TestSwappedWithAText is named by the types.
func TestSwappedWithAText(t *testing.T) {
	s := modelRows(t)
	before := s.first(2000).summary()
	swapped := s.first(2500).changed(func(row []features.Value, _ float64) { row[0], row[1] = row[1], row[0] })
	found := Validate(Infer(before), swapped.summary(), before.Profile)
	for _, c := range s.columns[:2] {
		if !slices.ContainsFunc(found, func(a Anomaly) bool { return a.Kind == Type && a.Column == c.Name && a.Level == Error }) {
			t.Errorf("the type of %s is not an error: %v", c.Name, found)
		}
	}
}

// TestLeakIsStopped lets a column know the label in several ways, in the first
// data set already.
func TestLeakIsStopped(t *testing.T) {
	s := modelRows(t)
	r := rand.New(rand.NewPCG(3, 4))
	number := 1 + slices.IndexFunc(s.columns[1:], func(c profile.Column) bool { return c.Kind == expr.Float })
	for what, plant := range map[string]struct {
		column int
		value  func(label float64) features.Value
	}{
		"noisy":   {number, func(label float64) features.Value { return expr.FloatValue(label + 0.2*r.NormFloat64()) }},
		"inverse": {number, func(label float64) features.Value { return expr.FloatValue(-label) }},
		"only there if": {number, func(label float64) features.Value {
			if label == 1 {
				return expr.FloatValue(r.Float64())
			}
			return features.Value{}
		}},
		"partly there": {number, func(label float64) features.Value {
			if r.IntN(2) == 0 {
				return expr.FloatValue(label)
			}
			return features.Value{}
		}},
		"text": {0, func(label float64) features.Value {
			return expr.StringValue([]string{"no", "yes"}[int(label)] + strconv.Itoa(r.IntN(20)))
		}},
	} {
		leaking := s.first(9000).changed(func(row []features.Value, label float64) { row[plant.column] = plant.value(label) })
		now := leaking.summary()
		check(t, what, Validate(Infer(now), now, nil), Leak, s.columns[plant.column].Name)
	}
}
