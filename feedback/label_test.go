package feedback

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
)

func pricesSource() *features.Source {
	return &features.Source{Name: "prices", EventTime: "time", Fields: []features.Field{
		{Name: "symbol", Kind: expr.String}, {Name: "venue", Kind: expr.Int}, {Name: "open", Kind: expr.Float},
		{Name: "close", Kind: expr.Float}, {Name: "order", Kind: expr.String, Optional: true}, {Name: "halted", Kind: expr.Bool},
	}}
}

// priceEvent has the values of pricesSource's fields, the event time last.
func priceEvent(symbol string, venue int64, open, last float64) *features.Event {
	return &features.Event{Time: 5_000_000, Values: []features.Value{
		expr.StringValue(symbol), expr.IntValue(venue), expr.FloatValue(open), expr.FloatValue(last), {}, expr.BoolValue(false), expr.TimeValue(5_000_000),
	}}
}

func bigMove() Label {
	return Label{Source: "prices", Join: NextEvent, Value: "abs(close / open - 1.0) >= 0.02", Binary: true, Horizon: 10 * 24 * time.Hour}
}

func TestOutcomeOfAnEvent(t *testing.T) {
	number := bigMove()
	number.Value, number.Binary = "close - open", false
	zeroOrOne := bigMove()
	zeroOrOne.Value = "close - open"
	for _, test := range []struct {
		name   string
		label  Label
		entity []string
		event  *features.Event
		key    string
		want   float64
		reason string
	}{
		{"true", bigMove(), []string{"symbol"}, priceEvent("AAPL", 1, 100, 102), "AAPL", 1, ""},
		{"false", bigMove(), []string{"symbol"}, priceEvent("AAPL", 1, 100, 101), "AAPL", 0, ""},
		{"an int", bigMove(), []string{"venue"}, priceEvent("AAPL", -7, 100, 101), "-7", 0, ""},
		{"a composite", bigMove(), []string{"venue", "symbol"}, priceEvent(`A"B`, 7, 100, 101), `[7,"A\"B"]`, 0, ""},
		{"a number", number, []string{"symbol"}, priceEvent("AAPL", 1, 100, 100.25), "AAPL", 0.25, ""},
		{"0 or 1", zeroOrOne, []string{"symbol"}, priceEvent("AAPL", 1, 100, 101), "AAPL", 1, ""},
		{"0.25 where 0 or 1", zeroOrOne, []string{"symbol"}, priceEvent("AAPL", 1, 100, 100.25), "", 0, RejectLabel},
		{"missing", bigMove(), []string{"symbol"}, priceEvent("AAPL", 1, 100, math.NaN()), "", 0, RejectNoLabel},
		{"not finite", bigMove(), []string{"symbol"}, priceEvent("AAPL", 1, 0, 1), "", 0, RejectNonfinite},
		{"no entity", bigMove(), []string{"symbol"}, priceEvent("", 1, 100, 101), "", 0, features.RejectEntity},
		{"not UTF-8", bigMove(), []string{"symbol"}, priceEvent("A\xff", 1, 100, 101), "", 0, RejectOutcome},
	} {
		t.Run(test.name, func(t *testing.T) {
			l, err := Compile("big_move", test.label, pricesSource(), test.entity)
			if err != nil {
				t.Fatal(err)
			}
			at := Position{"prices", 3, 17}
			o, rejected := l.Outcome(test.event, at)
			if test.reason != "" {
				if rejected == nil || rejected.Reason != test.reason {
					t.Fatalf("rejected %v; want %s", rejected, test.reason)
				}
				return
			}
			if rejected != nil || o.Key != test.key || o.Label != test.want || o.Time != test.event.Time || o.Model != "big_move" || o.At == nil || *o.At != at {
				t.Fatalf("got %+v, %v; want key %s, label %v", o, rejected, test.key, test.want)
			}
		})
	}
}

