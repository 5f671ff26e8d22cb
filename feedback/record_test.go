package feedback

import (
	"bytes"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
)

// aFullPrediction has a value of each kind, and numbers that are hard to write.
func aFullPrediction() *Prediction {
	p := samplePrediction("p-1", "big_move", `["A\"B",7]`, -62135596800000000)
	p.Entity = []features.Named{{Name: "symbol", Expr: `A"B`}, {Name: "desk", Expr: ""}}
	p.Shadow = &Score{Version: 0, Value: 1e-300}
	p.Vector = []features.Value{
		{}, expr.BoolValue(true), expr.BoolValue(false), expr.StringValue(""), expr.StringValue("é \u2028 \x00 \"\\"),
		expr.IntValue(math.MaxInt64), expr.IntValue(math.MinInt64), expr.IntValue(0), expr.TimeValue(-5), expr.TimeValue(0),
		expr.FloatValue(0), expr.FloatValue(math.Copysign(0, -1)), expr.FloatValue(1), expr.FloatValue(1e21), expr.FloatValue(1e20),
		expr.FloatValue(0.1), expr.FloatValue(math.SmallestNonzeroFloat64), expr.FloatValue(math.MaxFloat64), expr.FloatValue(1.0 / 3),
		expr.FloatValue(math.Inf(1)), expr.FloatValue(math.Inf(-1)),
	}
	return p
}

func sampleRecords() []Record {
	return []Record{
		{Prediction: aFullPrediction()},
		{Prediction: &Prediction{ID: "p", Model: "m", Key: "k", Set: "s"}},
		{Outcome: &Outcome{ID: "o-1", Model: "big_move", Key: "AAPL", Time: 1700000000000000, Label: 1}},
		{Outcome: &Outcome{At: &Position{"prices", 3, 1 << 50}, Model: "big_move", Key: "AAPL", Time: 0, Label: -0.25}},
		{Tick: &Tick{1700000000000000}},
	}
}

func sampleExamples() []Example {
	return []Example{
		{Kind: Labelled, Seq: 1, Prediction: *aFullPrediction(), Label: 1, Outcome: "prices/3/17", Happened: -5, Known: 5},
		{Kind: Labelled, Seq: 2, Prediction: *aFullPrediction(), Label: 0.5, Outcome: "o", Correction: true},
		{Kind: Unanswered, Seq: math.MaxInt64, Prediction: *samplePrediction("p", "m", "k", 9), Known: 100, Why: WhyLate},
		{Kind: Passed, Seq: 3, Known: 1700000000000000},
	}
}

func TestRecordsReadBack(t *testing.T) {
	for _, rec := range sampleRecords() {
		b := appendRecord(nil, rec)
		got, err := Decode(b)
		if err != nil || !reflect.DeepEqual(got, rec) {
			t.Errorf("%s\nreads back as %+v, %v\nwant %+v", b, got, err, rec)
		}
		if again := appendRecord(nil, got); !bytes.Equal(again, b) {
			t.Errorf("%s\nis written again as\n%s", b, again)
		}
	}
	for _, e := range sampleExamples() {
		b := e.AppendJSON(nil)
		got, err := DecodeExample(b)
		if err != nil || !reflect.DeepEqual(got, e) {
			t.Errorf("%s\nreads back as %+v, %v\nwant %+v", b, got, err, e)
		}
	}
}

