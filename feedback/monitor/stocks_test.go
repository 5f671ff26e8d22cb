package monitor_test

import (
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/feedback/monitor"
	"github.com/millrace/millrace/loadtest/stocks"
)

// TestAutumn2008 follows the mean move of five stocks by the usual config: its
// deviation alarms in the autumn of 2008, at nearly three times that of the year
// before, with an alarm of its own, and in 2005 there is none.
func TestAutumn2008(t *testing.T) {
	const move = "daily.last_ret"
	m := monitor.Model{
		Name: "big_move", Binary: true, Set: "set", Entity: []string{"symbol"}, Horizon: 240 * time.Hour,
		Inputs: []features.Field{{Name: move, Kind: expr.Float}},
	}
	f, err := monitor.New(monitor.Config{Std: []string{move}}.WithDefaults(m.Horizon), m)
	if err != nil {
		t.Fatal(err)
	}
	f.Hurry(200)
	all := make(map[string]monitor.Alarm)
	for _, day := range stocks.Days(stocks.Events()) {
		if y := day[0].Time.Year(); y < 2003 || y > 2009 {
			continue
		}
		for i := range day {
			e := &day[i]
			p := feedback.Prediction{ID: e.ID(), Set: "set", Time: e.Time.UnixMicro(), Entity: []features.Named{{Name: "symbol", Expr: e.Symbol}}, Vector: []features.Value{{}}}
			if x, ok := e.Return(); ok {
				p.Vector[0] = expr.FloatValue(x)
			}
			f.Predicted(&p)
		}
		for _, a := range f.Tick(day[0].Time.Add(24 * time.Hour).UnixMicro()) {
			all[a.ID] = a
		}
	}
	autumn := 0
	for _, a := range all {
		onset := time.UnixMicro(a.Onset).UTC()
		switch {
		case a.Kind != monitor.StdMonitor || a.Column != move:
			t.Errorf("%s", a.Text)
		case onset.After(time.Date(2008, 9, 15, 0, 0, 0, 0, time.UTC)) && onset.Before(time.Date(2008, 11, 15, 0, 0, 0, 0, time.UTC)):
			autumn++
			if a.Worst < 2.7 || a.Worst > 3 || a.Threshold < 2 || !strings.Contains(a.Text, "the deviation of its means of 1d over 30d was up to ") {
				t.Errorf("%+v", a)
			}
		case onset.Year() < 2007 || onset.Year() == 2005:
			t.Errorf("%s", a.Text)
		}
		t.Log(a.Text)
	}
	if autumn != 1 {
		t.Errorf("%d alarms of the autumn of 2008, want 1", autumn)
	}
}
