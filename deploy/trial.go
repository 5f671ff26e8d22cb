package deploy

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/trainer/bundle"
)

// A trial is a version in shadow: has it scored enough beside the champion, and
// as its bundle says? It is pure.
type trial struct {
	model   *Model
	version int
	bundle  *bundle.Bundle

	scored   int    // predictions that the version has scored
	unscored int    // predictions without it: of servers that have not loaded it yet, or cannot
	fault    string // a score that is not the bundle's; empty: none
}

func (t *trial) enough() bool { return t.fault != "" || t.scored >= t.model.Steps.Shadow }

// take counts a prediction; nil, as of a record of another kind, is none. The
// server's score must be the bundle's to the last bit: arithmetic that differs a
// little is another model than the one that was judged.
func (t *trial) take(p *feedback.Prediction) {
	if t.enough() || p == nil || p.Model != t.model.Name {
		return
	}
	if p.Shadow == nil || p.Shadow.Version != t.version {
		t.unscored++
		return
	}
	want, err := t.bundle.Score(p.Vector)
	switch {
	case p.Shadow.Bundle != t.bundle.ID():
		t.fault = fmt.Sprintf("prediction %s: the server scored with bundle %.12s, and the version is bundle %.12s", p.ID, p.Shadow.Bundle, t.bundle.ID())
	case err != nil:
		t.fault = fmt.Sprintf("prediction %s: the server scored %v, and the bundle has no score: %v", p.ID, p.Shadow.Value, err)
	case want != p.Shadow.Value && !altered(p.Vector):
		t.fault = fmt.Sprintf("prediction %s: the server scored %v, and the bundle scores %v", p.ID, p.Shadow.Value, want)
	default:
		t.scored++
	}
}

// altered reports whether a vector may not be what the server saw: the log has
// U+FFFD for bytes of a text that are not UTF-8.
func altered(x []features.Value) bool {
	return slices.ContainsFunc(x, func(v features.Value) bool {
		return v.Kind == expr.String && strings.ContainsRune(v.Str, utf8.RuneError)
	})
}

// A trialReport is what a rollout in phase shadow has seen.
type trialReport struct {
	Scored   int `json:"scored"`   // predictions that the version has scored beside the champion
	Unscored int `json:"unscored"` // those that it has not: of servers that have not loaded it
	Awaited  int `json:"awaited"`  // how many more until it is the champion
}

func (t *trial) report() json.RawMessage {
	return encode(trialReport{t.scored, t.unscored, t.model.Steps.Shadow - t.scored})
}

// encode encodes a report, which has no value that JSON does not know.
func encode(report any) json.RawMessage {
	b, err := json.Marshal(report)
	if err != nil {
		panic(fmt.Sprintf("deploy: report %+v: %v", report, err))
	}
	return b
}
