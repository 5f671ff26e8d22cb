package serve

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/streams"
)

// recordTimeout is for how long a prediction waits for the log before it goes to
// the spool: an acknowledgement takes milliseconds, and the caller is waiting.
const recordTimeout = time.Second

// A predictor is a model with what requests need of it.
type predictor struct {
	*model
	refs         []string // of its inputs, as view:feature
	fingerprints []byte   // of its inputs, a JSON object
}

// newPredictor checks that the features that a model sees are those that the
// lookup computes.
func newPredictor(x *model, l *Lookup) (*predictor, error) {
	p := &predictor{model: x, fingerprints: []byte{'{'}}
	for i, in := range x.Inputs {
		name, feature, _ := strings.Cut(in.Name, ".")
		v := l.views[name]
		if v == nil {
			return nil, fmt.Errorf("model %q sees %s, and there is no view %q", x.Name, in.Name, name)
		}
		k, ok := v.outputs[feature]
		if !ok || v.Outputs()[k].Fingerprint != in.Fingerprint || v.Outputs()[k].Kind != in.Kind {
			return nil, fmt.Errorf("model %q sees %s, which is not what view %q computes under that name", x.Name, in.Name, name)
		}
		for _, field := range v.View.Entity {
			if !slices.ContainsFunc(x.Entity, func(f features.Field) bool { return f.Name == field }) {
				return nil, fmt.Errorf("model %q sees view %q, and %q, which the view is about, is not in its entity", x.Name, name, field)
			}
		}
		p.refs = append(p.refs, name+":"+feature)
		if i > 0 {
			p.fingerprints = append(p.fingerprints, ',')
		}
		p.fingerprints = appendText(append(appendText(p.fingerprints, in.Name), ':'), in.Fingerprint)
	}
	p.fingerprints = append(p.fingerprints, '}')
	return p, nil
}

func (s *Server) predictor(name string) (*predictor, error) {
	if p := s.predictors[name]; p != nil {
		return p, nil
	}
	var names []string
	if s.cfg.Models != nil {
		names = s.cfg.Models.names()
	}
	return nil, problem(http.StatusNotFound, "there is no model %s; there are %s", short(name), few(names))
}

// A question is the body of a prediction. The entity and the request are
// columns of one row.
type question struct {
	Query
	id      string // empty: the server makes one
	explain bool   // what made the prediction is asked for, too
}

// decodeQuestion reads the body of /v1/predict/{model}, and checks what it says
// by itself. Null is as absent. The error is a *Problem.
func decodeQuestion(body []byte) (*question, error) {
	q := &question{Query: Query{AsOf: features.NoTime, FullNames: true}}
	err := decodeObject(body, func(d *decoder, name string) error { return d.question(q, name) })
	var p *Problem
	if err != nil && !errors.As(err, &p) {
		return nil, &Problem{Status: 400, Err: `the body is not the JSON object of a prediction; send {"entity": {"field": "value"}}`, Detail: err.Error()}
	}
	return q, err
}

func (d *decoder) question(q *question, name string) (err error) {
	if d.PeekKind() == jsontext.KindNull {
		return d.SkipValue()
	}
	switch name {
	case "entity":
		q.Entities, err = d.row(name)
	case "request":
		q.Inputs, err = d.row(name)
		for _, c := range q.Inputs {
			if _, ok := c.Cells[0].Number(); !ok && c.Cells[0].Kind != expr.Missing && err == nil {
				err = badRequest("request: %s: want a number or null, got %s", short(c.Name), shown(c.Cells[0]))
			}
		}
	case "id":
		q.id, err = d.id(name)
	case "explain":
		q.explain, err = d.bool(name)
	case "at_least":
		err = d.positions(&q.Query)
	case "wait_ms":
		err = d.wait(&q.Query)
	default:
		err = badRequest("%s is not known; a prediction has entity, request, id, explain, at_least and wait_ms", short(name))
	}
	return err
}

// id reads an id that a caller gives.
func (d *decoder) id(name string) (string, error) {
	id, err := d.text(name)
	if err == nil && (id == "" || len(id) > feedback.MaxID) {
		err = badRequest("%s: %d bytes; give 1 to %d, or leave it out", name, len(id), feedback.MaxID)
	}
	return id, err
}

// row reads an object of values as columns of one row.
func (d *decoder) row(name string) (columns []Column, err error) {
	if d.PeekKind() != jsontext.KindBeginObject {
		return nil, d.wrong(name, "an object")
	}
	err = d.object(func(field string) error {
		x, err := d.scalar(func() string { return name + ": " + short(field) })
		columns = append(columns, Column{Name: field, Cells: []features.Value{x}})
		return err
	})
	return columns, err
}

