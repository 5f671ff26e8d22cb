package whatif

import (
	"context"
	"crypto/ed25519"
	"errors"
	"time"

	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/trainer/bundle"
	"github.com/millrace/millrace/trainer/eval"
	"github.com/millrace/millrace/trainer/learn"
)

// A Model is what is asked about.
type Model struct {
	Name   string
	Task   learn.Task
	Inputs []bundle.Input   // what it sees, in the order of vectors
	Entity []features.Field // whom it is about: the entity fields of its views
	Label  feedback.Label   // with its defaults
	Gate   eval.Gate        // with its defaults: the past is compared as candidates are
}

// A Config is what a Lab needs.
type Config struct {
	Project  string
	Models   []Model
	Plans    []*features.Plan                    // of all views
	Views    []features.View                     // as they are written: one that gives a window no hop lets a changed one choose its own
	Lake     string                              // its root; empty: the project has none
	Bundles  string                              // the directory of the bundles
	Registry *registry.Registry                  // says which version serves; nil: none does yet
	Trusted  func() ([]ed25519.PublicKey, error) // asked before a bundle is opened, for keys come and go

	// ParseLength reads a window's length, as the project file writes it.
	ParseLength func(string) (time.Duration, error)

	Memory int64         // bytes of events and vectors that are kept for the next question, about; default 256 MiB
	Limit  time.Duration // for how long a question may take; default five minutes
}

// A Lab answers questions. Its methods may be called by several goroutines; it
// answers one question at a time.
type Lab struct{ cfg Config }

// New returns a Lab.
func New(cfg Config) *Lab { return &Lab{cfg: cfg} }

// Ask answers a question. Progress may be nil; it is called while the lake is
// read, with how many records have been passed of how many.
func (l *Lab) Ask(ctx context.Context, q Question, progress func(done, of int64)) (*Answer, error) {
	return nil, errors.New("whatif: not yet")
}

// Knobs returns what a question about a model can change, nil where there is no
// such model: windows first, by the order of the model's inputs.
func (l *Lab) Knobs(model string) []Knob { return nil }

// Entities returns whom the newest past examples of a model are about, sorted, at
// most limit of them.
func (l *Lab) Entities(ctx context.Context, model string, limit int) ([]map[string]string, error) {
	return nil, errors.New("whatif: not yet")
}