// TestWireForm pins the bytes: they are what readers of the topics rely on.
func TestWireForm(t *testing.T) {
	p := samplePrediction("p1", "big_move", "AAPL", 1700000000000000)
	p.Vector = append(p.Vector, expr.FloatValue(2), expr.TimeValue(5), expr.FloatValue(math.Inf(-1)), expr.BoolValue(true), expr.StringValue("x"))
	p.Shadow = &Score{Version: 4, Bundle: "b4", Value: 1}
	members := `"id":"p1","model":"big_move","key":"AAPL","time":1700000000000000,"entity":{"symbol":"AAPL"},"set":"00112233445566ff",` +
		`"vector":[0.25,7,null,2.0,{"t":5},{"f":"-Infinity"},true,"x"],"score":{"version":3,"bundle":"b3","value":0.5},"shadow":{"version":4,"bundle":"b4","value":1.0}`
	for want, got := range map[string][]byte{
		`{"v":1,"kind":"prediction",` + members + `}`:                                                                                        p.AppendJSON(nil),
		`{"v":1,"kind":"outcome","id":"o","model":"m","key":"k","time":5,"label":1.0}`:                                                       (&Outcome{ID: "o", Model: "m", Key: "k", Time: 5, Label: 1}).AppendJSON(nil),
		`{"v":1,"kind":"outcome","at":{"topic":"t","partition":1,"offset":2},"model":"m","key":"k","time":5,"label":1e-07}`:                  (&Outcome{At: &Position{"t", 1, 2}, Model: "m", Key: "k", Time: 5, Label: 1e-7}).AppendJSON(nil),
		`{"v":1,"kind":"tick","time":7}`:                                                                                                     Tick{7}.AppendJSON(nil),
		`{"v":1,"kind":"example","seq":9,"known":8,"label":0.0,"outcome":"o","happened":7,"correction":true,"prediction":{` + members + `}}`: (&Example{Kind: Labelled, Seq: 9, Known: 8, Outcome: "o", Happened: 7, Correction: true, Prediction: *p}).AppendJSON(nil),
		`{"v":1,"kind":"unanswered","seq":9,"known":8,"why":"none","prediction":{` + members + `}}`:                                          (&Example{Kind: Unanswered, Seq: 9, Known: 8, Why: WhyNone, Prediction: *p}).AppendJSON(nil),
		`{"v":1,"kind":"tick","seq":9,"known":8}`:                                                                                            (&Example{Kind: Passed, Seq: 9, Known: 8}).AppendJSON(nil),
	} {
		if string(got) != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
}

// TestNaNIsMissing says what does not read back as it was.
func TestNaNIsMissing(t *testing.T) {
	p := samplePrediction("p", "m", "k", 0)
	p.Vector = []features.Value{expr.FloatValue(math.NaN()), expr.StringValue("a\xff")}
	rec, err := Decode(p.AppendJSON(nil))
	if want := []features.Value{{}, expr.StringValue("a\ufffd")}; err != nil || !reflect.DeepEqual(rec.Prediction.Vector, want) {
		t.Errorf("vector %v, %v; want %v", rec.Prediction, err, want)
	}
}

func TestDecodeTakesMembersInAnyOrder(t *testing.T) {
	rec, err := Decode([]byte(` { "label":1, "time":5, "key":"k", "id":"o", "kind":"outcome", "model":"m", "v":1 } `))
	if want := (Outcome{ID: "o", Model: "m", Key: "k", Time: 5, Label: 1}); err != nil || rec.Outcome == nil || *rec.Outcome != want {
		t.Errorf("%+v, %v; want %+v", rec.Outcome, err, want)
	}
}

func TestDecodeRefuses(t *testing.T) {
	outcome := func(from, to string) string {
		const whole = `{"v":1,"kind":"outcome","id":"o","model":"m","key":"k","time":5,"label":1.0}`
		if !strings.Contains(whole, from) {
			t.Fatalf("no %s in %s", from, whole)
		}
		return strings.Replace(whole, from, to, 1)
	}
	prediction := func(from, to string) string {
		whole := string(samplePrediction("p", "m", "k", 5).AppendJSON(nil))
		if !strings.Contains(whole, from) {
			t.Fatalf("no %s in %s", from, whole)
		}
		return strings.Replace(whole, from, to, 1)
	}
	tests := []struct{ value, want string }{
		{``, "EOF"},
		{`[]`, `record is "[]"; want an object`},
		{`{"v":1}`, "no v or no kind"},
		{`{"v":2,"kind":"tick","time":1}`, "v is 2; this program reads 1"},
		{`{"v":1,"kind":"tock","time":1}`, "want prediction, outcome or tick"},
		{`{"v":1,"kind":"tick"}`, "has no time"},
		{`{"v":1,"kind":"tick","time":1.0}`, `time is "1.0"; want a whole number`},
		{`{"v":1,"kind":"tick","time":253402300800000000}`, "years 0001 to 9999"},
		{`{"v":1,"kind":"tick","time":1,"id":"x"}`, "has id, which is none of its members"},
		{`{"v":1,"kind":"tick","time":1,"time":1}`, "duplicate"},
		{`{"v":1,"kind":"tick","time":1}{}`, "more follows"},
		{`{"v":1,"kind":"tick","time":1,"clock":1}`, `"clock" is not known`},
		{outcome(`"id":"o",`, ``), "id is empty"},
		{outcome(`"id":"o"`, `"id":"`+strings.Repeat("o", MaxID+1)+`"`), "257 bytes; at most 256"},
		{outcome(`"id":"o",`, `"id":"o","at":{"topic":"t","partition":0,"offset":0},`), "an id and a position"},
		{outcome(`"id":"o"`, `"at":{"topic":"t","partition":0}`), "not all of topic, partition and offset"},
		{outcome(`"id":"o"`, `"at":{"topic":"t","partition":-1,"offset":0}`), "partition is -1"},
		{outcome(`"id":"o"`, `"at":{"topic":"t","partition":0,"offset":-1}`), "offset is -1"},
		{outcome(`"key":"k"`, `"key":""`), "key is empty"},
		{outcome(`"key":"k"`, `"key":null`), "want a text"},
		{outcome(`"key":"k"`, "\"key\":\"\xff\""), "invalid UTF-8"},
		{outcome(`"model":"m"`, `"model":"m/n"`), "is not a name"},
		{outcome(`1.0`, `true`), "want a number"},
		{outcome(`1.0`, `1e999`), "beyond the range of a double"},
		{prediction(`0.25`, `[1]`), "want a value"},
		{prediction(`0.25`, `{}`), "object with 0 members"},
		{prediction(`0.25`, `{"t":1,"f":"Infinity"}`), "object with 2 members"},
		{prediction(`0.25`, `{"f":"NaN"}`), "want Infinity or -Infinity"},
		{prediction(`0.25`, `9223372036854775808`), "beyond 64 bits"},
		{prediction(`0.25`, `-1e999`), "beyond the range of a double"},
		{prediction(`0.25`, `0`+strings.Repeat(`,0`, MaxVector)), "more than 1024 values"},
		{prediction(`"version":3`, `"version":-1`), "version is -1"},
		{prediction(`"version":3`, `"version":0`), "the base rate, has none"},
		{prediction(`"b3"`, `""`), "version 3 has one"},
		{prediction(`,"value":0.5`, ``), "not all of version, bundle and value"},
		{prediction(`"symbol":"k"`, `"":"k"`), "a field's name in entity is empty"},
		{prediction(`"set":`, `"at":{"topic":"t","partition":0,"offset":0},"set":`), "has at, which is none"},
	}
	for _, test := range tests {
		rec, err := Decode([]byte(test.value))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("Decode(%.200s) = %v; want %q", test.value, err, test.want)
		}
		if rec != (Record{}) {
			t.Errorf("Decode(%.200s) gives %+v with an error", test.value, rec)
		}
	}
}

