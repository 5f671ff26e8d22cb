package feedback

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
)

// MaxHorizon bounds a label's horizon and its grace, ten years each: times and
// lengths then add up without overflow.
const MaxHorizon = 3653 * 24 * time.Hour

// Reasons of a Rejection by a Labeler. A key that cannot be made is rejected
// for features.RejectEntity.
const (
	RejectNoLabel   = "no_label"    // the value is missing
	RejectNonfinite = "not_finite"  // the value is not a finite number
	RejectLabel     = "bad_label"   // neither 0 nor 1, and the task is binary
	RejectOutcome   = "bad_outcome" // another part of it is beyond a limit
)

// WithDefaults returns l with what it leaves out filled in: a grace of a tenth
// of the horizon.
func (l Label) WithDefaults() Label {
	if l.Grace == 0 {
		l.Grace = (l.Horizon / 10).Truncate(time.Microsecond)
	}
	return l
}

// Rules returns how the label finds its predictions, with defaults filled in.
func (l Label) Rules() Rules {
	l = l.WithDefaults()
	return Rules{Join: l.Join, Horizon: l.Horizon, Grace: l.Grace}
}

// A Labeler makes outcomes of the events of a label's source, and keys of
// predictions and outcomes. It is made by Compile alone and is immutable.
type Labeler struct {
	Model string
	Label Label // with defaults filled in

	value  *expr.Program
	key    *features.SourceKey // of the source's events
	entity []features.Field    // kinds are Missing where the label has no source
	given  *features.SourceKey // of values in the order of entity
}

// Compile checks a model's label and returns the Labeler. src is the label's
// source, or nil where outcomes come over HTTP only; entity are the fields that
// the model's features are about. The error is a features.Faults with everything
// that is wrong; paths start at the label's keys, as "horizon".
func Compile(model string, l Label, src *features.Source, entity []string) (*Labeler, error) {
	c := labelCompiler{Labeler: &Labeler{Model: model, Label: l.WithDefaults()}}
	if err := checkModel(model); err != nil {
		c.fault("", "%v", err)
	}
	c.spans(l)
	c.join(entity)
	if src == nil {
		c.withoutSource()
	} else {
		c.withSource(*src)
	}
	if len(c.faults) > 0 {
		return nil, c.faults
	}
	return c.Labeler, nil
}

type labelCompiler struct {
	*Labeler
	faults features.Faults
}

// fault notes what is wrong with one key of the label, or with the whole of it.
func (c *labelCompiler) fault(key, format string, args ...any) {
	f := features.Fault{Problem: fmt.Sprintf(format, args...)}
	if key != "" {
		f.Path = []string{key}
	}
	c.faults = append(c.faults, f)
}

func (c *labelCompiler) spans(l Label) {
	switch {
	case l.Horizon == 0:
		c.fault("horizon", "missing; say how long after its prediction an outcome counts, as 10d")
	case l.Horizon < time.Microsecond || l.Horizon > MaxHorizon || l.Horizon%time.Microsecond != 0:
		c.fault("horizon", "%v: give 1µs to 3653d in whole microseconds", l.Horizon)
	}
	if l.Grace < 0 || l.Grace > MaxHorizon || l.Grace%time.Microsecond != 0 {
		c.fault("grace", "%v: give up to 3653d in whole microseconds", l.Grace)
	}
}

// join checks the kind of join and finds the fields that make a key.
func (c *labelCompiler) join(entity []string) {
	l := &c.Label
	switch l.Join {
	case ByPrediction:
		return
	case NextEvent, At:
		if l.Prediction != "" {
			c.fault("prediction", "%q: only join %s has it; with %s the entity finds the prediction", l.Prediction, ByPrediction, l.Join)
		}
	case "":
		c.fault("join", "missing; use %s, %s or %s", ByPrediction, NextEvent, At)
		return
	default:
		c.fault("join", "%q is not known; use %s, %s or %s", l.Join, ByPrediction, NextEvent, At)
		return
	}
	if len(entity) == 0 || len(entity) > maxEntity {
		c.fault("join", "%s needs the model's entity, of 1 to %d fields; it has %d", l.Join, maxEntity, len(entity))
	}
	for _, name := range entity {
		c.entity = append(c.entity, features.Field{Name: name})
	}
}

