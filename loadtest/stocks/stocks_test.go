package stocks

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/streams/codec"
)

func TestPricesAreTheDeclaredOnes(t *testing.T) {
	sum := sha256.Sum256([]byte(prices))
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(readme, []byte(hex.EncodeToString(sum[:]))) {
		t.Errorf("README.md does not give the hash of stocks_daily.csv, %x", sum)
	}
}

func TestEvents(t *testing.T) {
	events := Events()
	if len(events) != 12_154 {
		t.Fatalf("%d events, want 12,154", len(events))
	}
	want := `{"symbol":"AAPL","time":"2000-03-01T21:00:00Z","open":118.56,"high":132.06,"low":118.5,"close":130.31,"volume":9616100}`
	if got := string(events[0].JSON); got != want {
		t.Errorf("the first event is\n%s, want\n%s", got, want)
	}
	counts := map[string]int{}
	for i, e := range events {
		counts[e.Symbol]++
		if i > 0 && (e.Time.Before(events[i-1].Time) || e.Time.Equal(events[i-1].Time) && e.Symbol <= events[i-1].Symbol) {
			t.Fatalf("event %d is out of order", i)
		}
	}
	for symbol, n := range map[string]int{"AAPL": 3270, "FB": 196, "GOOG": 2148, "IBM": 3270, "MSFT": 3270} {
		if counts[symbol] != n {
			t.Errorf("%d events of %s, want %d", counts[symbol], symbol, n)
		}
	}
	days := Days(events)
	if n := len(days); n != 3270 {
		t.Errorf("%d days, want 3,270", n)
	}
}

func TestMissingCellIsNull(t *testing.T) {
	e := parse([]string{"symbol", "time", "open", "close", "volume"}, []string{"X", "2000-03-01T21:00:00Z", "", "2", ""})
	if want := `{"symbol":"X","time":"2000-03-01T21:00:00Z","open":null,"close":2,"volume":null}`; string(e.JSON) != want {
		t.Errorf("got %s, want %s", e.JSON, want)
	}
	if _, ok := e.Return(); ok {
		t.Error("a day without its open price has a return")
	}
}

// A replay folds events into rows in memory.
type replay struct {
	t       *testing.T
	plan    *features.Plan
	decoder *codec.Decoder
	shard   *features.Shard
	rows    map[string]*features.Row
}

func newReplay(t *testing.T) *replay {
	p, err := Project(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	plan := p.Plan(View)
	decoder, err := codec.New(plan.Source)
	if err != nil {
		t.Fatal(err)
	}
	return &replay{t, plan, decoder, plan.NewShard(features.NoTime, features.Counts{}), map[string]*features.Row{}}
}

// apply folds one event and returns the features of its symbol after it.
func (r *replay) apply(json string, request ...features.Value) map[string]features.Value {
	r.t.Helper()
	e := features.Event{Arrival: time.Now().UnixMicro()}
	if err := r.decoder.Decode([]byte(json), &e); err != nil {
		r.t.Fatal(err)
	}
	symbol := strings.Clone(e.Values[0].Str)
	if r.rows[symbol] == nil {
		r.rows[symbol] = r.plan.NewRow()
	}
	if ok, refused := r.shard.Admit(&e); !ok {
		r.t.Fatalf("%s is not applied: %v", json, refused)
	}
	r.shard.Fold(r.rows[symbol], &e)
	vector := map[string]features.Value{}
	for i, v := range r.plan.Vector(nil, r.rows[symbol], features.At{AsOf: r.shard.Newest}, request) {
		vector[r.plan.Outputs()[i].Name] = v
	}
	return vector
}

// TestFeaturesOfEveryDay computes the features of each day anew, from the
// prices of the calendar days that a window reaches back to.
func TestFeaturesOfEveryDay(t *testing.T) {
	r := newReplay(t)
	past := map[string][]Event{}
	for _, e := range Events() {
		past[e.Symbol] = append(past[e.Symbol], e)
		got := r.apply(string(e.JSON))
		var rets []float64
		for _, p := range past[e.Symbol][max(0, len(past[e.Symbol])-32):] { // more than any window holds
			if day := 24 * time.Hour; e.Time.Truncate(day).Sub(p.Time.Truncate(day)) <= 30*day {
				ret, _ := p.Return()
				rets = append(rets, ret)
			}
		}
		mean, std := meanStd(rets)
		ret, _ := e.Return()
		for name, want := range map[string]float64{
			"days": float64(len(past[e.Symbol])), "days_30d": float64(len(rets)), "last_close": e.Close,
			"last_ret": ret, "ret_mean_30d": mean, "ret_std_30d": std, "last_ret_z": (ret - mean) / std,
		} {
			x := got[name]
			if v := number(x); math.Abs(v-want) > 1e-9*max(1, math.Abs(want)) && !(x.Kind == expr.Missing && len(rets) == 1) {
				t.Fatalf("%s on %v: %s is %v, want %v", e.Symbol, e.Time, name, v, want)
			}
		}
	}
}

func number(v features.Value) float64 {
	switch v.Kind {
	case expr.Float:
		return v.Float()
	case expr.Int:
		return float64(v.Int())
	}
	return math.NaN()
}

func meanStd(x []float64) (mean, std float64) {
	for _, v := range x {
		mean += v / float64(len(x))
	}
	for _, v := range x {
		std += (v - mean) * (v - mean)
	}
	return mean, math.Sqrt(std / float64(len(x)-1))
}

func TestMissingPrices(t *testing.T) {
	r := newReplay(t)
	r.apply(`{"symbol":"X","time":"2000-03-01T21:00:00Z","open":100,"high":110,"low":90,"close":105,"volume":10}`)
	r.apply(`{"symbol":"X","time":"2000-03-02T21:00:00Z","open":100,"high":null,"low":90,"close":110,"volume":null}`)
	got := r.apply(`{"symbol":"X","time":"2000-03-03T21:00:00Z","open":null,"high":110,"low":110,"close":110,"volume":30}`, expr.FloatValue(0.2))
	a, b := math.Log(1.05), math.Log(1.1)
	mean, std := meanStd([]float64{a, b})
	for name, want := range map[string]float64{
		"days": 3, "days_30d": 3, "last_close": 110, "last_ret": b, "ret_mean_30d": mean, "ret_std_30d": std, "ret_min_30d": a, "ret_max_30d": b,
		"up_share_30d": 1, "range_mean_30d": 0.2, "range_max_30d": 0.2, "close_in_range_mean_30d": 0.75,
		"volume_mean_30d": 20, "dollars_mean_30d": (1050 + 3300) / 2, "dollars_mean_1w": (1050 + 3300) / 2, "volume_ratio": 1,
		"last_ret_z": (b - mean) / std, "ret_z": (0.2 - mean) / std,
		"last_range": 0.2, "range_mean_1w": 0.2, "range_mean_180d": 0.2, "abs_ret_mean_30d": mean, "big_share_30d": 1, "big_share_365d": 1,
		"log_range_last": math.Log(0.2), "log_range_1w": math.Log(0.2), "log_range_30d": math.Log(0.2), "log_range_180d": math.Log(0.2),
		"log_abs_ret_30d": math.Log(mean + 0.001),
	} {
		if v := number(got[name]); !(math.Abs(v-want) <= 1e-12*max(1, math.Abs(want))) {
			t.Errorf("%s is %v, want %v", name, v, want)
		}
		delete(got, name)
	}
	if got["ticker"].Str != "X" {
		t.Errorf("the ticker is %v", got["ticker"].Text())
	}
	delete(got, "ticker")
	for name := range got {
		t.Errorf("feature %s is not looked at", name)
	}
}