// entity checks whom a body is about and returns the values in the kinds of the
// model's fields, in their order. As in a lookup a whole number may stand
// for a text and the other way round.
func (x *model) entity(columns []Column) ([]features.Value, error) {
	for _, c := range columns {
		if !slices.ContainsFunc(x.Entity, func(f features.Field) bool { return f.Name == c.Name }) {
			return nil, badRequest("entity: %s is not what model %s is about, which is %s", short(c.Name), x.Name, few(x.fields()))
		}
	}
	values := make([]features.Value, len(x.Entity))
	for i, f := range x.Entity {
		at := slices.IndexFunc(columns, func(c Column) bool { return c.Name == f.Name })
		if at < 0 {
			return nil, badRequest("entity has no %q; model %s is about %s", f.Name, x.Name, few(x.fields()))
		}
		v, ok := asKind(columns[at].Cells[0], f.Kind)
		if !ok {
			return nil, badRequest("entity: %q: want %s, got %s", f.Name, wanted(f.Kind), shown(v))
		}
		values[i] = v
	}
	return values, nil
}

func (x *model) fields() []string {
	names := make([]string, len(x.Entity))
	for i, f := range x.Entity {
		names[i] = f.Name
	}
	return names
}

// predict answers POST /v1/predict/{model}. The prediction is in the log, or on
// the disk on its way there, before it is answered.
func (s *Server) predict(w http.ResponseWriter, r *http.Request) error {
	start := time.Now()
	p, err := s.predictor(r.URL.Path[len(predictPath):])
	if err != nil {
		return err
	}
	body := s.buffer()
	defer s.doneBuffer(body)
	if err := s.receive(w, r, body, s.predicts); err != nil {
		return err
	}
	defer s.predicts.leave()
	q, err := decodeQuestion(*body)
	if err != nil {
		return err
	}
	mem := s.work()
	defer s.done(mem)
	now := p.loaded.Load() // one and the same to the end
	out, err := s.give(r.Context(), p, now, q, &mem.vectors)
	if err != nil {
		return err
	}
	mem.out = p.appendAnswer(mem.out[:0], now, out, q.explain)
	writeJSON(w, http.StatusOK, mem.out)
	if s.cfg.Metrics != nil {
		s.cfg.Metrics.Prediction(p.Name, out.Score.Version, time.Since(start))
	}
	return nil
}

// give answers and records the answer.
func (s *Server) give(ctx context.Context, p *predictor, now *loaded, q *question, v *Vectors) (*feedback.Prediction, error) {
	start := time.Now()
	ctx, span := s.cfg.Traces.Predict(ctx, p.Name)
	out, err := s.answer(ctx, p, now, q, v)
	if err == nil {
		err = s.record(ctx, out)
	}
	if err == nil {
		s.cfg.Traces.Predicted(ctx, span, p.Name, out.ID, out.Score.Version, start)
	}
	span.End(broke(err))
	return out, err
}

// answer looks up what the model sees and scores it.
func (s *Server) answer(ctx context.Context, p *predictor, now *loaded, q *question, v *Vectors) (*feedback.Prediction, error) {
	out := &feedback.Prediction{ID: q.id, Model: p.Name, Set: p.set}
	if out.ID == "" {
		out.ID = newID()
	}
	entity, err := p.entity(q.Entities)
	if err != nil {
		return nil, err
	}
	if out.Key, err = p.Labeler.Key(out.ID, entity); err != nil {
		return nil, badRequest("entity: %v", err)
	}
	for i, f := range p.Entity {
		out.Entity = append(out.Entity, features.Named{Name: f.Name, Expr: entity[i].Text()})
	}
	q.Features = p.refs
	if err := s.see(ctx, &q.Query, v); err != nil {
		return nil, err
	}
	if out.Time = v.AsOf[0]; out.Time == features.NoTime {
		return nil, problem(http.StatusNotFound, "nothing is known of entity %s yet, so there is no time that a prediction could be of; send an event of it first, to a source of the model's features", entityText(out.Entity))
	}
	out.Vector = make([]features.Value, len(p.refs))
	for c := range out.Vector {
		out.Vector[c], _ = v.Value(0, c)
	}
	if out.Score, err = now.champion.score(now.base, out.Vector); err != nil {
		return nil, &Problem{
			Status: http.StatusInternalServerError,
			Err:    fmt.Sprintf("version %d of model %s has no score for entity %s, and nothing was recorded; roll it back if that goes on", now.champion.version, p.Name, entityText(out.Entity)),
			Detail: err.Error(),
		}
	}
	out.Shadow = s.shadow(p, now, out.Vector)
	if err := out.Check(); err != nil {
		return nil, &Problem{Status: http.StatusInternalServerError, Err: "the prediction cannot be recorded, so it is not given", Detail: err.Error()}
	}
	return out, nil
}

