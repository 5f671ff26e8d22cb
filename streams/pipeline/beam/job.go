// Package beam runs the pipeline of a project on Apache Beam: on Flink, and on
// Beam's own Prism for tests.
//
// The pipeline is a ticker, one key for each part of the work, and a DoFn that
// does a step of that part at each tick: see DESIGN.md for why it has this shape
// and no other. The runner schedules the parts, moves them and starts them again;
// where each goes on is in the online store, and in no state or checkpoint of
// the runner.
package beam

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"time"

	sdk "github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/state"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/typex"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/transforms/periodic"

	"github.com/millrace/millrace/streams/pipeline"
)

// A Job describes the pipeline of a project.
type Job struct {
	Name    string          // of the job
	Project Project         // travels to the workers
	Parts   []pipeline.Part // of the project: pipeline.Host.Parts
	Tick    time.Duration   // how often each part is stepped, at least 1 ms
	Ticker  Ticker
}

// A Project is a project file as it travels to the workers. It holds no secret:
// passwords are in the environment of the workers.
type Project struct {
	File    []byte // its content
	Name    string // its path, from whose folder relative ones go out
	Options string // for Open, of those who start the job
}

// Open opens a project's engines in a worker and returns a host of its views,
// and what closes them. The command sets it before the worker starts.
var Open func(ctx context.Context, p Project) (*pipeline.Host, func() error, error)

// A Ticker makes the ticks.
type Ticker string

// The tickers. Flink has one of its own, which keeps no state that grows; the
// other is a splittable DoFn of the SDK, whose checkpoints would grow on Flink.
const (
	FlinkTicker    Ticker = "flink"
	PeriodicTicker Ticker = "periodic"
)

// Build adds the pipeline to a scope.
func Build(s sdk.Scope, j Job) error {
	if j.Tick < time.Millisecond {
		return fmt.Errorf("beam: tick %v: at least 1ms", j.Tick)
	}
	var ticks sdk.PCollection
	switch j.Ticker {
	case FlinkTicker:
		config, err := json.Marshal(map[string]int64{"interval_ms": j.Tick.Milliseconds(), "message_count": 0})
		if err != nil {
			return err
		}
		ticks = sdk.External(s.Scope("Ticks"), "flink:transform:streaming_impulse:v1", config, nil, []sdk.FullType{typex.New(reflect.TypeFor[[]byte]())}, false)[0]
	case PeriodicTicker:
		now := time.Now()
		ticks = periodic.Impulse(s.Scope("Ticks"), now, now.AddDate(10, 0, 0), j.Tick, false)
	default:
		return fmt.Errorf("beam: no ticker %q", j.Ticker)
	}
	keyed := sdk.ParDo(s.Scope("Parts"), &tickFn{Parts: len(j.Parts)}, ticks)
	sdk.ParDo0(s.Scope("Steps"), &stepFn{Project: j.Project, Parts: j.Parts, Tick: j.Tick, Route: state.MakeValueState[int64]("route")}, keyed)
	return nil
}

// A tickFn makes of each tick one for each part.
type tickFn struct {
	Parts int
}

// ProcessElement gives each part a tick.
func (f *tickFn) ProcessElement(_ []byte, emit func(int64, int64)) {
	for part := range f.Parts {
		emit(int64(part), 0)
	}
}

// A stepFn does a step of a part. A runner gives all ticks of a key to one
// instance at a time only where the DoFn has state: Route is never used.
type stepFn struct {
	Project Project
	Parts   []pipeline.Part
	Tick    time.Duration
	Route   state.Value[int64]

	worker *worker
}

// Setup opens the project's engines, once in a process.
func (f *stepFn) Setup(ctx context.Context) error {
	var err error
	f.worker, err = open(ctx, f.Project, f.Parts)
	return err
}

// ProcessElement begins a step. Outages, and parts that have stopped and need a
// person, are no reason to fail: the runner would start all parts again, and nothing
// would be better.
func (f *stepFn) ProcessElement(ctx context.Context, _ state.Provider, part, _ int64) error {
	if part < 0 || part >= int64(len(f.Parts)) {
		return fmt.Errorf("beam: a tick for part %d of %d", part, len(f.Parts))
	}
	f.worker.parts[part].tick(ctx, f.Tick)
	return nil
}

func init() { // Beam finds types by their registered names
	register.DoFn2x0[[]byte, func(int64, int64)](&tickFn{})
	register.DoFn4x1[context.Context, state.Provider, int64, int64, error](&stepFn{})
	register.Emitter2[int64, int64]()
	sdk.RegisterType(reflect.TypeFor[Project]())
}