func TestDecodeExampleRefuses(t *testing.T) {
	inner := strings.TrimPrefix(string(samplePrediction("p", "m", "k", 5).AppendJSON(nil)), `{"v":1,"kind":"prediction",`)
	for value, want := range map[string]string{
		`{"v":1,"kind":"prediction"}`:                                                                                                     "want example, unanswered or tick",
		`{"v":1,"kind":"tick","seq":0,"known":1}`:                                                                                         "seq is 0",
		`{"v":1,"kind":"tick","seq":1,"known":1,"why":"none"}`:                                                                            "has why, which is none",
		`{"v":1,"kind":"unanswered","seq":1,"known":1,"why":"x","prediction":{` + inner + `}`:                                             "why is \"x\"",
		`{"v":1,"kind":"unanswered","seq":1,"known":1,"why":"none"}`:                                                                      "has no prediction",
		`{"v":1,"kind":"unanswered","seq":1,"known":1,"why":"none","prediction":{"v":1,` + inner + `}`:                                    "has v, which only the example has",
		`{"v":1,"kind":"unanswered","seq":1,"known":1,"why":"none","prediction":{"seq":1,` + inner + `}`:                                  "has seq, which is none",
		`{"v":1,"kind":"unanswered","seq":1,"known":1,"why":"none","prediction":{"prediction":{"id":"x"}}}`:                               "has prediction, which only",
		`{"v":1,"kind":"example","seq":1,"known":1,"label":1.0,"outcome":"","happened":1,"correction":false,"prediction":{` + inner + `}`: "outcome is empty",
	} {
		if _, err := DecodeExample([]byte(value)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("DecodeExample(%s) = %v; want %q", value, err, want)
		}
	}
}