func entityText(entity []features.Named) string {
	texts := make([]string, len(entity))
	for i, n := range entity {
		texts[i] = short(n.Expr)
	}
	return few(texts)
}

// see reads the one row of a query, in one read of the store.
func (s *Server) see(ctx context.Context, q *Query, v *Vectors) error {
	if err := s.lookup.resolve(q, v); err != nil {
		return err
	}
	if len(q.AtLeast) > 0 {
		if err := s.await(ctx, q, v); err != nil {
			return err
		}
	}
	if err := s.lookups.take(ctx); err != nil {
		return err
	}
	defer s.lookups.leave()
	return s.fill(ctx, q, v)
}

// shadow is what the version beside the champion answers. Whatever is wrong
// with it, the champion's answer stands.
func (s *Server) shadow(p *predictor, now *loaded, vector []features.Value) (score *feedback.Score) {
	if now.shadow == nil {
		return nil
	}
	failed := func(why any) {
		score = nil
		if p.shadowFailures.Add(1)%shadowLogEvery == 1 {
			s.cfg.Log.Warn("the version in the shadow has no score", "model", p.Name, "version", now.shadow.version, "error", why, "failures", p.shadowFailures.Load())
		}
	}
	defer func() {
		if why := recover(); why != nil {
			failed(fmt.Sprintf("panic: %v", why))
		}
	}()
	out, err := now.shadow.score(now.base, vector)
	if err != nil {
		failed(err)
		return score
	}
	return &out
}

// shadowLogEvery is how many failures of a model's shadow are one line of the
// log; metrics have them all.
const shadowLogEvery = 1000

// record brings a prediction into the log, or into the spool where the log does
// not take it in time or has not yet taken others.
func (s *Server) record(ctx context.Context, p *feedback.Prediction) error {
	r := streams.Record{Key: []byte(p.Key), Value: p.AppendJSON(nil), Partition: -1}
	if waiting, _, _ := s.cfg.Spool.Waiting(); waiting == 0 {
		limit, cancel := context.WithTimeout(ctx, s.recordPatience)
		_, err := s.produce(limit, s.feedback, []streams.Record{r})
		cancel()
		var refusal *streams.Refusal
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.As(err, &refusal):
			return &Problem{Status: http.StatusInternalServerError, Err: "topic " + s.feedback + " does not take the prediction, so it is not given", Detail: err.Error()}
		}
	}
	err := s.cfg.Spool.Add(&r)
	if errors.Is(err, ErrSpoolFull) {
		return unavailable(err, "the log is away, and as many predictions wait for it as the spool holds; mend what /readyz says, and ask again")
	}
	if err != nil {
		return unavailable(err, "the log is away, and the prediction cannot be kept on the disk; mend what the detail says, and ask again")
	}
	return nil
}

// drain brings what waits in the spool to the log.
func (s *Server) drain(ctx context.Context) {
	s.cfg.Spool.Drain(ctx, func(ctx context.Context, records []streams.Record) error {
		limit, cancel := context.WithTimeout(ctx, s.patience)
		defer cancel()
		_, err := s.cfg.Producer.Produce(limit, s.feedback, records)
		return err
	})
}

func (p *predictor) appendAnswer(dst []byte, now *loaded, out *feedback.Prediction, explain bool) []byte {
	dst = appendText(append(dst, `{"id":`...), out.ID)
	dst = appendFloat(append(dst, `,"score":`...), out.Score.Value)
	dst = appendText(append(dst, `,"model":`...), out.Model)
	dst = strconv.AppendInt(append(dst, `,"version":`...), int64(out.Score.Version), 10)
	if out.Score.Version == 0 {
		dst = append(dst, `,"base_rate":true`...)
	} else {
		dst = appendText(append(dst, `,"bundle":`...), out.Score.Bundle)
	}
	dst = appendTime(append(dst, `,"as_of":`...), out.Time)
	dst = append(append(dst, `,"fingerprints":`...), p.fingerprints...)
	if now.degraded != "" {
		dst = appendText(append(dst, `,"degraded":`...), now.degraded)
	}
	if explain {
		dst = p.appendExplanation(dst, now, out)
	}
	return append(dst, '}')
}

// newID returns a UUID of version 7 (RFC 9562): the time in milliseconds and 74
// random bits.
func newID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(time.Now().UnixMilli()))
	copy(b[:6], ms[2:])
	b[6] = b[6]&0x0f | 0x70
	b[8] = b[8]&0x3f | 0x80
	var text [36]byte
	hex.Encode(text[:8], b[:4])
	hex.Encode(text[9:13], b[4:6])
	hex.Encode(text[14:18], b[6:8])
	hex.Encode(text[19:23], b[8:10])
	hex.Encode(text[24:], b[10:])
	text[8], text[13], text[18], text[23] = '-', '-', '-', '-'
	return string(text[:])
}
