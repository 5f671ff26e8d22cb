package feedback

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/millrace/millrace/features"
)

// The members of each kind of record, those that may be absent with a ?. An
// outcome has an id or a position, which Check sees to.
const (
	predictionMembers = "id model key time entity set vector score shadow?"
	outcomeMembers    = "id? at? model key time label"
	tickMembers       = "time"
	labelledMembers   = "seq known label outcome happened correction prediction"
	unansweredMembers = "seq known why prediction"
	passedMembers     = "seq known"
)

// Decode reads a record of the feedback topic. It takes what AppendJSON writes,
// with members in any order, and refuses members that it does not know, members
// that are missing or of another type, and what Check refuses. The record keeps
// nothing of value.
func Decode(value []byte) (Record, error) {
	w, err := decode(value)
	if err != nil {
		return Record{}, fmt.Errorf("feedback: record: %w", err)
	}
	var r Record
	switch w.kind {
	case "prediction":
		p := w.asPrediction()
		r.Prediction, err = &p, first(w.has(predictionMembers), p.check())
	case "outcome":
		o := &Outcome{ID: w.id, At: w.at, Model: w.model, Key: w.key, Time: w.time, Label: w.label}
		r.Outcome, err = o, first(w.has(outcomeMembers), o.check())
	case "tick":
		r.Tick, err = &Tick{w.time}, first(w.has(tickMembers), checkTime("time", w.time))
	default:
		err = errors.New("want prediction, outcome or tick")
	}
	if err != nil {
		return Record{}, fmt.Errorf("feedback: record of kind %s: %w", short(w.kind), err)
	}
	return r, nil
}

// DecodeExample reads a record of the examples topic, as strictly as Decode.
func DecodeExample(value []byte) (Example, error) {
	w, err := decode(value)
	if err != nil {
		return Example{}, fmt.Errorf("feedback: example: %w", err)
	}
	e := Example{Kind: ExampleKind(w.kind), Seq: w.seq, Known: w.known, Label: w.label, Outcome: w.outcome, Happened: w.happened, Correction: w.correction, Why: w.why}
	switch e.Kind {
	case Labelled:
		err = w.has(labelledMembers)
	case Unanswered:
		err = w.has(unansweredMembers)
	case Passed:
		err = w.has(passedMembers)
	default:
		err = fmt.Errorf("want %s, %s or %s", Labelled, Unanswered, Passed)
	}
	if err == nil && w.prediction != nil {
		e.Prediction = *w.prediction
	}
	if err == nil {
		err = e.check()
	}
	if err != nil {
		return Example{}, fmt.Errorf("feedback: example of kind %s: %w", short(w.kind), err)
	}
	return e, nil
}

// A wire is a record as it was read, of any kind.
type wire struct {
	seen []string // names of the members, in their order

	v, time, seq, known, happened int64

	kind, id, model, key, set, outcome, why string

	label      float64
	correction bool
	at         *Position
	entity     []features.Named
	vector     []features.Value
	score      Score
	shadow     *Score
	prediction *Prediction
}

func (w *wire) asPrediction() Prediction {
	return Prediction{ID: w.id, Model: w.model, Key: w.key, Time: w.time, Entity: w.entity, Set: w.set, Vector: w.vector, Score: w.score, Shadow: w.shadow}
}

// has reports whether the record has the members that are listed and no others,
// besides v and kind.
func (w *wire) has(members string) error {
	want := 0
	for name := range strings.FieldsSeq(members) {
		name, optional := strings.CutSuffix(name, "?")
		switch {
		case w.saw(name):
			want++
		case !optional:
			return fmt.Errorf("has no %s", name)
		}
	}
	for _, name := range w.seen {
		if name == "v" || name == "kind" {
			want++
		}
	}
	if want == len(w.seen) {
		return nil
	}
	for _, name := range w.seen {
		if name != "v" && name != "kind" && !listed(members, name) {
			return fmt.Errorf("has %s, which is none of its members: %s", name, members)
		}
	}
	return nil
}

func (w *wire) saw(name string) bool {
	for _, s := range w.seen {
		if s == name {
			return true
		}
	}
	return false
}

func listed(members, name string) bool {
	for m := range strings.FieldsSeq(members) {
		if strings.TrimSuffix(m, "?") == name {
			return true
		}
	}
	return false
}

