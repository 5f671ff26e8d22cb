package features

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/millrace/millrace/features/expr"
)

// TestIntMeans are sums beyond 64 bits, whose words cancel if they are turned
// into doubles one by one.
func TestIntMeans(t *testing.T) {
	for _, c := range []struct {
		in   []int64
		want float64
	}{
		{[]int64{-5}, -5},
		{[]int64{math.MaxInt64, math.MaxInt64}, 0x1p63},
		{[]int64{math.MinInt64, math.MinInt64, -1 << 62}, -0x2.8p63 / 3},
		{[]int64{math.MinInt64, math.MaxInt64}, -0.5},
	} {
		g := group{kind: expr.Int, n: 1, sum: 2}
		acc := make([]uint64, 4)
		for _, x := range c.in {
			g.add(acc, uint64(x), 0, 0)
		}
		if got := g.meanValue(acc); got.Float() != c.want {
			t.Errorf("mean of %d = %v, want %v", c.in, got.Float(), c.want)
		}
	}
}

// TestTiesGoByOrder merges two tiles whose events share one time, both ways.
func TestTiesGoByOrder(t *testing.T) {
	g := group{kind: expr.Int, n: 1, first: 2, last: 5}
	a, b := make([]uint64, 8), make([]uint64, 8)
	g.add(a, 10, 7, 3)
	g.add(b, 20, 7, 2)
	for _, pair := range [][2][]uint64{{a, b}, {b, a}} {
		acc := make([]uint64, 8)
		g.merge(acc, pair[0])
		g.merge(acc, pair[1])
		if acc[g.first+2] != 20 || acc[g.last+2] != 10 {
			t.Errorf("first %d last %d, want 20 and 10", acc[g.first+2], acc[g.last+2])
		}
	}
}

// TestStringsAreReused folds far more strings than a row holds at a time.
func TestStringsAreReused(t *testing.T) {
	src := Source{Name: "s", EventTime: "t", Fields: []Field{{Name: "k", Kind: expr.String}, {Name: "v", Kind: expr.String}}}
	v := View{Name: "v", Source: "s", Entity: []string{"k"}, Features: []Feature{
		{Name: "a", Agg: "last", Of: "v", Window: Window{Size: time.Minute}},
		{Name: "b", Agg: "first", Of: "v", Window: Window{Size: time.Minute, Exact: true}},
		{Name: "c", Agg: "last", Of: "v", Window: Window{Kind: Tumbling, Size: time.Second}},
	}}
	p, err := Compile(WallClock, src, v)
	if err != nil {
		t.Fatal(err)
	}
	shard, row := p.NewShard(NoTime, Counts{}), p.NewRow()
	for i := range int64(10_000) {
		e := Event{Time: i * 1e6, Arrival: i * 1e6, Order: OrderOf(0, i), Values: []Value{expr.StringValue("k"), expr.StringValue(fmt.Sprint(i)), expr.TimeValue(i * 1e6)}}
		if ok, why := shard.Admit(&e); !ok {
			t.Fatal(why)
		}
		shard.Fold(row, &e)
	}
	if n := len(row.strings); n > 150 {
		t.Errorf("the row holds %d strings for about 80 words", n)
	}
	if got := p.Vector(nil, row, At{AsOf: shard.Newest}, nil); got[0].Str != "9999" || got[1].Str != "9940" || got[2].Str != "9998" {
		t.Errorf("%+v", got)
	}
}