// TestCheck breaks each limit that a decoder cannot meet.
func TestCheck(t *testing.T) {
	for want, change := range map[string]func(*Prediction, *Outcome){
		"score.value is NaN":     func(p *Prediction, _ *Outcome) { p.Score.Value = math.NaN() },
		"shadow.value is +Inf":   func(p *Prediction, _ *Outcome) { p.Shadow = &Score{Value: math.Inf(1)} },
		"id is empty":            func(p *Prediction, _ *Outcome) { p.ID = "" },
		"not UTF-8":              func(p *Prediction, _ *Outcome) { p.Key = "a\xff" },
		"set is empty":           func(p *Prediction, _ *Outcome) { p.Set = "" },
		"1025 values":            func(p *Prediction, _ *Outcome) { p.Vector = make([]features.Value, MaxVector+1) },
		"98305 bytes together":   func(p *Prediction, _ *Outcome) { p.Vector[0] = expr.StringValue(strings.Repeat("x", MaxText+1)) },
		"of kind 9":              func(p *Prediction, _ *Outcome) { p.Vector[0].Kind = 9 },
		"9 fields":               func(p *Prediction, _ *Outcome) { p.Entity = make([]features.Named, 9) },
		"entity.symbol is there": func(p *Prediction, _ *Outcome) { p.Entity = append(p.Entity, p.Entity[0]) },
		"label is -Inf":          func(_ *Prediction, o *Outcome) { o.Label = math.Inf(-1) },
		"key has 4097 bytes":     func(_ *Prediction, o *Outcome) { o.Key = strings.Repeat("k", MaxKey+1) },
		"at.topic has 250 bytes": func(_ *Prediction, o *Outcome) { o.ID, o.At = "", &Position{Topic: strings.Repeat("t", 250)} },
		"time is":                func(_ *Prediction, o *Outcome) { o.Time = math.MaxInt64 },
	} {
		p, o := samplePrediction("p", "m", "k", 0), &Outcome{ID: "o", Model: "m", Key: "k"}
		if err := first(p.Check(), o.Check()); err != nil {
			t.Fatal(err)
		}
		change(p, o)
		if err := first(p.Check(), o.Check()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v; want %q", err, want)
		}
	}
}

// TestLargestRecordFits fills a prediction to its limits, with texts that need
// the longest escapes.
func TestLargestRecordFits(t *testing.T) {
	p := samplePrediction(strings.Repeat("\x01", MaxID), strings.Repeat("m", 64), strings.Repeat("\x01", MaxKey), minTime)
	p.Set, p.Score.Bundle = strings.Repeat("\x01", maxHash), strings.Repeat("\x01", maxHash)
	p.Shadow = &p.Score
	p.Entity = nil
	for i := range maxEntity {
		p.Entity = append(p.Entity, features.Named{Name: strings.Repeat("\x01", maxName-1) + string(rune('a'+i)), Expr: strings.Repeat("\x01", MaxKey)})
	}
	p.Vector = slices.Repeat([]features.Value{expr.TimeValue(math.MinInt64)}, MaxVector)
	p.Vector[0] = expr.StringValue(strings.Repeat("\x01", MaxText))
	b := (&Example{Kind: Labelled, Seq: math.MaxInt64, Prediction: *p, Outcome: strings.Repeat("\x01", MaxID)}).AppendJSON(nil)
	const room = MaxKey + 1024 // what Kafka adds: the key and a batch's head
	if _, err := DecodeExample(b); err != nil || len(b) > MaxRecord-room {
		t.Errorf("%d bytes, %v; at most %d", len(b), err, MaxRecord-room)
	}
}
