package whatif

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/loadtest/stocks"
)

// served are the values of a feature that were served about a symbol, by time.
func served(t *testing.T, name, symbol string) map[int64]float64 {
	t.Helper()
	m := &shared.cfg.Models[0]
	at := -1
	for i, in := range m.Inputs {
		if in.Name == stocks.View+"."+name {
			at = i
		}
	}
	if at < 0 {
		t.Fatalf("the model does not see %s", name)
	}
	values := map[int64]float64{}
	for _, x := range shared.examples {
		if x.Prediction.Key == symbol {
			values[x.Prediction.Time] = numberOf(x.Prediction.Vector[at])
		}
	}
	return values
}

// TestSeriesIsWhatWasServed compares with the vectors of the lake's examples, each
// served after its event, to the bit: also where the lake is longer than what is
// read, from when windows lie within that.
func TestSeriesIsWhatWasServed(t *testing.T) {
	l := shared.lab(nil)
	for _, most := range []int64{SeriesRows, 400} {
		for _, name := range []string{"last_ret", "ret_std_30d", "days_30d", "range_mean_1w", "last_ret_z", "log_range_30d", "big_share_60d"} {
			for _, symbol := range []string{"AAPL", "IBM"} {
				r := &seriesReading{view: l.view(stocks.View), ctx: t.Context(), root: l.cfg.Lake, most: most}
				s, err := r.series(SeriesQuestion{View: stocks.View, Name: name, Entity: map[string]string{"symbol": symbol}}, false)
				if err != nil {
					t.Fatal(err)
				}
				want, compared := served(t, name, symbol), 0
				for _, p := range s.Points {
					x, ok := want[p.Time]
					if ok && math.Float64bits(x) != math.Float64bits(p.Value) && !(math.IsNaN(x) && math.IsNaN(p.Value)) {
						t.Fatalf("%s of %s at %v: %v, served was %v", name, symbol, time.UnixMicro(p.Time), p.Value, x)
					}
					if ok {
						compared++
					}
				}
				switch {
				case s.Cut != (most == 400) || s.Cut == s.From.IsZero():
					t.Errorf("%s of %s: cut %v from %v", name, symbol, s.Cut, s.From)
				case !s.Cut && compared != len(want) || s.Cut && (compared < 2 || compared > 100):
					t.Errorf("%s of %s: %d points of %d served, cut %v", name, symbol, compared, len(want), s.Cut)
				case s.Cut && s.Points[0].Time < s.From.UnixMicro():
					t.Errorf("%s of %s: a point before %v", name, symbol, s.From)
				}
			}
		}
	}
}

// TestSeriesOfAField has the prices as they are in the events.
func TestSeriesOfAField(t *testing.T) {
	l := shared.lab(nil)
	s, err := l.Series(t.Context(), SeriesQuestion{View: stocks.View, Name: "close", Entity: map[string]string{"symbol": "MSFT"}})
	if err != nil {
		t.Fatal(err)
	}
	var want []SeriesPoint
	days := stocks.Days(stocks.Events())
	for _, e := range slices.Concat(days[len(days)-worldDays:]...) {
		if e.Symbol == "MSFT" {
			want = append(want, SeriesPoint{e.Time.UnixMicro(), e.Close})
		}
	}
	if !slices.Equal(s.Points, want) || s.Cut || s.Rows == 0 || len(s.Entities) != 5 || s.Entities[0]["symbol"] != "AAPL" {
		t.Errorf("%d points, want %d; %d rows, %v", len(s.Points), len(want), s.Rows, s.Entities)
	}
	some := SeriesQuestion{View: stocks.View, Name: "close", Entity: map[string]string{"symbol": "MSFT"}, From: time.UnixMicro(want[10].Time), To: time.UnixMicro(want[20].Time)}
	if s, err = l.Series(t.Context(), some); err != nil || !slices.Equal(s.Points, want[10:20]) {
		t.Errorf("of some days: %v %v", s, err)
	}
	some.Name = "ret_std_30d"
	if s, err = l.Series(t.Context(), some); err != nil || len(s.Points) != 10 || s.Points[0].Time != want[10].Time {
		t.Errorf("a feature of some days: %v %v", s, err)
	}
	if s, err = l.Series(t.Context(), SeriesQuestion{View: stocks.View, Name: "close"}); err != nil || s.Entity["symbol"] != "AAPL" || len(s.Points) == 0 {
		t.Errorf("of nobody: %+v %v", s.Entity, err)
	}
	if s, err = l.Series(t.Context(), SeriesQuestion{View: stocks.View, Name: "close", Entity: map[string]string{"symbol": "NONE"}}); err != nil || len(s.Points) != 0 {
		t.Errorf("of nobody that there is: %d points, %v", len(s.Points), err)
	}
}

// TestSeriesKeepsTheNewest: of an entity with more events than are kept, those that
// are left are the newest, and windows that began before them have no points.
func TestSeriesKeepsTheNewest(t *testing.T) {
	r := &seriesReading{view: shared.lab(nil).view(stocks.View)}
	for i := range int64(3*seriesEvents + 7) {
		r.keep(&features.Event{Time: i}, i-1)
	}
	if !r.newestEvents() || len(r.events) != seriesEvents || r.events[0].Time != 2*seriesEvents+7 || r.before[0] != r.events[0].Time-1 {
		t.Errorf("%d events from %d", len(r.events), r.events[0].Time)
	}
}

func TestSeriesFaults(t *testing.T) {
	l := shared.lab(nil)
	for _, x := range []struct {
		q    SeriesQuestion
		want string
	}{
		{SeriesQuestion{View: "none", Name: "close"}, `view: there is no view "none"`},
		{SeriesQuestion{View: stocks.View, Name: "none"}, `name: "none" is no number that view daily or its events have; there are open, high`},
		{SeriesQuestion{View: stocks.View, Name: "ticker"}, `name: "ticker" is no number`},
		{SeriesQuestion{View: stocks.View, Name: "ret_z"}, `name: "ret_z" is no number`}, // it needs what a request brings
		{SeriesQuestion{View: stocks.View, Name: "close", Entity: map[string]string{"shop": "x"}}, "entity.symbol: missing; view daily is about symbol"},
	} {
		_, err := l.Series(t.Context(), x.q)
		var fault *Fault
		if !errors.As(err, &fault) || !strings.HasPrefix(err.Error(), x.want) {
			t.Errorf("%+v: %v\nwant: %s", x.q, err, x.want)
		}
	}
	without := *l
	without.cfg.Lake = ""
	if _, err := without.Series(t.Context(), SeriesQuestion{View: stocks.View, Name: "close"}); !errors.Is(err, errNoLake) {
		t.Error(err)
	}
	if fields, outputs := l.Numbers("none"); fields != nil || outputs != nil {
		t.Error("a view that is not there has numbers")
	}
}