func TestOutcomeNamesItsPrediction(t *testing.T) {
	label := bigMove()
	label.Join, label.Prediction = ByPrediction, "order"
	l, err := Compile("m", label, pricesSource(), []string{"symbol"})
	if err != nil {
		t.Fatal(err)
	}
	event := priceEvent("AAPL", 1, 100, 101)
	if _, rejected := l.Outcome(event, Position{"prices", 0, 0}); rejected == nil || rejected.Reason != features.RejectEntity {
		t.Errorf("an event without the field: rejected %v", rejected)
	}
	event.Values[4] = expr.StringValue("p-1")
	o, rejected := l.Outcome(event, Position{"prices", 0, 0})
	key, err := l.Key("p-1", nil)
	if rejected != nil || err != nil || o.Key != "p-1" || key != "p-1" {
		t.Errorf("keys %q and %q, %v, %v; want p-1", o.Key, key, rejected, err)
	}
	if _, err := l.Key("", nil); err == nil {
		t.Error("an empty id has a key")
	}
}

// TestKeysAgree compares the keys of the server and of the source's events,
// and that of a view over the same entity.
func TestKeysAgree(t *testing.T) {
	for _, entity := range [][]string{{"symbol"}, {"venue"}, {"symbol", "venue"}, {"venue", "symbol"}} {
		l, err := Compile("m", bigMove(), pricesSource(), entity)
		if err != nil {
			t.Fatal(err)
		}
		plan, err := features.Compile(features.WallClock, *pricesSource(), features.View{Name: "v", Source: "prices", Entity: entity,
			Features: []features.Feature{{Name: "n", Agg: "count", Of: "*", Window: features.Window{Kind: features.Lifetime}}}})
		if err != nil {
			t.Fatal(err)
		}
		for _, symbol := range []string{"A", "[1]", "7", "\"\\\n\x01é"} {
			event := priceEvent(symbol, 42, 1, 1)
			o, rejected := l.Outcome(event, Position{Topic: "prices"})
			want, err := plan.AppendEntity(nil, event.Values)
			if rejected != nil || err != nil || o.Key != string(want) {
				t.Errorf("%v of %q: outcome %q, %v; view %q, %v", entity, symbol, o.Key, rejected, want, err)
			}
			for _, venue := range []features.Value{expr.IntValue(42), expr.StringValue("42")} {
				values := make([]features.Value, len(entity))
				for i, name := range entity {
					values[i] = map[string]features.Value{"symbol": expr.StringValue(symbol), "venue": venue}[name]
				}
				if key, err := l.Key("p", values); err != nil || key != o.Key {
					t.Errorf("%v of %q: the server's key is %q, %v; the outcome's %q", entity, symbol, key, err, o.Key)
				}
			}
		}
	}
	l, err := Compile("m", bigMove(), pricesSource(), []string{"symbol", "venue"})
	if err != nil {
		t.Fatal(err)
	}
	if key, err := l.Key("p", []features.Value{expr.IntValue(7), expr.IntValue(1)}); err != nil || key != `["7",1]` {
		t.Errorf("an int for a string: %q, %v", key, err)
	}
}

func TestKeyRefuses(t *testing.T) {
	l, err := Compile("m", bigMove(), pricesSource(), []string{"symbol", "venue"})
	if err != nil {
		t.Fatal(err)
	}
	symbol, venue := expr.StringValue("A"), expr.IntValue(1)
	for want, values := range map[string][]features.Value{
		"2 fields, got 1":       {symbol},
		"symbol is missing":     {{}, venue},
		"venue is missing":      {symbol, {}},
		"venue is a float":      {symbol, expr.FloatValue(1)},
		"venue is \"1.5\"":      {symbol, expr.StringValue("1.5")},
		"venue is \"01\"":       {symbol, expr.StringValue("01")},
		"bytes; at most 1024":   {expr.StringValue(strings.Repeat("A", 1100)), venue},
		"which is not UTF-8":    {expr.StringValue("A\xff"), venue},
		"symbol is a bool; an ": {expr.BoolValue(true), venue},
	} {
		_, err := l.Key("p", values)
		var r *features.Rejection
		if !errors.As(err, &r) || r.Reason != features.RejectEntity || !strings.Contains(r.Detail, want) {
			t.Errorf("%v: %v; want %q", values, err, want)
		}
	}
}