// withoutSource checks a label whose outcomes come over HTTP.
func (c *labelCompiler) withoutSource() {
	l := &c.Label
	if l.Source != "" {
		c.fault("source", "%q is not a source of the project", l.Source)
	}
	if l.Value != "" && l.Source == "" {
		c.fault("value", "needs source: the events that it is computed from; without one outcomes bring their label")
	}
	if l.Prediction != "" && l.Source == "" && l.Join == ByPrediction {
		c.fault("prediction", "needs source: the events that have the field; without one outcomes name their prediction")
	}
	c.givenKey()
}

func (c *labelCompiler) withSource(src features.Source) {
	l := &c.Label
	if l.Source != src.Name {
		c.fault("source", "%q is not the source that the label is compiled with, %q", l.Source, src.Name)
	}
	fields := src.EventFields()
	if l.Join == ByPrediction && l.Prediction == "" {
		c.fault("prediction", "missing; name the field of %s that holds the prediction's id", src.Name)
	} else if l.Join == ByPrediction {
		c.keyField("prediction", l.Prediction, src.Name, fields)
	}
	for i := range c.entity {
		c.entity[i].Kind = c.keyField("source", c.entity[i].Name, src.Name, fields)
	}
	c.compileValue(src.Name, fields)
	src.KeyedBy = c.keyedBy()
	if l.Join == ByPrediction {
		src.KeyedBy = []string{l.Prediction}
	}
	if len(c.faults) == 0 {
		var err error
		if c.key, err = features.NewSourceKey(src); err != nil {
			c.fault("source", "%v", err)
		}
	}
	c.givenKey()
}

func (c *labelCompiler) keyedBy() []string {
	names := make([]string, len(c.entity))
	for i, f := range c.entity {
		names[i] = f.Name
	}
	return names
}

// givenKey prepares keys of values that are given in the order of the entity.
func (c *labelCompiler) givenKey() {
	key, err := features.NewSourceKey(features.Source{Fields: c.entity, KeyedBy: c.keyedBy()})
	if err != nil {
		c.fault("join", "%v", err)
	}
	c.given = key
}

// keyField checks a field that makes a key, and returns its kind.
func (c *labelCompiler) keyField(key, name, source string, fields []features.Field) features.Kind {
	i := slices.IndexFunc(fields, func(f features.Field) bool { return f.Name == name })
	if i < 0 {
		c.fault(key, "%q is not a field of %s, and it finds the prediction; there are %s", name, source, known(fields))
		return expr.Missing
	}
	kind := fields[i].Kind
	if kind != expr.String && kind != expr.Int {
		c.fault(key, "%q of %s is a %v; what finds a prediction is a string or an int", name, source, kind)
	}
	return kind
}

func known(fields []features.Field) string {
	const most = 12
	names := make([]string, 0, most+1)
	for _, f := range fields[:min(len(fields), most)] {
		names = append(names, f.Name)
	}
	if len(fields) > most {
		names = append(names, "...")
	}
	return strings.Join(names, ", ")
}

func (c *labelCompiler) compileValue(source string, fields []features.Field) {
	if c.Label.Value == "" {
		c.fault("value", "missing; give an expression over the fields of %s: true or false, or a number", source)
		return
	}
	vars := make([]expr.Variable, len(fields))
	for i, f := range fields {
		vars[i] = expr.Variable{Name: f.Name, Kind: f.Kind}
	}
	p, err := expr.Compile(c.Label.Value, vars)
	if err != nil {
		c.fault("value", "%v", err)
		return
	}
	if p.Kind() != expr.Bool && p.Kind() != expr.Float {
		c.fault("value", "is a %v; a label is true or false, or a number", p.Kind())
	}
	c.value = p
}

