package offline

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
)

// The known answers for windows were worked out by hand. Where a case names
// another convention that can be defended, ours is: events of one instant go by
// their order in the log, a NaN is skipped as a missing value is, and an
// integer sum beyond 64 bits is missing.

// Of the 124 expectations these are checked: all but distinct (6), lag1 (1),
// std_pop (2) and those of calendar days (9), which do not exist.
const answersExist = 106

// With tiles of the default hop, those whose window begins on a tile's edge.
const answersOnEdges = 78

type answerCase struct {
	ID     string
	Window struct {
		Type, Size, Offset, TTL string
	}
	Events []struct {
		ID      string
		Key     *string
		Time    time.Time
		Arrival *time.Time
		Value   any
	}
	Probes []struct {
		Key     *string
		AsOf    time.Time
		KnownBy *time.Time `json:"known_by"`
		Expect  map[string]any
	}
	Filter *struct {
		ValueGT json.Number `json:"value_gt"`
	}
	LateBound   string `json:"late_bound"`
	MaxAhead    string `json:"max_ahead"`
	Tolerance   float64
	Alternative struct {
		ByArrival      map[string]any `json:"by_arrival"`
		OverflowStatus string         `json:"overflow_status"`
	}
}

func readAnswers(t *testing.T) []answerCase {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "shared", "known-answers", "windows.json")) // beside the checkout
	if os.IsNotExist(err) && os.Getenv("CI") == "" {
		t.Skip("the known answers are not there: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Cases []answerCase }
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber() // 2^53+1 must come through
	if err := d.Decode(&file); err != nil {
		t.Fatal(err)
	}
	return file.Cases
}

// ours turns the expectations of a case to our conventions.
func (c *answerCase) ours() {
	for _, p := range c.Probes {
		for op, want := range p.Expect {
			if other, ok := c.Alternative.ByArrival[op]; ok {
				p.Expect[op] = other
			}
			if n, ok := want.(json.Number); ok && c.Alternative.OverflowStatus == "null" {
				if _, err := n.Int64(); err != nil {
					p.Expect[op] = nil
				}
			}
		}
	}
}

// TestKnownAnswersOffline builds a set of each case's probes.
func TestKnownAnswersOffline(t *testing.T) {
	runAnswers(t, answersExist, true, func(t *testing.T, c *answerCase, plan *features.Plan) [][]features.Value {
		return buildAnswers(t, c, plan)
	})
}

// TestKnownAnswersOfTiles does so with windows cut into tiles.
func TestKnownAnswersOfTiles(t *testing.T) {
	runAnswers(t, answersOnEdges, false, buildAnswers)
}

// TestKnownAnswersOnline folds the events of each case into a row and asks it
// as soon as all is there that a probe knows of.
func TestKnownAnswersOnline(t *testing.T) {
	runAnswers(t, answersExist, true, serveAnswers)
}

type answerer func(t *testing.T, c *answerCase, plan *features.Plan) [][]features.Value

func runAnswers(t *testing.T, want int, exact bool, answer answerer) {
	checked := 0
	for _, c := range readAnswers(t) {
		c.ours()
		w, ok := c.window(exact)
		if !ok {
			continue // the sum below counts what is left out
		}
		t.Run(c.ID, func(t *testing.T) {
			plan, err := features.Compile(features.WallClock, c.source(), c.view(w))
			if err != nil {
				t.Fatal(err)
			}
			got := answer(t, &c, plan)
			for i, p := range c.Probes {
				edge := exact || w.Kind != features.Sliding || p.AsOf.Add(-w.Size).Truncate(w.Hop).Equal(p.AsOf.Add(-w.Size))
				for op, want := range p.Expect {
					at := slices.Index(answerOps, op)
					if at < 0 || !edge { // no such aggregation, or a window that begins within a tile
						continue
					}
					checked++
					t.Run(fmt.Sprint(i, " ", op), func(t *testing.T) { c.check(t, got[i][at], want) })
				}
			}
		})
	}
	if checked != want && !t.Failed() {
		t.Errorf("checked %d expectations, want %d", checked, want)
	}
}

// answerOps are the aggregations of the answers, in the order of the features.
var answerOps = []string{"count", "count_value", "sum", "mean", "min", "max", "std", "first", "last"}

func (c *answerCase) window(exact bool) (features.Window, bool) {
	w := features.Window{Size: length(c.Window.Size), Offset: length(c.Window.Offset)}
	switch c.Window.Type {
	case "forever":
		return features.Window{Kind: features.Lifetime}, exact
	case "tumbling":
		w.Kind = features.Tumbling
		return w, exact
	case "sliding":
	case "ttl_last": // the last value of an exact window
		w.Size = length(c.Window.TTL)
	default:
		return w, false
	}
	w.Exact = exact
	if !exact {
		var ok bool
		w.Hop, ok = features.DefaultHop(w.Size)
		return w, ok
	}
	return w, true
}

// length parses a number and a unit, days included; "" is 0.
func length(s string) time.Duration {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, _ := strconv.Atoi(days)
		return time.Duration(n) * 24 * time.Hour
	}
	d, _ := time.ParseDuration(s)
	return d
}

func (c *answerCase) source() features.Source {
	return features.Source{
		Name: "source", KeyedBy: []string{"key"}, EventTime: "at", ID: "id", Dedup: 24 * time.Hour,
		AllowNonfinite: true, Lateness: length(c.LateBound), MaxAhead: length(c.MaxAhead),
		Fields: []features.Field{
			{Name: "key", Kind: expr.String}, {Name: "at", Kind: expr.Time}, {Name: "id", Kind: expr.String},
			{Name: "value", Kind: c.kind()},
		},
	}
}

