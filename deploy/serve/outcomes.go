package serve

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"net/http"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/codec"
	"github.com/millrace/millrace/trainer/learn"
)

// hashBytes is how much of a SHA-256 is an outcome's own id.
const hashBytes = 16

// outcomes answers POST /v1/outcomes/{model}. The body is one outcome, or one on
// each line, and is written whole or, where any is not an outcome of the model,
// not at all: see ingest.
func (s *Server) outcomes(w http.ResponseWriter, r *http.Request) error {
	p, err := s.predictor(r.URL.Path[len(outcomesPath):])
	if err != nil {
		return err
	}
	body := s.buffer()
	defer s.doneBuffer(body)
	if err := s.receive(w, r, body, s.ingests); err != nil {
		return err
	}
	defer s.ingests.leave()
	var b truths
	if err := b.read(p.model, *body, isLines(r.Header.Get("Content-Type"))); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.patience)
	defer cancel()
	positions, err := s.produce(ctx, s.feedback, b.records)
	if err != nil {
		if r.Context().Err() != nil {
			return context.Cause(r.Context())
		}
		return s.produceProblem(err, ctx.Err() != nil, positions, "outcomes", ": one that was sent before counts once")
	}
	out := append(appendPositions([]byte{'{'}, positions), `,"ids":[`...)
	for i, id := range b.ids {
		if i > 0 {
			out = append(out, ',')
		}
		out = appendText(out, id)
	}
	writeJSON(w, http.StatusOK, append(out, "]}"...))
	return nil
}

// truths are the outcomes of one body, on their way to the topic.
type truths struct {
	ids     []string
	records []streams.Record
	bad     badLines
}

// read makes the records of a body.
func (b *truths) read(x *model, body []byte, lines bool) error {
	eachLine(body, lines, func(number int, line []byte) {
		o, err := decodeOutcome(x, line)
		if err != nil {
			reason, field, what := codec.BadJSON, "", err.Error()
			var bad *codec.Error
			if errors.As(err, &bad) {
				reason, field, what = bad.Reason, bad.Field, bad.Problem
			}
			b.bad.add(number, reason, field, what)
			return
		}
		b.ids = append(b.ids, o.ID)
		b.records = append(b.records, streams.Record{Key: []byte(o.Key), Value: o.AppendJSON(nil), Partition: -1})
	})
	return b.bad.problem(len(b.records), "outcomes", fmt.Sprintf("outcomes of model %q", x.Name), "one outcome as a JSON object")
}

// A truth is an outcome as its sender writes it.
type truth struct {
	prediction string
	entity     []Column
	id         string
	time       int64
	value      features.Value
}

// decodeOutcome reads an outcome. The error is a *codec.Error, or says where the
// line is no JSON object.
func decodeOutcome(x *model, line []byte) (*feedback.Outcome, error) {
	t := truth{time: features.NoTime}
	err := decodeObject(line, func(d *decoder, name string) error { return d.truth(&t, name) })
	if err != nil {
		return nil, err
	}
	o := &feedback.Outcome{ID: t.id, Model: x.Name, Time: t.time}
	if o.Label, err = t.label(x); err != nil {
		return nil, err
	}
	if o.Time == features.NoTime {
		return nil, &codec.Error{Reason: codec.MissingField, Field: "time", Problem: "is missing; say when it came true, as 2026-01-02T15:04:05Z"}
	}
	if o.Key, err = t.key(x); err != nil {
		return nil, err
	}
	if o.ID == "" {
		o.ID = hashOutcome(o)
	}
	if err := o.Check(); err != nil {
		return nil, &codec.Error{Reason: codec.WrongType, Problem: err.Error()}
	}
	return o, nil
}

// truth reads a member of an outcome.
func (d *decoder) truth(t *truth, name string) (err error) {
	if d.PeekKind() == jsontext.KindNull {
		return d.SkipValue()
	}
	switch name {
	case "id":
		t.prediction, err = d.id(name)
	case "entity":
		t.entity, err = d.row(name)
	case "outcome_id":
		t.id, err = d.id(name)
	case "time":
		t.time, err = d.time(name)
	case "value":
		t.value, err = d.scalar(func() string { return name })
	default:
		err = badRequest("%s is not known; an outcome has id or entity, outcome_id, time and value", short(name))
	}
	return asCodec(name, err)
}

// asCodec returns a *Problem as what is wrong with a field.
func asCodec(field string, err error) error {
	var p *Problem
	if errors.As(err, &p) {
		return &codec.Error{Reason: codec.WrongType, Field: field, Problem: p.Err}
	}
	return err
}

// label is the value that came true.
func (t *truth) label(x *model) (float64, error) {
	want := "want a number"
	if x.Task == learn.Binary {
		want = "want true, false, 0 or 1"
	}
	label, ok := t.value.Number()
	if t.value.Kind == expr.Bool && x.Task == learn.Binary {
		label, ok = float64(t.value.Bits), true
	}
	switch {
	case t.value.Kind == expr.Missing:
		return 0, &codec.Error{Reason: codec.MissingField, Field: "value", Problem: "is missing; " + want}
	case !ok || x.Task == learn.Binary && label != 0 && label != 1:
		return 0, &codec.Error{Reason: codec.WrongType, Field: "value", Problem: fmt.Sprintf("%s, got %s", want, shown(t.value))}
	}
	return label, nil
}

// key is what finds the prediction.
func (t *truth) key(x *model) (string, error) {
	byID := x.Labeler.Label.Join == feedback.ByPrediction
	switch {
	case byID && (t.prediction == "" || t.entity != nil):
		return "", &codec.Error{Reason: codec.MissingField, Field: "id", Problem: fmt.Sprintf("outcomes of model %s say which prediction they are of: give id, and no entity", x.Name)}
	case !byID && (t.entity == nil || t.prediction != ""):
		return "", &codec.Error{Reason: codec.MissingField, Field: "entity", Problem: fmt.Sprintf("outcomes of model %s say whom they are about: give entity, and no id of a prediction", x.Name)}
	case byID:
		return t.prediction, nil
	}
	values, err := x.entity(t.entity)
	if err != nil {
		return "", asCodec("entity", err)
	}
	key, err := x.Labeler.Key("", values)
	if err != nil {
		return "", &codec.Error{Reason: codec.WrongType, Field: "entity", Problem: err.Error()}
	}
	return key, nil
}

// hashOutcome is the id of an outcome that was given none: the same one sent
// again has the same, and a correction another.
func hashOutcome(o *feedback.Outcome) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%d %s\n", o.Model, len(o.Key), o.Key)
	bits := math.Float64bits(o.Label)
	if o.Label == 0 { // and so -0
		bits = 0
	}
	h.Write(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, uint64(o.Time)), bits))
	return hex.EncodeToString(h.Sum(nil)[:hashBytes])
}
