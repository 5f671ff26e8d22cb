package serve

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/features/featurestest"
	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/features/online/pebble"
	"github.com/millrace/millrace/streams"
)

const lookupPath = "/get-online-features"

// TestFeast holds the answers against recorded ones of Feast.
func TestFeast(t *testing.T) {
	data, err := os.ReadFile("testdata/feast-0.67.0.json")
	must(t, err)
	var golden struct {
		Events []json.RawMessage
		Cases  []struct {
			Request  json.RawMessage
			Response string
		}
	}
	must(t, json.Unmarshal(data, &golden))
	w := newWorld(t, nil)
	for _, e := range golden.Events {
		w.events("prices", string(e))
	}
	w.apply("daily")
	if len(golden.Cases) != 2 {
		t.Fatalf("%d cases", len(golden.Cases))
	}
	for _, c := range golden.Cases {
		status, got := w.post(lookupPath, string(c.Request))
		if status != http.StatusOK {
			t.Fatalf("status %d: %s", status, got)
		}
		got, asOf, ok := strings.Cut(got, `,"as_of":[`)
		if !ok || strings.Count(asOf, "Z") == 0 {
			t.Errorf("no as_of: %s", asOf)
		}
		// Feast calls a value that is null PRESENT.
		if got = strings.ReplaceAll(got, "NULL_VALUE", "PRESENT") + "}"; got != c.Response {
			t.Errorf("request %s\ngot  %s\nwant %s", c.Request, got, c.Response)
		}
	}
}

func TestStatusesAndTimes(t *testing.T) {
	w := newWorld(t, nil)
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	w.now.Store(at.Add(30 * time.Minute).UnixMicro())
	w.events("prices", `{"symbol":"A","close":2.5,"time":"2026-03-04T05:06:07.000001Z"}
{"symbol":"D","close":"-Infinity","volume":-9223372036854775808,"note":"","time":"2026-03-04T05:06:07.020Z"}`)
	w.apply("daily")
	w.apply("replay")
	got := w.lookup(`{"view":"daily","entities":{"symbol":["A","D","C"]},"request":{"close":[3,null,1e0]}}`)
	got.check(t, "symbol", `["A","D","C"]`, "PRESENT PRESENT PRESENT", "1970-01-01T00:00:00Z 1970-01-01T00:00:00Z 1970-01-01T00:00:00Z")
	times := "2026-03-04T05:06:07.000001Z 2026-03-04T05:06:07.020Z 1970-01-01T00:00:00Z"
	got.check(t, "n", `[1,1,0]`, "PRESENT PRESENT NOT_FOUND", times)
	got.check(t, "n_1h", `[1,1,0]`, "PRESENT PRESENT NOT_FOUND", times)
	got.check(t, "volume", `[null,-9223372036854775808,null]`, "NULL_VALUE PRESENT NOT_FOUND", times)
	got.check(t, "close", `[2.5,"-Infinity",null]`, "PRESENT PRESENT NOT_FOUND", times)
	got.check(t, "note", `[null,"",null]`, "NULL_VALUE PRESENT NOT_FOUND", times)
	got.check(t, "newest", `["2026-03-04T05:06:07.000001Z","2026-03-04T05:06:07.020Z",null]`, "PRESENT PRESENT NOT_FOUND", times)
	got.check(t, "gap", `[0.5,null,null]`, "PRESENT NULL_VALUE NOT_FOUND", times)
	if want := `["2026-03-04T05:36:07Z","2026-03-04T05:36:07Z","2026-03-04T05:36:07Z"]`; string(got.AsOf) != want {
		t.Errorf("as_of %s, want %s", got.AsOf, want)
	}

	// Windows move with time, without an event.
	w.now.Store(at.Add(2 * time.Hour).UnixMicro())
	w.lookup(`{"features":["daily:n_1h","daily:n"],"entities":{"symbol":["A"]}}`).check(t, "n_1h", `[0]`, "PRESENT", "2026-03-04T05:06:07.000001Z")
	w.lookup(`{"features":["daily:n_1h"],"entities":{"symbol":["A"]},"as_of":"2026-03-04T07:00:00+01:00"}`).check(t, "n_1h", `[1]`, "PRESENT", "2026-03-04T05:06:07.000001Z")
	// A clock that is behind the events does not hide them.
	w.now.Store(at.Add(-time.Hour).UnixMicro())
	w.lookup(`{"features":["daily:n_1h"],"entities":{"symbol":["A"]}}`).check(t, "n_1h", `[1]`, "PRESENT", "2026-03-04T05:06:07.000001Z")

	// An event clock is the newest event of the entity's shard, if there is one.
	got = w.lookup(`{"features":["replay:n_1h"],"entities":{"symbol":["D","A","F"]}}`) // in three shards
	got.check(t, "n_1h", `[1,1,0]`, "PRESENT PRESENT NOT_FOUND", "2026-03-04T05:06:07.020Z 2026-03-04T05:06:07.000001Z 1970-01-01T00:00:00Z")
	if want := `["2026-03-04T05:06:07.020Z","2026-03-04T05:06:07.000001Z",null]`; string(got.AsOf) != want {
		t.Errorf("as_of %s, want %s", got.AsOf, want)
	}
}

