package lake

import (
	"context"
	"iter"
	"math"
	"path/filepath"
	"slices"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/streams"
)

// Examples is the table of one model's examples: the records of the examples
// topic that are about it, corrections and unanswered predictions among them. It
// lies in the folder examples_MODEL.
//
// Its columns are kind, seq, id, set, version, score, shadow_version,
// shadow_score, time (of the prediction), outcome_time, known, label, correction
// and why; then model, one for each field of the entity, as text; and one for
// each feature, by its name and of its kind, as the model saw it. A column that
// would have the name of one before it begins with "entity.". What a record does
// not have is missing, and so are the features of a vector of another set.
type Examples struct {
	Project string
	Model   string
	Entity  []string         // names of the entity's fields
	Set     string           // of Inputs: see feedback.Prediction
	Inputs  []features.Field // the features by name, as view.feature, in the order of vectors
}

// ExamplesFolder returns the folder of a model's examples.
func ExamplesFolder(root, model string) string { return examplesOf(root, model).folder }

func examplesOf(root, model string) place {
	return place{filepath.Join(root, "examples_"+model), "examples of model " + model}
}

// NewExamples returns an archiver of a model's examples.
func NewExamples(root string, cluster *streams.Cluster, e Examples, o Options) (*Archiver, error) {
	return newArchiver(examplesOf(root, e.Model), cluster, e.source(), o, e.decoder)
}

// Read reads a model's examples as Events reads events: as rows of the columns
// that Fields lists.
func (e Examples) Read(ctx context.Context, root string) iter.Seq2[Row, error] {
	return read(ctx, examplesOf(root, e.Model), e.source())
}

// The places of the columns that every model has.
const (
	colKind = iota
	colSeq
	colID
	colSet
	colVersion
	colScore
	colShadowVersion
	colShadowScore
	colTime
	colOutcomeTime
	colKnown
	colLabel
	colCorrection
	colWhy
	colModel
	colEntity // the first
)

// Fields returns the table's columns in their order.
func (e Examples) Fields() []features.Field {
	fields := []features.Field{
		colKind:          {Name: "kind", Kind: expr.String},
		colSeq:           {Name: "seq", Kind: expr.Int},
		colID:            {Name: "id", Kind: expr.String},
		colSet:           {Name: "set", Kind: expr.String},
		colVersion:       {Name: "version", Kind: expr.Int},
		colScore:         {Name: "score", Kind: expr.Float},
		colShadowVersion: {Name: "shadow_version", Kind: expr.Int},
		colShadowScore:   {Name: "shadow_score", Kind: expr.Float},
		colTime:          {Name: "time", Kind: expr.Time},
		colOutcomeTime:   {Name: "outcome_time", Kind: expr.Time},
		colKnown:         {Name: "known", Kind: expr.Time},
		colLabel:         {Name: "label", Kind: expr.Float},
		colCorrection:    {Name: "correction", Kind: expr.Bool},
		colWhy:           {Name: "why", Kind: expr.String},
		colModel:         {Name: "model", Kind: expr.String},
	}
	fixed := slices.Clone(fields)
	for _, name := range e.Entity {
		if slices.ContainsFunc(fixed, func(f features.Field) bool { return f.Name == name || f.Name+"_valid" == name }) {
			name = "entity." + name
		}
		fields = append(fields, features.Field{Name: name, Kind: expr.String})
	}
	for _, in := range e.Inputs {
		fields = append(fields, features.Field{Name: in.Name, Kind: in.Kind})
	}
	return fields
}

// source describes the table as that of a source's events.
func (e Examples) source() features.Source {
	return features.Source{Name: "examples_" + e.Model, Topic: feedback.ExamplesTopic(e.Project), EventTime: "time", Fields: e.Fields()}
}

// decoder returns a decoder of one partition.
func (e Examples) decoder() (decoder, error) {
	inputs := colEntity + len(e.Entity)
	values := make([]features.Value, inputs+len(e.Inputs))
	return func(value []byte, ev *features.Event) (int64, error) {
		x, err := feedback.DecodeExample(value)
		if err != nil {
			return 0, err
		}
		if x.Kind == feedback.Passed || x.Prediction.Model != e.Model {
			return x.Seq, errOther
		}
		clear(values)
		fixedColumns(values, &x)
		for i, name := range e.Entity {
			for _, n := range x.Prediction.Entity {
				if n.Name == name {
					values[colEntity+i] = expr.StringValue(n.Expr)
				}
			}
		}
		if x.Prediction.Set == e.Set && len(x.Prediction.Vector) == len(e.Inputs) {
			for i, v := range x.Prediction.Vector {
				values[inputs+i] = asColumn(v, e.Inputs[i].Kind)
			}
		}
		ev.Time, ev.Values = x.Prediction.Time, values
		return x.Seq, nil
	}, nil
}

// fixedColumns sets the columns that every model has.
func fixedColumns(values []features.Value, x *feedback.Example) {
	p := &x.Prediction
	values[colKind] = expr.StringValue(string(x.Kind))
	values[colSeq] = expr.IntValue(x.Seq)
	values[colID] = expr.StringValue(p.ID)
	values[colSet] = expr.StringValue(p.Set)
	values[colVersion] = expr.IntValue(int64(p.Score.Version))
	values[colScore] = expr.FloatValue(p.Score.Value)
	if p.Shadow != nil {
		values[colShadowVersion] = expr.IntValue(int64(p.Shadow.Version))
		values[colShadowScore] = expr.FloatValue(p.Shadow.Value)
	}
	values[colTime] = expr.TimeValue(p.Time)
	values[colKnown] = expr.TimeValue(x.Known)
	values[colCorrection] = expr.BoolValue(x.Correction)
	values[colModel] = expr.StringValue(p.Model)
	if x.Kind == feedback.Unanswered {
		values[colWhy] = expr.StringValue(x.Why)
		return
	}
	values[colOutcomeTime] = expr.TimeValue(x.Happened)
	values[colLabel] = expr.FloatValue(x.Label)
}

// asColumn returns v as its column has it. A whole number is a float where the
// feature is one; NaN, and what is of another kind, is missing.
func asColumn(v features.Value, kind features.Kind) features.Value {
	switch {
	case v.Kind == expr.Int && kind == expr.Float:
		return expr.FloatValue(float64(v.Int()))
	case v.Kind != kind || kind == expr.Float && math.IsNaN(v.Float()):
		return features.Value{}
	}
	return v
}