// decode reads one object with "v": 1 and nothing after it.
func decode(value []byte) (*wire, error) {
	if len(value) > MaxRecord {
		return nil, fmt.Errorf("has %d bytes; at most %d", len(value), MaxRecord)
	}
	d := decoder{jsontext.NewDecoder(bytes.NewBuffer(value))}
	w := &wire{seen: make([]string, 0, 12)}
	err := d.object("record", func(name string) error {
		w.seen = append(w.seen, name)
		return d.member(w, name)
	})
	if err != nil {
		return nil, err
	}
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more follows after the object")
	}
	if !w.saw("v") || !w.saw("kind") {
		return nil, errors.New("has no v or no kind; want {\"v\":1,\"kind\":...}")
	}
	if w.v != version {
		return nil, fmt.Errorf("v is %d; this program reads %d: use the one that wrote it, or a newer one", w.v, version)
	}
	return w, nil
}

func (d decoder) member(w *wire, name string) (err error) {
	switch name {
	case "v":
		w.v, err = d.int(name)
	case "kind":
		w.kind, err = d.text(name)
	case "id":
		w.id, err = d.text(name)
	case "model":
		w.model, err = d.text(name)
	case "key":
		w.key, err = d.text(name)
	case "set":
		w.set, err = d.text(name)
	case "outcome":
		w.outcome, err = d.text(name)
	case "why":
		w.why, err = d.text(name)
	case "time":
		w.time, err = d.int(name)
	case "seq":
		w.seq, err = d.int(name)
	case "known":
		w.known, err = d.int(name)
	case "happened":
		w.happened, err = d.int(name)
	case "label":
		w.label, err = d.float(name)
	case "correction":
		w.correction, err = d.bool(name)
	case "at":
		w.at, err = d.position(name)
	case "entity":
		err = d.object(name, func(field string) error {
			s, err := d.text("entity." + field)
			w.entity = append(w.entity, features.Named{Name: field, Expr: s})
			return err
		})
	case "vector":
		err = d.values(w, name)
	case "score":
		err = d.score(name, &w.score)
	case "shadow":
		w.shadow = new(Score)
		err = d.score(name, w.shadow)
	case "prediction":
		err = d.prediction(w)
	default:
		err = fmt.Errorf("%s is not known", short(name))
	}
	return err
}

// prediction reads the prediction of an example, which has no v and no kind.
func (d decoder) prediction(w *wire) error {
	inner := &wire{seen: make([]string, 0, 12)}
	err := d.object("prediction", func(name string) error {
		if name == "v" || name == "kind" || name == "prediction" {
			return fmt.Errorf("has %s, which only the example has", name)
		}
		inner.seen = append(inner.seen, name)
		return d.member(inner, name)
	})
	if err == nil {
		err = inner.has(predictionMembers)
	}
	if err != nil {
		return fmt.Errorf("prediction: %w", err)
	}
	p := inner.asPrediction()
	w.prediction = &p
	return nil
}

func (d decoder) position(name string) (*Position, error) {
	at, seen := &Position{}, 0
	err := d.object(name, func(member string) (err error) {
		seen++
		switch member {
		case "topic":
			at.Topic, err = d.text("at.topic")
		case "partition":
			var n int64
			n, err = d.int("at.partition")
			at.Partition = int(n)
		case "offset":
			at.Offset, err = d.int("at.offset")
		default:
			err = fmt.Errorf("at.%s is not known", member)
		}
		return err
	})
	if err == nil && seen != 3 {
		err = errors.New("at has not all of topic, partition and offset")
	}
	return at, err
}

func (d decoder) score(name string, s *Score) error {
	seen := 0
	err := d.object(name, func(member string) (err error) {
		seen++
		switch member {
		case "version":
			var n int64
			n, err = d.int(name + ".version")
			s.Version = int(n)
		case "bundle":
			s.Bundle, err = d.text(name + ".bundle")
		case "value":
			s.Value, err = d.float(name + ".value")
		default:
			err = fmt.Errorf("%s.%s is not known", name, member)
		}
		return err
	})
	if err == nil && seen != 3 {
		err = fmt.Errorf("%s has not all of version, bundle and value", name)
	}
	return err
}