// TestExactWindows reads at the moment of an event, with and without it.
func TestExactWindows(t *testing.T) {
	w := newWorld(t, nil)
	w.events("prices", `{"symbol":"A","time":"2026-03-04T05:00:00Z"}
{"symbol":"A","time":"2026-03-04T05:30:00Z"}`)
	w.apply("exact")
	ask := func(more string) string {
		return `{"features":["exact:n"],"entities":{"symbol":["A"]},"as_of":"2026-03-04T05:30:00Z"` + more + `}`
	}
	const at = "2026-03-04T05:30:00Z"
	w.lookup(ask("")).check(t, "n", "[2]", "PRESENT", at)
	w.lookup(ask(`,"exclude_current":true`)).check(t, "n", "[1]", "PRESENT", at)
	w.lookup(ask(`,"exclude_current":false`)).check(t, "n", "[2]", "PRESENT", at)
}

// TestSeveralViews joins views of different entities, one of them composite,
// the request's inputs among the entities as Feast has it.
func TestSeveralViews(t *testing.T) {
	w := newWorld(t, nil)
	w.events("prices", `{"symbol":"A","close":2,"time":"2026-03-04T05:00:00Z"}`)
	w.events("buys", `{"user":7,"shop":"a,\"b","sum":1.5,"at":"2026-03-04T06:00:00Z"}`)
	w.apply("daily")
	w.apply("exact")
	w.apply("baskets")
	got := w.lookup(`{"features":["baskets:total","daily:gap","daily:n","exact:n"],"full_feature_names":true,
		"entities":{"unused":["x","y"],"shop":["a,\"b","a,\"b"],"symbol":["A","A"],"user":[7,"8"],"close":[5,6.5]}}`)
	if want := `["shop","symbol","user","baskets__total","daily__gap","daily__n","exact__n"]`; want != mustJSON(t, got.Metadata.FeatureNames) {
		t.Errorf("names %q, want %s", got.Metadata.FeatureNames, want)
	}
	got.check(t, "user", "[7,8]", "PRESENT PRESENT", "1970-01-01T00:00:00Z 1970-01-01T00:00:00Z")
	got.check(t, "baskets__total", "[1.5,null]", "PRESENT NOT_FOUND", "2026-03-04T06:00:00Z 1970-01-01T00:00:00Z")
	got.check(t, "daily__gap", "[3.0,4.5]", "PRESENT PRESENT", "2026-03-04T05:00:00Z 2026-03-04T05:00:00Z")
	got.check(t, "daily__n", "[1,1]", "PRESENT PRESENT", "2026-03-04T05:00:00Z 2026-03-04T05:00:00Z")
}