// kind is Int where all values are integers.
func (c *answerCase) kind() features.Kind {
	for _, e := range c.Events {
		if text, ok := e.Value.(string); ok && text != "" {
			return expr.Float
		}
		if n, ok := e.Value.(json.Number); ok && strings.ContainsAny(n.String(), ".eE") {
			return expr.Float
		}
	}
	return expr.Int
}

func (c *answerCase) view(w features.Window) features.View {
	v := features.View{Name: "view", Source: "source", Entity: []string{"key"}}
	for _, op := range answerOps {
		f := features.Feature{Name: op, Agg: op, Of: "value", Window: w}
		switch op {
		case "count":
			f.Of = "*"
		case "count_value":
			f.Agg = "count"
		}
		v.Features = append(v.Features, f)
	}
	if c.Filter != nil {
		v.Where = "value > " + c.Filter.ValueGT.String()
	}
	return v
}

func keyOf(key *string) string {
	if key == nil {
		return "K"
	}
	return *key
}

func (c *answerCase) events(t *testing.T) []features.Event {
	t.Helper()
	var events []features.Event
	for i, e := range c.Events {
		out := features.Event{Time: e.Time.UnixMicro(), Arrival: e.Time.UnixMicro(), Order: features.OrderOf(0, int64(i))}
		if e.Arrival != nil {
			out.Arrival = e.Arrival.UnixMicro()
		}
		out.Values = []features.Value{
			expr.StringValue(keyOf(e.Key)), expr.TimeValue(out.Time), expr.StringValue(e.ID), answerValue(t, e.Value, c.kind()),
		}
		events = append(events, out)
	}
	return events
}

func answerValue(t *testing.T, v any, kind features.Kind) features.Value {
	t.Helper()
	var text string
	switch v := v.(type) {
	case nil:
		return features.Value{}
	case json.Number:
		text = v.String()
	case string:
		text = v
	}
	if kind == expr.Int {
		i, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return expr.IntValue(i)
	}
	x, err := strconv.ParseFloat(text, 64)
	if err != nil {
		t.Fatal(err)
	}
	return expr.FloatValue(x)
}

func buildAnswers(t *testing.T, c *answerCase, plan *features.Plan) [][]features.Value {
	var probes []Probe
	for _, p := range c.Probes {
		probe := Probe{Entity: keyOf(p.Key), AsOf: p.AsOf.UnixMicro(), KnownBy: features.AnyArrival}
		if p.KnownBy != nil {
			probe.KnownBy = p.KnownBy.UnixMicro()
		}
		probes = append(probes, probe)
	}
	set, err := Build(t.Context(), plan, logOf(c.events(t)), oneShard, probes, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var got [][]features.Value
	for i := range probes {
		got = append(got, set.AppendVector(nil, i))
	}
	return got
}

func serveAnswers(t *testing.T, c *answerCase, plan *features.Plan) [][]features.Value {
	events := c.events(t)
	after := make([]int, len(c.Probes)) // how many events of the log come before a probe
	order := make([]int, len(c.Probes))
	for i, p := range c.Probes {
		order[i] = i
		for j, e := range events {
			if p.KnownBy != nil && e.Arrival <= p.KnownBy.UnixMicro() || p.KnownBy == nil && e.Time <= p.AsOf.UnixMicro() {
				after[i] = j + 1
			}
		}
	}
	slices.SortStableFunc(order, func(i, j int) int { return after[i] - after[j] })
	shard, rows := plan.NewShard(features.NoTime, features.Counts{}), map[string]*features.Row{}
	got := make([][]features.Value, len(c.Probes))
	n := 0
	for _, i := range order {
		for ; n < after[i]; n++ {
			foldAnswer(plan, shard, rows, &events[n])
		}
		at := features.At{AsOf: c.Probes[i].AsOf.UnixMicro()}
		if err := plan.CheckAt(at, shard.Newest); err != nil {
			t.Fatal(err)
		}
		got[i] = plan.Vector(nil, rows[keyOf(c.Probes[i].Key)], at, nil)
	}
	return got
}

func foldAnswer(plan *features.Plan, shard *features.Shard, rows map[string]*features.Row, e *features.Event) {
	key := e.Values[0].Str
	if rows[key] == nil {
		rows[key] = plan.NewRow()
	}
	if ok, _ := shard.Admit(e); ok {
		shard.Fold(rows[key], e)
	}
}

// check compares integers exactly and floats within the case's tolerance,
// 1e-9 where it gives none.
func (c *answerCase) check(t *testing.T, got features.Value, want any) {
	t.Helper()
	tolerance := max(c.Tolerance, 1e-9)
	text, isText := want.(string)
	n, isNumber := want.(json.Number)
	switch {
	case want == nil:
		if got.Kind == expr.Missing {
			return
		}
	case isText:
		if x, err := strconv.ParseFloat(text, 64); err == nil && got.Kind == expr.Float && got.Float() == x {
			return
		}
	case isNumber && got.Kind == expr.Int:
		if x, ok := new(big.Rat).SetString(n.String()); ok && x.Cmp(new(big.Rat).SetInt64(got.Int())) == 0 {
			return
		}
	case isNumber && got.Kind == expr.Float:
		if x, err := n.Float64(); err == nil && math.Abs(got.Float()-x) <= tolerance*max(1, math.Abs(x)) {
			return
		}
	}
	t.Errorf("%v %s, want %v", got.Kind, got.Text(), want)
}
