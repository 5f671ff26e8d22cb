package monitor_test

import (
	"testing"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/feedback/monitor"
	"github.com/millrace/millrace/loadtest/stocks"
)

func TestAutumn2008(t *testing.T) {
	m := monitor.Model{
		Name: "big_move", Binary: true, Set: "s", Entity: []string{"symbol"}, Horizon: 10 * 24 * time.Hour, Grace: 24 * time.Hour,
		Inputs:  []features.Field{{Name: "daily.last_ret", Kind: expr.Float}},
		Version: func(int) (int64, bool) { return time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro(), true },
	}
	f, err := monitor.New(monitor.Config{Std: []string{"daily.last_ret"}}.WithDefaults(m.Horizon), m)
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]monitor.Alarm)
	began := time.Now()
	for _, day := range stocks.Days(stocks.Events()) {
		for i := range day {
			e := &day[i]
			v := features.Value{}
			if x, ok := e.Return(); ok {
				v = expr.FloatValue(x)
			}
			f.Predicted(&feedback.Prediction{
				ID: e.ID(), Set: "s", Time: e.Time.UnixMicro(), Entity: []features.Named{{Name: "symbol", Expr: e.Symbol}},
				Vector: []features.Value{v}, Score: feedback.Score{Version: 0},
			})
		}
		for _, a := range f.Tick(day[0].Time.Add(24 * time.Hour).UnixMicro()) {
			all[a.ID] = a
		}
		r, _ := f.Reading(monitor.StdMonitor, "daily.last_ret")
		_ = r
	}
	for _, a := range all {
		t.Log(a.ID, a.Worst, a.Threshold, time.UnixMicro(a.Over).UTC().Format(time.DateOnly), a.Text)
	}
	t.Log(time.Since(began))
}