// TestSameNameOtherKind asks two views by one column, which is a number to one
// and a text to the other.
func TestSameNameOtherKind(t *testing.T) {
	count := []features.Feature{{Name: "n", Agg: "count", Of: "*", Window: features.Window{Kind: features.Lifetime}}}
	var plans []*features.Plan
	for name, kind := range map[string]features.Kind{"numbers": expr.Int, "texts": expr.String} {
		src := features.Source{
			Name: name, Topic: name, KeyedBy: []string{"id"}, EventTime: "time", Format: "json", Partitions: 1,
			Fields: []features.Field{{Name: "id", Kind: kind}, {Name: "time", Kind: expr.Time}},
		}
		plan, err := features.Compile(features.WallClock, src, features.View{Name: name, Source: name, Entity: []string{"id"}, Features: count})
		must(t, err)
		plans = append(plans, plan)
	}
	l := NewLookup(project, plans, nil, time.Now)
	for _, refs := range [][]string{{"numbers:n", "texts:n"}, {"texts:n", "numbers:n"}} {
		q := &Query{Features: refs, FullNames: true, Entities: []Column{{Name: "id", Cells: []features.Value{expr.StringValue("007"), expr.IntValue(7)}}}}
		var v Vectors
		must(t, l.resolve(q, &v))
		want := map[string][]string{"numbers": {"7", "7"}, "texts": {"007", "7"}}
		for _, p := range v.parts {
			if got := []string{p.keys[0].Entity, p.keys[1].Entity}; !slices.Equal(got, want[p.name]) {
				t.Errorf("%v: view %s is asked for %q, want %q", refs, p.name, got, want[p.name])
			}
		}
	}
}

// TestLookupIsVector reads generated rows through the store and the lookup, and
// wants what the plan makes of the rows in memory. One Vectors serves all.
func TestLookupIsVector(t *testing.T) {
	store, err := pebble.Open(t.TempDir())
	must(t, err)
	defer store.Close()
	var v Vectors
	found := 0
	for seed := range uint64(60) {
		g := featurestest.New(seed)
		g.View.Name = fmt.Sprintf("view%d", seed)
		g.Source.Partitions = 3
		plan, err := features.Compile(g.Clock, g.Source, g.View)
		must(t, err)
		rows := map[string]*features.Row{}
		shards := map[int]*features.Shard{}
		for i := range g.Events {
			e := &g.Events[i]
			entity, err := plan.AppendEntity(nil, e.Values)
			must(t, err)
			part := streams.PartitionOf(entity, 3)
			if shards[part] == nil {
				shards[part] = plan.NewShard(features.NoTime, features.Counts{})
			}
			if ok, _ := shards[part].Admit(e); ok {
				if rows[string(entity)] == nil {
					rows[string(entity)] = plan.NewRow()
				}
				shards[part].Fold(rows[string(entity)], e)
			}
		}
		for part, shard := range shards {
			c := &online.Commit{Shard: online.Shard{Space: plan.Space(project), Index: part}, Next: online.NewToken(), Progress: online.Progress{Newest: shard.Newest}}
			for entity, row := range rows {
				if streams.PartitionOf([]byte(entity), 3) == part {
					c.Writes = append(c.Writes, online.Write{Entity: entity, Head: plan.AppendHead(nil, row), Base: plan.AppendBase(nil, row)})
				}
			}
			must(t, store.Commit(t.Context(), c))
		}
		now := g.Events[len(g.Events)-1].Arrival + 1_234_567
		lookup := NewLookup(project, []*features.Plan{plan}, store, func() time.Time { return time.UnixMicro(now) })
		q := &Query{View: g.View.Name, AsOf: features.NoTime, Entities: []Column{{Name: "key"}}}
		for i := range 10 { // some of them no event is about
			q.Entities[0].Cells = append(q.Entities[0].Cells, expr.StringValue(fmt.Sprintf("k%d", i)))
		}
		must(t, lookup.Read(t.Context(), q, &v))
		for i, key := range q.Entities[0].Cells {
			asOf := int64(features.NoTime)
			if s := shards[streams.PartitionOf([]byte(key.Str), 3)]; s != nil {
				asOf = s.Newest
			}
			if g.Clock == features.WallClock {
				asOf = max(asOf, now)
			}
			if v.AsOf[i] != asOf {
				t.Fatalf("seed %d, %s: as of %d, want %d", seed, key.Str, v.AsOf[i], asOf)
			}
			row := rows[key.Str]
			want := plan.Vector(nil, row, features.At{AsOf: asOf}, nil)
			for c := range want {
				got, status := v.Value(i, c)
				if got != want[c] {
					t.Fatalf("seed %d, %s, %s: %v, want %v", seed, key.Str, v.Names[c], got.Text(), want[c].Text())
				}
				if gone := row == nil || row.Empty(); gone != (status == NotFound) || !gone && (want[c].Kind == expr.Missing) != (status == NullValue) {
					t.Fatalf("seed %d, %s, %s: status %s", seed, key.Str, v.Names[c], status)
				}
				if status == Present {
					found++
				}
			}
		}
	}
	if found < 500 {
		t.Errorf("only %d values were there", found)
	}
}