func TestLabelWithoutASource(t *testing.T) {
	l, err := Compile("m", Label{Join: At, Binary: true, Horizon: time.Hour}, nil, []string{"user", "item"})
	if err != nil {
		t.Fatal(err)
	}
	if key, err := l.Key("p", []features.Value{expr.IntValue(7), expr.StringValue("x")}); err != nil || key != `[7,"x"]` {
		t.Errorf("key %q, %v", key, err)
	}
	if l.Label.Grace != 6*time.Minute || l.Label.Rules() != (Rules{At, time.Hour, 6 * time.Minute}) {
		t.Errorf("grace %v; want a tenth of the horizon", l.Label.Grace)
	}
	for label, want := range map[float64]string{0: "", 1: "", 0.5: RejectLabel, math.NaN(): RejectNonfinite, math.Inf(1): RejectNonfinite} {
		reason := ""
		if r := l.CheckLabel(label); r != nil {
			reason = r.Reason
		}
		if reason != want {
			t.Errorf("label %v: %q, want %q", label, reason, want)
		}
	}
}

func TestCompileReportsEveryFault(t *testing.T) {
	with := func(change func(*Label)) Label {
		l := bigMove()
		change(&l)
		return l
	}
	for _, test := range []struct {
		label  Label
		src    *features.Source
		entity []string
		want   []string
	}{
		{Label{Source: "prices"}, pricesSource(), []string{"symbol"}, []string{"horizon: missing", "join: missing", "value: missing"}},
		{with(func(l *Label) { l.Horizon = -1; l.Grace = -time.Second }), pricesSource(), []string{"symbol"}, []string{"horizon: -1ns", "grace: -1s"}},
		{with(func(l *Label) { l.Horizon = MaxHorizon + 1 }), pricesSource(), []string{"symbol"}, []string{"horizon: 87672h"}},
		{with(func(l *Label) { l.Horizon = 1500 }), pricesSource(), []string{"symbol"}, []string{"horizon: 1.5µs"}},
		{with(func(l *Label) { l.Join = "next" }), pricesSource(), []string{"symbol"}, []string{`join: "next" is not known`}},
		{with(func(l *Label) { l.Prediction = "order" }), pricesSource(), []string{"symbol"}, []string{"prediction: \"order\": only join prediction_id"}},
		{with(func(l *Label) { l.Join = ByPrediction }), pricesSource(), nil, []string{"prediction: missing"}},
		{with(func(l *Label) { l.Join, l.Prediction = ByPrediction, "open" }), pricesSource(), nil, []string{`prediction: "open" of prices is a float`}},
		{with(func(l *Label) { l.Join, l.Prediction = ByPrediction, "id" }), pricesSource(), nil, []string{`prediction: "id" is not a field of prices`}},
		{bigMove(), pricesSource(), []string{"user", "halted"}, []string{`source: "user" is not a field`, `source: "halted" of prices is a bool`}},
		{bigMove(), pricesSource(), nil, []string{"join: next_event needs the model's entity"}},
		{bigMove(), nil, []string{"symbol"}, []string{`source: "prices" is not a source`}},
		{with(func(l *Label) { l.Source = "trades" }), pricesSource(), []string{"symbol"}, []string{"source: \"trades\" is not the source"}},
		{with(func(l *Label) { l.Value = "close >" }), pricesSource(), []string{"symbol"}, []string{"value: "}},
		{with(func(l *Label) { l.Value = "symbol" }), pricesSource(), []string{"symbol"}, []string{"value: is a string"}},
		{Label{Join: ByPrediction, Value: "1.0", Prediction: "id", Horizon: 1000}, nil, nil, []string{"value: needs source", "prediction: needs source"}},
	} {
		_, err := Compile("m", test.label, test.src, test.entity)
		var faults features.Faults
		if !errors.As(err, &faults) {
			t.Errorf("%+v: %v; want %q", test.label, err, test.want)
			continue
		}
		ok := slices.EqualFunc(faults, test.want, func(f features.Fault, want string) bool { return strings.HasPrefix(f.String(), want) })
		if !ok {
			t.Errorf("%+v:\n%v\nwant %q", test.label, err, test.want)
		}
	}
	if _, err := Compile("a/b", bigMove(), pricesSource(), []string{"symbol"}); err == nil || !strings.Contains(err.Error(), `model "a/b" is not a name`) {
		t.Errorf("a model with a slash: %v", err)
	}
}