// Outcome makes an outcome of an event of the label's source, which is at a
// position of the log. It keeps nothing of the event.
func (l *Labeler) Outcome(ev *features.Event, at Position) (Outcome, *features.Rejection) {
	label, rejected := l.label(ev)
	if rejected != nil {
		return Outcome{}, rejected
	}
	key, err := l.key.Append(nil, ev.Values)
	if err != nil {
		return Outcome{}, asRejection(err)
	}
	o := Outcome{At: &at, Model: l.Model, Key: string(key), Time: ev.Time, Label: label}
	if err := o.Check(); err != nil {
		return Outcome{}, reject(RejectOutcome, "%v", err)
	}
	return o, nil
}

func (l *Labeler) label(ev *features.Event) (float64, *features.Rejection) {
	v, nonfinite := l.value.Eval(ev.Values)
	switch {
	case nonfinite:
		return 0, reject(RejectNonfinite, "model %s: label %s is not a finite number", l.Model, short(l.Label.Value))
	case v.Kind == expr.Missing:
		return 0, reject(RejectNoLabel, "model %s: label %s is missing", l.Model, short(l.Label.Value))
	case v.Kind == expr.Float:
		return v.Float(), l.CheckLabel(v.Float())
	case v.Bool():
		return 1, nil
	}
	return 0, nil
}

// CheckLabel reports whether x can be a label of the model: it is finite, and 0
// or 1 where the task is binary.
func (l *Labeler) CheckLabel(x float64) *features.Rejection {
	switch {
	case math.IsNaN(x) || math.IsInf(x, 0):
		return reject(RejectNonfinite, "model %s: label %v is not a finite number", l.Model, x)
	case l.Label.Binary && x != 0 && x != 1:
		return reject(RejectLabel, "model %s: label %v is neither 0 nor 1, and the task is binary", l.Model, x)
	}
	return nil
}

// Key returns what joins a prediction or an outcome: with join prediction_id the
// prediction's id, else the key of the entity, whose values are in the order of
// the entity's fields. It is the key that Outcome makes of the source's events:
// a text for a field that is an int is read, and an int for a string is written
// out. The error is a *features.Rejection.
func (l *Labeler) Key(id string, entity []features.Value) (string, error) {
	if l.Label.Join == ByPrediction {
		if err := checkText("the prediction's id", id, 1, MaxID); err != nil {
			return "", reject(features.RejectEntity, "%v", err)
		}
		return id, nil
	}
	if len(entity) != len(l.entity) {
		return "", reject(features.RejectEntity, "model %s: the entity has %d fields, got %d values", l.Model, len(l.entity), len(entity))
	}
	values := make([]features.Value, len(entity))
	for i, f := range l.entity {
		v, rejected := asKind(entity[i], f)
		if rejected != nil {
			return "", rejected
		}
		values[i] = v
	}
	key, err := l.given.Append(nil, values)
	if err != nil {
		return "", asRejection(err)
	}
	if err := checkText("the entity's key", string(key), 1, MaxKey); err != nil {
		return "", reject(features.RejectEntity, "%v", err)
	}
	return string(key), nil
}

// asKind returns v as the source has the field; where there is no source, as
// it is.
func asKind(v features.Value, f features.Field) (features.Value, *features.Rejection) {
	if v.Kind != expr.Missing && v.Kind != expr.String && v.Kind != expr.Int {
		return v, reject(features.RejectEntity, "%s is a %v; an entity is a string or an int", f.Name, v.Kind)
	}
	switch {
	case f.Kind == expr.String && v.Kind == expr.Int:
		return expr.StringValue(strconv.FormatInt(v.Int(), 10)), nil
	case f.Kind == expr.Int && v.Kind == expr.String && v.Str != "":
		i, err := strconv.ParseInt(v.Str, 10, 64)
		if err != nil || strconv.FormatInt(i, 10) != v.Str {
			return v, reject(features.RejectEntity, "%s is %s; want a whole number of 64 bits", f.Name, short(v.Str))
		}
		return expr.IntValue(i), nil
	}
	return v, nil
}

// asRejection returns the rejection that a SourceKey gives as an error.
func asRejection(err error) *features.Rejection {
	var r *features.Rejection
	if errors.As(err, &r) {
		return r
	}
	return reject(features.RejectEntity, "%v", err)
}