// TestDamagedRow wants a message that names the row, for bytes that are none.
func TestDamagedRow(t *testing.T) {
	w := newWorld(t, nil)
	plan := w.plans["daily"]
	c := &online.Commit{Shard: online.Shard{Space: plan.Space(project), Index: streams.PartitionOf([]byte("A"), 3)}, Next: online.NewToken()}
	c.Progress.Newest = 1
	c.Writes = []online.Write{{Entity: "A", Head: []byte{1, 2, 3}}}
	must(t, w.store.Commit(t.Context(), c))
	status, got := w.post(lookupPath, `{"view":"daily","entities":{"symbol":["A"]}}`)
	if status != http.StatusInternalServerError || !strings.Contains(got, `view \"daily\"`) || !strings.Contains(got, `\"A\"`) {
		t.Errorf("status %d: %s", status, got)
	}
}

// TestFloats writes numbers as Python does, which made the texts.
func TestFloats(t *testing.T) {
	const python = `0.0 -0.0 1.0 -1.0 100.0 0.1 0.0001 9.999e-05 1e-05 123456789.0 1000000000000000.0 1e+16
		9007199254740992.0 9999999999999998.0 1.5e+16 1e+22 5e-324 1.7976931348623157e+308 0.30000000000000004 -2.5
		0.3333333333333333 -1.989032661366619e+244 3.980498358697587e-249 6.387016158513563e-12 -3.953625698224792e-47`
	for _, want := range strings.Fields(python) {
		x, err := strconv.ParseFloat(want, 64)
		must(t, err)
		if got := string(appendFloat(nil, x)); got != want {
			t.Errorf("%g: got %s, want %s", x, got, want)
		}
	}
	for x, want := range map[float64]string{math.Inf(1): `"Infinity"`, math.Inf(-1): `"-Infinity"`} {
		if got := string(appendFloat(nil, x)); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if got := string(appendFloat(nil, math.NaN())); got != `"NaN"` {
		t.Errorf("got %s", got)
	}
}

// A reply is an answer by columns.
type reply struct {
	Metadata struct {
		FeatureNames []string `json:"feature_names"`
	}
	Results []struct {
		Values   json.RawMessage
		Statuses []string
		Times    []string `json:"event_timestamps"`
	}
	AsOf json.RawMessage `json:"as_of"`
}

// lookup asks what must be answered.
func (w *world) lookup(body string) *reply {
	w.t.Helper()
	status, answer := w.post(lookupPath, body)
	r := &reply{}
	if err := json.Unmarshal([]byte(answer), r); err != nil || status != http.StatusOK || len(r.Results) != len(r.Metadata.FeatureNames) {
		w.t.Fatalf("status %d: %s", status, answer)
	}
	return r
}

func (r *reply) check(t *testing.T, column, values, statuses, times string) {
	t.Helper()
	for i, name := range r.Metadata.FeatureNames {
		if name != column {
			continue
		}
		c := r.Results[i]
		if string(c.Values) != values || strings.Join(c.Statuses, " ") != statuses || strings.Join(c.Times, " ") != times {
			t.Errorf("%s: got %s %s %s\nwant %s %s %s", column, c.Values, c.Statuses, c.Times, values, statuses, times)
		}
		return
	}
	t.Errorf("no column %s among %s", column, r.Metadata.FeatureNames)
}

func mustJSON(t *testing.T, x any) string {
	t.Helper()
	b, err := json.Marshal(x)
	must(t, err)
	return string(b)
}
