package beam

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"sync"

	sdk "github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/offline"
)

// A Dataset describes bounded work: a training set of a view, which is made by
// shards: of each, the events and the probes are grouped, and answered on one
// worker. All workers reach the files by the same paths, Out's folder too.
//
// A runner holds a shard's events and probes in memory, as does the worker that
// answers it: as much as their part of the events, in a form of some 10 bytes for
// each value.
type Dataset struct {
	Name    string
	Project Project
	View    string
	Pieces  *offline.Pieces
}

// OpenPlan returns the plan of a project's view in a worker. The command sets it
// before the worker starts.
var OpenPlan func(p Project, view string) (*features.Plan, error)

// Pipeline returns the dataset's.
func (d Dataset) Pipeline() Pipeline {
	return Pipeline{Name: d.Name, Bounded: true, Build: d.build}
}

func (d Dataset) build(s sdk.Scope) error {
	w := datasetWork{Project: d.Project, View: d.View, Pieces: *d.Pieces}
	start := sdk.Impulse(s)
	sections := sdk.GroupByKey(s, sdk.ParDo(s.Scope("Sections"), &sectionsFn{Work: w}, start))
	events, readCounts := sdk.ParDo2(s.Scope("Events"), &eventsFn{Work: w}, sections)
	probes := sdk.ParDo(s.Scope("Probes"), &probesFn{Work: w}, start)
	shards := sdk.CoGroupByKey(s, events, probes)
	lines, counts := sdk.ParDo2(s.Scope("Answer"), &answerFn{Work: w}, shards)
	pages := sdk.ParDo(s.Scope("Pages"), &pageFn{Work: w}, sdk.GroupByKey(s, lines))
	all := sdk.GroupByKey(s, sdk.Flatten(s, readCounts, counts, pages))
	sdk.ParDo0(s.Scope("Finish"), &finishFn{Work: w}, all)
	return nil
}

// CountsFile is where the last stage writes what became of the events, as JSON,
// just before the dataset has its name.
func CountsFile(out string) string { return out + ".counts" }

// datasetWork is what each stage knows.
type datasetWork struct {
	Project Project
	View    string
	Pieces  offline.Pieces

	plan *features.Plan
}

func (w *datasetWork) open() (err error) {
	if OpenPlan == nil {
		return errors.New("beam: this program is no worker: it does not set OpenPlan")
	}
	w.plan, err = OpenPlan(w.Project, w.View)
	return err
}

// shownBad is how many of the events that a worker refuses it logs at a time.
const shownBad = 5

// refusals returns what logs the first events that are refused.
func refusals() func(*features.Event, error) {
	var mu sync.Mutex
	n := 0
	return func(_ *features.Event, why error) {
		mu.Lock()
		defer mu.Unlock()
		if n++; n <= shownBad {
			slog.Warn("an event is left out", "error", why)
		}
	}
}

// counted puts out counts, all under one key.
func counted(c offline.Counts, emit func(int64, []byte)) error {
	text, err := json.Marshal(c)
	if err == nil {
		emit(0, text)
	}
	return err
}

// A sectionsFn cuts the events into sections.
type sectionsFn struct{ Work datasetWork }

// Setup compiles the plan.
func (f *sectionsFn) Setup(context.Context) error { return f.Work.open() }

// ProcessElement puts out all sections, each by its number.
func (f *sectionsFn) ProcessElement(ctx context.Context, _ []byte, emit func(int64, []byte)) error {
	n := int64(0)
	return f.Work.Pieces.Sections(ctx, f.Work.plan, func(s offline.Section) error {
		text, err := json.Marshal(s)
		if err != nil {
			return err
		}
		emit(n, text)
		n++
		return nil
	})
}

// An eventsFn reads sections: those of a bundle together when it has all of them,
// as fillFn does.
type eventsFn struct {
	Work datasetWork

	todo []offline.Section
}

// Setup compiles the plan.
func (f *eventsFn) Setup(context.Context) error { return f.Work.open() }

// StartBundle forgets what a bundle before it has left.
func (f *eventsFn) StartBundle(context.Context, func(int64, []byte), func(int64, []byte)) {
	f.todo = nil
}

// ProcessElement takes a section.
func (f *eventsFn) ProcessElement(_ context.Context, n int64, texts func(*[]byte) bool, _, _ func(int64, []byte)) error {
	var text []byte
	if !texts(&text) {
		return fmt.Errorf("beam: section %d is empty", n)
	}
	var s offline.Section
	if err := json.Unmarshal(text, &s); err != nil {
		return err
	}
	f.todo = append(f.todo, s)
	return nil
}

