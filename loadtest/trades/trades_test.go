package trades

import (
	"errors"
	"log/slog"
	"math"
	"testing"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/streams/codec"
)

func TestTradesFollowTheLaw(t *testing.T) {
	const n = 300_000
	g := NewGenerator(1)
	counts := make([]int, Symbols)
	newest, late, behind := int64(0), 0, int64(0)
	for range n {
		x := g.Next()
		counts[x.Symbol]++
		if x.Time < newest {
			late++
			behind = max(behind, newest-x.Time)
		}
		newest = max(newest, x.Time)
		if x.Price <= 0 || x.Size < 1 {
			t.Fatalf("a trade of %d at %v", x.Size, x.Price)
		}
	}
	total := 0.0
	for k := range Symbols {
		total += math.Pow(float64(k+1), -1.1)
	}
	for _, k := range []int{0, 1, 9} {
		share, want := float64(counts[k])/n, math.Pow(float64(k+1), -1.1)/total
		if math.Abs(share-want) > 0.05*want {
			t.Errorf("symbol %d is in %.4f of the trades, want %.4f", k, share, want)
		}
	}
	if share := float64(late) / n; share < 0.19 || share > 0.21 {
		t.Errorf("%.3f of the trades are late, want 0.2", share)
	}
	if behind > 9_999 {
		t.Errorf("a trade is %d ms late", behind)
	}
	if rate := n / (float64(newest-start) / 1e3); math.Abs(rate-28.9) > 0.3 {
		t.Errorf("%.2f trades a second, want 28.9", rate)
	}
}

func TestJSONIsWhatTheSourceReads(t *testing.T) {
	plan, err := Plan("", 4)
	if err != nil {
		t.Fatal(err)
	}
	decoder, err := codec.New(plan.Source)
	if err != nil {
		t.Fatal(err)
	}
	x := Trade{Symbol: 17, Time: 1700000000000, Price: 54.5983, Size: 123}
	text := x.AppendJSON(nil)
	if want := `{"s":"SYM0017","t":1700000000000,"p":54.5983,"v":123}`; string(text) != want {
		t.Fatalf("got %s, want %s", text, want)
	}
	var e features.Event
	if err := decoder.Decode(text, &e); err != nil {
		t.Fatal(err)
	}
	if e.Time != 1700000000000000 || e.Values[0].Str != "SYM0017" || e.Values[2] != expr.FloatValue(54.5983) || e.Values[3] != expr.FloatValue(123) {
		t.Errorf("decoded as %+v", e)
	}
	if n := len(plan.Outputs()); n != 28 {
		t.Errorf("%d features, want 28", n)
	}
}

func TestBench(t *testing.T) {
	b := Bench{
		Events: 20_000, Partitions: 3, Rate: 2000, Duration: 500 * time.Millisecond,
		Dir: t.TempDir(), Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Step: func(what string) { t.Log(what) },
	}
	res, err := b.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	symbols := map[int]bool{}
	for g, n := NewGenerator(1), 0; n < b.Events; n++ {
		symbols[g.Next().Symbol] = true
	}
	if res.Backlog.Events != 20_000 || res.Decode.Events != 20_000 || res.Rows != len(symbols) || res.Commits < 3 {
		t.Errorf("%+v, want %d rows", res, len(symbols))
	}
	if l := res.Latency; l.Events != 1000 || !(0 < l.P50 && l.P50 <= l.P99 && l.P99 <= l.Max) {
		t.Errorf("latency %+v", l)
	}
}

// TestLatencyEndsWithThePipeline measures latency when nothing commits any more.
func TestLatencyEndsWithThePipeline(t *testing.T) {
	plan, err := Plan("", 2)
	if err != nil {
		t.Fatal(err)
	}
	b := Bench{Partitions: 2, Rate: 1000, Duration: 10 * time.Millisecond, Dir: t.TempDir(), Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	r := newRun(b, plan)
	defer func() {
		if err := r.close(); err != nil {
			t.Error(err)
		}
	}()
	if err := r.open(t.Context()); err != nil {
		t.Fatal(err)
	}
	failed := errors.New("the store is full")
	r.ended <- failed
	got := make(chan error, 1)
	go func() {
		_, err := r.latency(t.Context())
		got <- err
	}()
	select {
	case err := <-got:
		if !errors.Is(err, failed) {
			t.Errorf("got %v, want %v", err, failed)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("it waits for a pipeline that has ended")
	}
}

func TestLagsCountFromTheMomentThatWasDue(t *testing.T) {
	at := func(ms int) time.Time { return time.UnixMilli(int64(ms)) }
	events := []due{{0, at(0)}, {1, at(10)}, {2, at(20)}, {4, at(30)}}
	commits := []commit{{1, at(5)}, {3, at(50)}, {4, at(60)}, {9, at(70)}}
	want := []time.Duration{5 * time.Millisecond, 40 * time.Millisecond, 30 * time.Millisecond, 40 * time.Millisecond}
	for i, got := range lags(events, commits) {
		if got != want[i] {
			t.Errorf("event %d waited %v, want %v", i, got, want[i])
		}
	}
}
