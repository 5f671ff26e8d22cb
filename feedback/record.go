package feedback

import (
	"math"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
)

// version is the "v" of all records that this package writes and reads.
const version = 1

// A Record is one record of the feedback topic. Exactly one is set.
type Record struct {
	Prediction *Prediction
	Outcome    *Outcome
	Tick       *Tick
}

// Model returns the model that the record is about, or nothing for a tick.
func (r Record) Model() string {
	switch {
	case r.Prediction != nil:
		return r.Prediction.Model
	case r.Outcome != nil:
		return r.Outcome.Model
	}
	return ""
}

// Key returns what joins the record, or nothing for a tick.
func (r Record) Key() string {
	switch {
	case r.Prediction != nil:
		return r.Prediction.Key
	case r.Outcome != nil:
		return r.Outcome.Key
	}
	return ""
}

// AppendJSON appends p as a record of the feedback topic. Equal values give
// equal bytes, and numbers read back as the same bits. A NaN in the vector is
// null, since it is a missing value everywhere; bytes of a text that are not
// UTF-8 become U+FFFD. p must pass Check.
func (p *Prediction) AppendJSON(dst []byte) []byte {
	dst = append(dst, `{"v":1,"kind":"prediction",`...)
	return append(p.appendMembers(dst), '}')
}

func (p *Prediction) appendMembers(dst []byte) []byte {
	dst = appendText(append(dst, `"id":`...), p.ID)
	dst = appendText(append(dst, `,"model":`...), p.Model)
	dst = appendText(append(dst, `,"key":`...), p.Key)
	dst = appendInt(append(dst, `,"time":`...), p.Time)
	dst = append(dst, `,"entity":{`...)
	for i, n := range p.Entity {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendText(append(appendText(dst, n.Name), ':'), n.Expr)
	}
	dst = appendText(append(dst, `},"set":`...), p.Set)
	dst = append(dst, `,"vector":[`...)
	for i, v := range p.Vector {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendValue(dst, v)
	}
	dst = p.Score.append(append(dst, `],"score":`...))
	if p.Shadow != nil {
		dst = p.Shadow.append(append(dst, `,"shadow":`...))
	}
	return dst
}

func (s *Score) append(dst []byte) []byte {
	dst = appendInt(append(dst, `{"version":`...), int64(s.Version))
	dst = appendText(append(dst, `,"bundle":`...), s.Bundle)
	return append(appendFloat(append(dst, `,"value":`...), s.Value), '}')
}

// AppendJSON appends o as a record of the feedback topic. o must pass Check.
func (o *Outcome) AppendJSON(dst []byte) []byte {
	dst = append(dst, `{"v":1,"kind":"outcome",`...)
	if o.At != nil {
		dst = appendText(append(dst, `"at":{"topic":`...), o.At.Topic)
		dst = appendInt(append(dst, `,"partition":`...), int64(o.At.Partition))
		dst = append(appendInt(append(dst, `,"offset":`...), o.At.Offset), '}')
	} else {
		dst = appendText(append(dst, `"id":`...), o.ID)
	}
	dst = appendText(append(dst, `,"model":`...), o.Model)
	dst = appendText(append(dst, `,"key":`...), o.Key)
	dst = appendInt(append(dst, `,"time":`...), o.Time)
	return append(appendFloat(append(dst, `,"label":`...), o.Label), '}')
}

// AppendJSON appends t as a record of the feedback topic.
func (t Tick) AppendJSON(dst []byte) []byte {
	return append(appendInt(append(dst, `{"v":1,"kind":"tick","time":`...), t.Time), '}')
}

// AppendJSON appends e as a record of the examples topic.
func (e *Example) AppendJSON(dst []byte) []byte {
	dst = appendText(append(dst, `{"v":1,"kind":`...), string(e.Kind))
	dst = appendInt(append(dst, `,"seq":`...), e.Seq)
	dst = appendInt(append(dst, `,"known":`...), e.Known)
	switch e.Kind {
	case Labelled:
		dst = appendFloat(append(dst, `,"label":`...), e.Label)
		dst = appendText(append(dst, `,"outcome":`...), e.Outcome)
		dst = appendInt(append(dst, `,"happened":`...), e.Happened)
		dst = strconv.AppendBool(append(dst, `,"correction":`...), e.Correction)
	case Unanswered:
		dst = appendText(append(dst, `,"why":`...), e.Why)
	}
	if e.Kind != Passed {
		dst = append(e.Prediction.appendMembers(append(dst, `,"prediction":{`...)), '}')
	}
	return append(dst, '}')
}

// appendValue writes a value so that its kind can be read off it: a float has
// a fraction or an exponent and an int has neither. What JSON has nothing for
// is an object: {"t": microseconds} is a time, {"f": "Infinity"} an infinity.
func appendValue(dst []byte, v features.Value) []byte {
	switch v.Kind {
	case expr.Bool:
		return strconv.AppendBool(dst, v.Bool())
	case expr.Int:
		return appendInt(dst, v.Int())
	case expr.String:
		return appendText(dst, v.Str)
	case expr.Time:
		return append(appendInt(append(dst, `{"t":`...), v.Int()), '}')
	case expr.Float:
		switch x := v.Float(); {
		case math.IsInf(x, 1):
			return append(dst, `{"f":"Infinity"}`...)
		case math.IsInf(x, -1):
			return append(dst, `{"f":"-Infinity"}`...)
		case !math.IsNaN(x):
			return appendFloat(dst, x)
		}
	}
	return append(dst, "null"...)
}

func appendText(dst []byte, s string) []byte {
	dst, _ = jsontext.AppendQuote(dst, s) // its error says that it put U+FFFD for some bytes
	return dst
}

func appendInt(dst []byte, i int64) []byte { return strconv.AppendInt(dst, i, 10) }

// appendFloat writes the fewest digits of a finite x that read back equal, with
// a fraction or an exponent.
func appendFloat(dst []byte, x float64) []byte {
	if a := math.Abs(x); a != 0 && (a < 1e-6 || a >= 1e21) {
		return strconv.AppendFloat(dst, x, 'e', -1, 64)
	}
	n := len(dst)
	dst = strconv.AppendFloat(dst, x, 'f', -1, 64)
	if strings.IndexByte(string(dst[n:]), '.') < 0 {
		dst = append(dst, ".0"...)
	}
	return dst
}