// FinishBundle puts out the blocks of events by shard, and the counts.
func (f *eventsFn) FinishBundle(ctx context.Context, emit, emitCounts func(int64, []byte)) error {
	var mu sync.Mutex // of the emitters
	return together(ctx, f.todo, func(ctx context.Context, s offline.Section) error {
		c, err := f.Work.Pieces.Events(ctx, f.Work.plan, s, refusals(), func(shard int64, block []byte) error {
			mu.Lock()
			defer mu.Unlock()
			emit(shard, block)
			return nil
		})
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		return counted(c, emitCounts)
	})
}

// A probesFn reads the probes.
type probesFn struct{ Work datasetWork }

// Setup compiles the plan.
func (f *probesFn) Setup(context.Context) error { return f.Work.open() }

// ProcessElement puts out the blocks of probes by shard.
func (f *probesFn) ProcessElement(ctx context.Context, _ []byte, emit func(int64, []byte)) error {
	return f.Work.Pieces.ProbeBlocks(ctx, f.Work.plan, func(shard int64, block []byte) error {
		emit(shard, block)
		return nil
	})
}

// An answerFn answers the probes of shards.
type answerFn struct{ Work datasetWork }

// Setup compiles the plan.
func (f *answerFn) Setup(context.Context) error { return f.Work.open() }

// ProcessElement puts out the lines of a shard's probes by page, and the counts.
func (f *answerFn) ProcessElement(ctx context.Context, shard int64, events, probes func(*[]byte) bool, emit, emitCounts func(int64, []byte)) error {
	c, err := f.Work.Pieces.Answer(ctx, f.Work.plan, shard, all(events), all(probes), refusals(), func(page int64, block []byte) error {
		emit(page, block)
		return nil
	})
	if err != nil {
		return err
	}
	return counted(c, emitCounts)
}

func all(next func(*[]byte) bool) (blocks [][]byte) {
	for b := []byte(nil); next(&b); b = nil {
		blocks = append(blocks, b)
	}
	return blocks
}

// A pageFn writes the pages of the dataset.
type pageFn struct{ Work datasetWork }

// Setup compiles the plan.
func (f *pageFn) Setup(context.Context) error { return f.Work.open() }

// ProcessElement writes a page. It puts out no counts, but so that the last stage
// comes after it.
func (f *pageFn) ProcessElement(page int64, blocks func(*[]byte) bool, emit func(int64, []byte)) error {
	if err := f.Work.Pieces.WritePage(page, all(blocks)); err != nil {
		return err
	}
	return counted(offline.Counts{}, emit)
}

// A finishFn puts the pages together.
type finishFn struct{ Work datasetWork }

// Setup compiles the plan.
func (f *finishFn) Setup(context.Context) error { return f.Work.open() }

// ProcessElement adds up the counts and writes the dataset.
func (f *finishFn) ProcessElement(ctx context.Context, _ int64, texts func(*[]byte) bool) error {
	var total offline.Counts
	for _, text := range all(texts) {
		var c offline.Counts
		if err := json.Unmarshal(text, &c); err != nil {
			return err
		}
		total.Add(c)
	}
	text, err := json.Marshal(total)
	if err != nil {
		return err
	}
	if err := os.WriteFile(CountsFile(f.Work.Pieces.Files.Out), text, 0o644); err != nil {
		return fmt.Errorf("beam: %w", err)
	}
	return f.Work.Pieces.Finish(ctx, f.Work.plan)
}

func init() { // Beam finds types by their registered names
	register.DoFn3x1[context.Context, []byte, func(int64, []byte), error](&sectionsFn{})
	register.DoFn5x1[context.Context, int64, func(*[]byte) bool, func(int64, []byte), func(int64, []byte), error](&eventsFn{})
	register.DoFn3x1[context.Context, []byte, func(int64, []byte), error](&probesFn{})
	register.DoFn6x1[context.Context, int64, func(*[]byte) bool, func(*[]byte) bool, func(int64, []byte), func(int64, []byte), error](&answerFn{})
	register.DoFn3x1[int64, func(*[]byte) bool, func(int64, []byte), error](&pageFn{})
	register.DoFn3x1[context.Context, int64, func(*[]byte) bool, error](&finishFn{})
	register.Emitter2[int64, []byte]()
	register.Iter1[[]byte]()
	sdk.RegisterType(reflect.TypeFor[datasetWork]())
}
