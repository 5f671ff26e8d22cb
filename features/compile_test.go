package features_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
)

// spendSource and spendView are a small project that compiles.
func spendSource() features.Source {
	return features.Source{
		Name: "orders", KeyedBy: []string{"customer"}, EventTime: "at", ID: "order",
		Fields: []features.Field{
			{Name: "customer", Kind: expr.String}, {Name: "order", Kind: expr.Int}, {Name: "shop", Kind: expr.String},
			{Name: "amount", Kind: expr.Float}, {Name: "paid", Kind: expr.Bool},
		},
	}
}

func spendView() features.View {
	return features.View{
		Name: "spend", Source: "orders", Entity: []string{"customer"}, Where: "paid",
		Derive: []features.Named{{Name: "cents", Expr: "amount * 100"}},
		Features: []features.Feature{
			{Name: "cents_1h", Agg: "sum", Of: "cents", Window: features.Window{Size: time.Hour}},
			{Name: "orders_1h", Agg: "count", Of: "*", Window: features.Window{Size: time.Hour}},
		},
		OnDemand: []features.Named{{Name: "share", Expr: "request.cents / cents_1h"}},
	}
}

// TestCompileRefuses changes one thing and wants one fault that names it.
func TestCompileRefuses(t *testing.T) {
	feature := func(f features.Feature) func(*features.Source, *features.View) {
		return func(_ *features.Source, v *features.View) { v.Features[1] = f }
	}
	window := func(w features.Window) func(*features.Source, *features.View) {
		return feature(features.Feature{Name: "x", Agg: "count", Of: "*", Window: w})
	}
	for want, change := range map[string]func(s *features.Source, v *features.View){
		"views.spend.source: \"clicks\" is not the source":              func(_ *features.Source, v *features.View) { v.Source = "clicks" },
		"sources.orders.event_time: missing":                            func(s *features.Source, _ *features.View) { s.EventTime = "" },
		"sources.orders.event_time: amount is a float":                  func(s *features.Source, _ *features.View) { s.EventTime = "amount" },
		"sources.orders.keyed_by: \"buyer\" is not a field":             func(s *features.Source, _ *features.View) { s.KeyedBy = []string{"buyer"} },
		"sources.orders.dedup: needs id":                                func(s *features.Source, _ *features.View) { s.ID, s.Dedup = "", time.Hour },
		"sources.orders.dedup: 1m0s is shorter than lateness":           func(s *features.Source, _ *features.View) { s.Dedup, s.Lateness = time.Minute, time.Hour },
		"sources.orders.topic: \"a b\" is not a topic name":             func(s *features.Source, _ *features.View) { s.Topic = "a b" },
		"sources.orders.partitions: 5000":                               func(s *features.Source, _ *features.View) { s.Partitions = 5000 },
		"sources.orders.format: \"xml\" is not known":                   func(s *features.Source, _ *features.View) { s.Format = "xml" },
		"sources.orders.max_ahead: -1s":                                 func(s *features.Source, _ *features.View) { s.MaxAhead = -time.Second },
		"sources.orders.fields.amount: listed twice":                    func(s *features.Source, _ *features.View) { s.Fields = append(s.Fields, s.Fields[3]) },
		"sources.orders.fields.bad name: name \"bad name\"":             func(s *features.Source, _ *features.View) { s.Fields[4].Name = "bad name" },
		"views.spend.entity: \"amount\" is a float; keys":               func(_ *features.Source, v *features.View) { v.Entity = []string{"amount"} },
		"views.spend.entity: \"customer\" is listed twice":              func(_ *features.Source, v *features.View) { v.Entity = []string{"customer", "customer"} },
		"views.spend.entity: give one to eight":                         func(_ *features.Source, v *features.View) { v.Entity = nil },
		"views.spend.where: is a float":                                 func(_ *features.Source, v *features.View) { v.Where = "amount" },
		"views.spend.derive.cents: expression":                          func(_ *features.Source, v *features.View) { v.Derive[0].Expr = "amunt * 100" },
		"views.spend.features.x: aggregation \"median\" is not known":   feature(features.Feature{Name: "x", Agg: "median", Of: "amount", Window: features.Window{Size: time.Hour}}),
		"views.spend.features.x: mean of shop: it is a string":          feature(features.Feature{Name: "x", Agg: "mean", Of: "shop", Window: features.Window{Size: time.Hour}}),
		"views.spend.features.x: sum of \"*\": only count":              feature(features.Feature{Name: "x", Agg: "sum", Of: "*", Window: features.Window{Size: time.Hour}}),
		"views.spend.features.cents_1h: the name is taken":              feature(features.Feature{Name: "cents_1h", Agg: "count", Of: "*", Window: features.Window{Size: time.Hour}}),
		"views.spend.features.x: window 1m30s is not a multiple of":     window(features.Window{Size: 90 * time.Second, Hop: time.Minute}),
		"views.spend.features.x: window 7s has no usual hop":            window(features.Window{Size: 7 * time.Second}),
		"views.spend.features.x: max_values needs exact":                window(features.Window{Size: time.Hour, MaxValues: 3}),
		"views.spend.features.x: exact windows have no hop":             window(features.Window{Size: time.Hour, Hop: time.Minute, Exact: true}),
		"views.spend.features.x: window: lifetime takes no size":        window(features.Window{Kind: features.Lifetime, Size: time.Hour}),
		"views.spend.features.x: offset 1h0m0s":                         window(features.Window{Kind: features.Tumbling, Size: time.Hour, Offset: time.Hour}),
		"views.spend.features.x: window kind 9":                         window(features.Window{Kind: 9}),
		"views.spend.features.x: window 24h0m0s with hop 1s needs":      window(features.Window{Size: 24 * time.Hour, Hop: time.Second}),
		"views.spend.on_demand.share: expression":                       func(_ *features.Source, v *features.View) { v.OnDemand[0].Expr = "request.cents / cents_2h" },
		"views.spend.on_demand.orders_1h: the name is taken by another": func(_ *features.Source, v *features.View) { v.OnDemand[0].Name = "orders_1h" },
		"views.spend.features: a row could have": func(_ *features.Source, v *features.View) {
			for i := range 40 {
				w := features.Window{Size: time.Duration(1+i) * time.Hour, Exact: true, MaxValues: 100_000}
				v.Features = append(v.Features, features.Feature{Name: fmt.Sprint("w", i), Agg: "std", Of: "amount", Window: w})
			}
		},
		"look at 70 fields and derivations; at most 64": func(s *features.Source, v *features.View) {
			for i := range 70 {
				s.Fields = append(s.Fields, features.Field{Name: fmt.Sprint("n", i), Kind: expr.Float})
				v.Features = append(v.Features, features.Feature{Name: fmt.Sprint("f", i), Agg: "last", Of: fmt.Sprint("n", i), Window: features.Window{Size: time.Minute, Exact: true}})
			}
		},
	} {
		s, v := spendSource(), spendView()
		change(&s, &v)
		_, err := features.Compile(features.WallClock, s, v)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v", want, err)
		}
	}
	if _, err := features.Compile(features.WallClock, spendSource(), spendView()); err != nil {
		t.Fatal(err)
	}
}

// TestFingerprintsFollowValues changes what a value depends on, and what it
// does not.
func TestFingerprintsFollowValues(t *testing.T) {
	compile := func(change func(s *features.Source, v *features.View)) *features.Plan {
		s, v := spendSource(), spendView()
		change(&s, &v)
		p, err := features.Compile(features.WallClock, s, v)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	base := compile(func(*features.Source, *features.View) {})
	type expect struct{ cents, share, space bool } // which change
	for name, c := range map[string]struct {
		change func(s *features.Source, v *features.View)
		want   expect
	}{
		"nothing":         {func(*features.Source, *features.View) {}, expect{}},
		"feature's name":  {func(_ *features.Source, v *features.View) { v.Features[1].Name = "n" }, expect{}},
		"on demand":       {func(_ *features.Source, v *features.View) { v.OnDemand[0].Expr += " + 1" }, expect{share: true}},
		"derivation":      {func(_ *features.Source, v *features.View) { v.Derive[0].Expr = "amount * 10" }, expect{true, true, true}},
		"where":           {func(_ *features.Source, v *features.View) { v.Where = "!paid" }, expect{true, true, true}},
		"window":          {func(_ *features.Source, v *features.View) { v.Features[0].Window.Size *= 2 }, expect{true, true, true}},
		"another feature": {func(_ *features.Source, v *features.View) { v.Features[1].Window.Size *= 2 }, expect{space: true}},
		"lateness":        {func(s *features.Source, _ *features.View) { s.Lateness = time.Hour }, expect{true, true, true}},
		"dedup":           {func(s *features.Source, _ *features.View) { s.Dedup = time.Hour }, expect{true, true, true}},
		"topic":           {func(s *features.Source, _ *features.View) { s.Topic = "other" }, expect{true, true, true}},
		"event time's unit": {func(s *features.Source, _ *features.View) {
			s.Fields = append(s.Fields, features.Field{Name: "at", Kind: expr.Time, Unit: features.EpochMillis})
		}, expect{true, true, true}},
		"max_jump, unused": {func(s *features.Source, _ *features.View) { s.MaxJump = time.Hour }, expect{}},
		"partitions":       {func(s *features.Source, _ *features.View) { s.Partitions = 7 }, expect{space: true}},
		"csv":              {func(s *features.Source, _ *features.View) { s.Format = "csv" }, expect{true, true, true}},
	} {
		p := compile(c.change)
		got := expect{
			p.Outputs()[0].Fingerprint != base.Outputs()[0].Fingerprint,
			p.Outputs()[2].Fingerprint != base.Outputs()[2].Fingerprint,
			p.Space("shop") != base.Space("shop"),
		}
		if got != c.want {
			t.Errorf("%s: changed %+v, want %+v", name, got, c.want)
		}
	}
	columns := func(names ...string) string {
		s := features.Source{Name: "s", Format: "csv", EventTime: "at", Fields: []features.Field{{Name: "k", Kind: expr.String}, {Name: "at", Kind: expr.Time}}}
		for _, n := range names {
			s.Fields = append(s.Fields, features.Field{Name: n, Kind: expr.Float})
		}
		p, err := features.Compile(features.WallClock, s, features.View{Name: "v", Source: "s", Entity: []string{"k"}, Features: []features.Feature{{Name: "f", Agg: "sum", Of: "a", Window: features.Window{Size: time.Hour}}}})
		if err != nil {
			t.Fatal(err)
		}
		return p.Outputs()[0].Fingerprint
	}
	if columns("a", "b") == columns("b", "a") {
		t.Error("swapped columns of CSV have one fingerprint")
	}
}

// TestEntityKeys are the keys that producers write.
func TestEntityKeys(t *testing.T) {
	s := spendSource()
	v := spendView()
	v.Entity = []string{"shop", "order"}
	composite, err := features.Compile(features.WallClock, s, v)
	if err != nil {
		t.Fatal(err)
	}
	single, err := features.Compile(features.WallClock, spendSource(), spendView())
	if err != nil {
		t.Fatal(err)
	}
	if composite.Keyed() || !single.Keyed() || composite.Topic("p") != "p.orders.by.shop.order" || single.Topic("p") != "orders" {
		t.Errorf("topics %s and %s", composite.Topic("p"), single.Topic("p"))
	}
	vals := func(customer, shop string, order int64) []features.Value {
		return []features.Value{expr.StringValue(customer), expr.IntValue(order), expr.StringValue(shop), {}, {}, {}}
	}
	for _, c := range []struct {
		plan *features.Plan
		vals []features.Value
		want string
	}{
		{single, vals("ann", "", 0), "ann"},
		{single, vals("a\"b\\c\n", "", 0), "a\"b\\c\n"},
		{composite, vals("", "x", -7), `["x",-7]`},
		{composite, vals("", "a\"b\\c\n\t\r\b\f\x01<é", 1), `["a\"b\\c\n\t\r\b\f\u0001<é",1]`},
		{single, vals("", "", 0), "bad_entity: customer is missing or empty"},
		{single, vals(strings.Repeat("k", 1025), "", 0), "bad_entity: " + strings.Repeat("k", 64) + "... has 1025 bytes; at most 1024"},
	} {
		got, err := c.plan.AppendEntity(nil, c.vals)
		if err != nil {
			got = []byte(err.Error())
		}
		if string(got) != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
}

// TestEarlierMoments asks for moments that only exact windows can answer.
func TestEarlierMoments(t *testing.T) {
	compile := func(w features.Window) (*features.Plan, *features.Row, *features.Shard) {
		s := spendSource()
		s.Lateness = time.Hour
		v := features.View{Name: "v", Source: "orders", Entity: []string{"customer"}, Features: []features.Feature{{Name: "n", Agg: "count", Of: "*", Window: w}}}
		p, err := features.Compile(features.WallClock, s, v)
		if err != nil {
			t.Fatal(err)
		}
		shard, row := p.NewShard(features.NoTime, features.Counts{}), p.NewRow()
		for i := range int64(10) {
			at := i * 60e6
			e := features.Event{Time: at, Arrival: at, Order: features.OrderOf(0, i), Values: []features.Value{expr.StringValue("c"), {}, {}, {}, {}, expr.TimeValue(at)}}
			if ok, why := shard.Admit(&e); !ok {
				t.Fatal(why)
			}
			shard.Fold(row, &e)
		}
		return p, row, shard
	}
	minutes := func(n int64) int64 { return n * 60e6 }
	exact, row, shard := compile(features.Window{Size: 3 * time.Minute, Exact: true})
	for _, c := range []struct {
		at   features.At
		want string
	}{
		{features.At{AsOf: minutes(9)}, "3"},
		{features.At{AsOf: minutes(9), ExcludeCurrent: true}, "2"},
		{features.At{AsOf: minutes(5)}, "3"},
		{features.At{AsOf: minutes(5), ExcludeCurrent: true}, "2"},
		{features.At{AsOf: minutes(30)}, "0"},
		{features.At{AsOf: minutes(9 - 61)}, "lateness of 1h0m0s before the newest"},
	} {
		if got := ask(exact, row, shard, c.at); !strings.Contains(got, c.want) {
			t.Errorf("exact %+v: %s, want %s", c.at, got, c.want)
		}
	}
	tiles, row, shard := compile(features.Window{Size: 3 * time.Minute, Hop: time.Minute})
	for at, want := range map[features.At]string{
		{AsOf: minutes(9)}:                        "3",
		{AsOf: minutes(10)}:                       "2",
		{AsOf: minutes(9), ExcludeCurrent: true}:  `feature "n" has no exact window`,
		{AsOf: minutes(8)}:                        `feature "n" has no exact window`,
		{AsOf: minutes(10), ExcludeCurrent: true}: "2",
	} {
		if got := ask(tiles, row, shard, at); !strings.Contains(got, want) {
			t.Errorf("tiles %+v: %s, want %s", at, got, want)
		}
	}
}

func ask(p *features.Plan, r *features.Row, s *features.Shard, at features.At) string {
	if err := p.CheckAt(at, s.Newest); err != nil {
		return err.Error()
	}
	return p.Vector(nil, r, at, nil)[0].Text()
}

// TestExactWindowsIgnoreTheirNeighbours asks for a moment in the past: a longer
// window in the same view, which takes later events, changes nothing.
func TestExactWindowsIgnoreTheirNeighbours(t *testing.T) {
	for _, neighbour := range []time.Duration{time.Minute, 24 * time.Hour} {
		s := spendSource()
		s.Lateness = time.Hour
		v := features.View{Name: "v", Source: "orders", Entity: []string{"customer"}, Features: []features.Feature{
			{Name: "n", Agg: "count", Of: "*", Window: features.Window{Size: time.Minute, Exact: true}},
			{Name: "m", Agg: "count", Of: "*", Window: features.Window{Size: neighbour, Exact: true}},
		}}
		p, err := features.Compile(features.WallClock, s, v)
		if err != nil {
			t.Fatal(err)
		}
		shard, row := p.NewShard(features.NoTime, features.Counts{}), p.NewRow()
		for i, at := range []int64{7200e6, 3570e6} {
			e := features.Event{Time: at, Arrival: at, Order: features.OrderOf(0, int64(i)), Values: []features.Value{expr.StringValue("c"), {}, {}, {}, {}, expr.TimeValue(at)}}
			if ok, _ := shard.Admit(&e); ok {
				shard.Fold(row, &e)
			}
		}
		if got := ask(p, row, shard, features.At{AsOf: 3600e6}); got != "0" {
			t.Errorf("beside a window of %v: %s, want 0", neighbour, got)
		}
	}
}

// TestOnDemand divides by zero and leaves out what the caller must give.
func TestOnDemand(t *testing.T) {
	p, err := features.Compile(features.WallClock, spendSource(), spendView())
	if err != nil {
		t.Fatal(err)
	}
	shard, row := p.NewShard(features.NoTime, features.Counts{}), p.NewRow()
	e := features.Event{Values: []features.Value{expr.StringValue("c"), expr.IntValue(1), expr.StringValue("s"), expr.FloatValue(2.5), expr.BoolValue(true), expr.TimeValue(0)}}
	if ok, why := shard.Admit(&e); !ok {
		t.Fatal(why)
	}
	shard.Fold(row, &e)
	for _, c := range []struct {
		row     *features.Row
		request []features.Value
		want    string
	}{
		{row, []features.Value{expr.FloatValue(50)}, "0.2"},
		{row, nil, ""},
		{row, []features.Value{{}}, ""},
		{nil, []features.Value{expr.FloatValue(50)}, ""},
		{row, []features.Value{expr.FloatValue(500), expr.FloatValue(1)}, "2"},
	} {
		if got := p.Vector(nil, c.row, features.At{AsOf: 0}, c.request)[2].Text(); got != c.want {
			t.Errorf("request %v: %q, want %q", c.request, got, c.want)
		}
	}
}

// TestCounts counts what leaves early and what is not finite.
func TestCounts(t *testing.T) {
	s, v := spendSource(), spendView()
	v.Derive[0].Expr = "100 / amount"
	v.Where = "1 / amount > -1000 || true"
	v.Features[1].Window = features.Window{Size: time.Hour, Exact: true, MaxValues: 3}
	p, err := features.Compile(features.WallClock, s, v)
	if err != nil {
		t.Fatal(err)
	}
	shard, row := p.NewShard(features.NoTime, features.Counts{}), p.NewRow()
	for i := range int64(10) {
		e := features.Event{Order: features.OrderOf(0, i), Values: []features.Value{expr.StringValue("c"), expr.IntValue(i), {}, expr.FloatValue(float64(i % 5)), {}, expr.TimeValue(0)}}
		if ok, why := shard.Admit(&e); !ok {
			t.Fatal(why)
		}
		shard.Fold(row, &e)
	}
	if want := (features.Counts{Applied: 10, Truncated: 7, Nonfinite: 2}); shard.Counts != want {
		t.Errorf("%+v, want %+v", shard.Counts, want)
	}
}
