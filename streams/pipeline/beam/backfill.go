package beam

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"

	sdk "github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/register"

	"github.com/millrace/millrace/streams/pipeline"
)

// A Backfill describes bounded work: to fill the row spaces of views up to
// offsets that are fixed when the job is made. It ends by itself.
//
// Where a part goes on is in the online store, as with a Job. A part that the
// runner does again goes on from there.
type Backfill struct {
	Name    string
	Project Project
	Fills   []pipeline.Range // of views whose topic is there
	Rekeys  []Rekey
	Lake    string // where the lake is on the workers, for what the log no longer has; empty: it is not used
}

// A Rekey is the re-keying of a source and the parts of views that are applied
// from what it writes: up to where it ends.
type Rekey struct {
	Range pipeline.Range
	Parts []pipeline.Part
}

// Pipeline returns the backfill's.
func (b Backfill) Pipeline() Pipeline {
	return Pipeline{Name: b.Name, Bounded: true, Build: b.build}
}

func (b Backfill) build(s sdk.Scope) error {
	if len(b.Fills)+len(b.Rekeys) == 0 {
		return errors.New("beam: a backfill of nothing")
	}
	start := sdk.Impulse(s)
	if len(b.Fills) > 0 {
		fill := &fillFn{Project: b.Project, Lake: b.Lake}
		first := &startFn{}
		for _, r := range b.Fills {
			fill.Parts = append(fill.Parts, r.Part)
			first.Values = append(first.Values, r.Ends[0])
		}
		s := s.Scope("Fill")
		sdk.ParDo0(s, fill, sdk.GroupByKey(s, sdk.ParDo(s, first, start)))
	}
	if len(b.Rekeys) > 0 {
		rekey := &rekeyFn{Project: b.Project, Rekeys: b.Rekeys}
		after := &fillFn{Project: b.Project}
		for _, r := range b.Rekeys {
			after.Parts = append(after.Parts, r.Parts...)
		}
		s := s.Scope("Rekey")
		rekeyed := sdk.ParDo(s, rekey, sdk.GroupByKey(s, sdk.ParDo(s, &startFn{Values: make([]int64, len(b.Rekeys))}, start)))
		// Grouping waits for a topic to be written before its end is looked at.
		ends := sdk.ParDo(s, &endsFn{Project: b.Project, Rekeys: b.Rekeys}, sdk.GroupByKey(s, rekeyed))
		sdk.ParDo0(s, after, sdk.GroupByKey(s, ends))
	}
	return nil
}

// A startFn makes the elements that a job begins with, each with its place as
// the key, by which the runner spreads them.
type startFn struct {
	Values []int64
}

// ProcessElement makes all elements.
func (f *startFn) ProcessElement(_ []byte, emit func(int64, int64)) {
	for i, v := range f.Values {
		emit(int64(i), v)
	}
}

// slots bounds how many parts of a process are worked at together: each may
// hold a few hundred MB of rows.
var slots = make(chan struct{}, runtime.GOMAXPROCS(0))

// together does work for each item, several at a time, and returns all errors.
// The first one ends the others.
func together[T any](ctx context.Context, items []T, do func(context.Context, T) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, len(items))
	var wg sync.WaitGroup
	for i, item := range items {
		wg.Go(func() {
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				errs[i] = ctx.Err()
				return
			}
			defer func() { <-slots }()
			if errs[i] = do(ctx, item); errs[i] != nil {
				cancel()
			}
		})
	}
	wg.Wait()
	cause := slices.DeleteFunc(slices.Clone(errs), func(err error) bool { return err == nil || errors.Is(err, context.Canceled) })
	if len(cause) > 0 {
		return errors.Join(cause...)
	}
	return errors.Join(errs...)
}

var counterFilled = sdk.NewCounter("millrace", "parts_filled")

// A fillFn fills parts up to their ends. It does the parts of a bundle together
// when it has all of them: one after another they would leave cores idle, and the
// SDK has one reader for all bundles of a process, which must not wait for one.
type fillFn struct {
	Project Project
	Parts   []pipeline.Part
	Lake    string

	worker *worker
	todo   []pipeline.Range
}

// Setup opens the project's engines, once in a process.
func (f *fillFn) Setup(ctx context.Context) (err error) {
	f.worker, err = open(ctx, f.Project, nil)
	return err
}

// StartBundle forgets what a bundle before it has left.
func (f *fillFn) StartBundle(context.Context) { f.todo = nil }

// ProcessElement takes a part and its end.
func (f *fillFn) ProcessElement(_ context.Context, part int64, ends func(*int64) bool) error {
	var end int64
	if part < 0 || part >= int64(len(f.Parts)) || !ends(&end) {
		return fmt.Errorf("beam: part %d of %d, without an end", part, len(f.Parts))
	}
	f.todo = append(f.todo, pipeline.Range{Part: f.Parts[part], Ends: []int64{end}})
	return nil
}

// FinishBundle fills the parts.
func (f *fillFn) FinishBundle(ctx context.Context) error {
	err := together(ctx, f.todo, func(ctx context.Context, r pipeline.Range) error {
		if f.Lake != "" {
			return f.worker.host.Refill(ctx, r, f.Lake)
		}
		return f.worker.host.Fill(ctx, r)
	})
	if err == nil {
		counterFilled.Inc(ctx, int64(len(f.todo))) // not in the goroutines: a bundle's counters are for one
	}
	return err
}

// A rekeyFn re-keys sources up to their ends.
type rekeyFn struct {
	Project Project
	Rekeys  []Rekey

	worker *worker
	todo   []int64
}

// Setup opens the project's engines, once in a process.
func (f *rekeyFn) Setup(ctx context.Context) (err error) {
	f.worker, err = open(ctx, f.Project, nil)
	return err
}

// StartBundle forgets what a bundle before it has left.
func (f *rekeyFn) StartBundle(context.Context, func(int64, int64)) { f.todo = nil }

// ProcessElement takes a source.
func (f *rekeyFn) ProcessElement(_ context.Context, i int64, _ func(*int64) bool, _ func(int64, int64)) error {
	if i < 0 || i >= int64(len(f.Rekeys)) {
		return fmt.Errorf("beam: source %d of %d", i, len(f.Rekeys))
	}
	f.todo = append(f.todo, i)
	return nil
}

// FinishBundle re-keys the sources, and puts out which are done.
func (f *rekeyFn) FinishBundle(ctx context.Context, emit func(int64, int64)) error {
	err := together(ctx, f.todo, func(ctx context.Context, i int64) error { return f.worker.host.Fill(ctx, f.Rekeys[i].Range) })
	if err != nil {
		return err
	}
	for _, i := range f.todo {
		emit(i, 0)
	}
	return nil
}

// An endsFn looks where re-keyed topics end when all that was asked for is in
// them.
type endsFn struct {
	Project Project
	Rekeys  []Rekey

	worker *worker
}

// Setup opens the project's engines, once in a process.
func (f *endsFn) Setup(ctx context.Context) (err error) {
	f.worker, err = open(ctx, f.Project, nil)
	return err
}

// ProcessElement puts out the end of each part of a re-keyed topic. Parts are
// numbered through all of them.
func (f *endsFn) ProcessElement(ctx context.Context, i int64, _ func(*int64) bool, emit func(int64, int64)) error {
	number := int64(0)
	for _, before := range f.Rekeys[:i] {
		number += int64(len(before.Parts))
	}
	for _, part := range f.Rekeys[i].Parts {
		r, err := f.worker.host.Range(ctx, part)
		if err != nil {
			return err
		}
		emit(number, r.Ends[0])
		number++
	}
	return nil
}

func init() { // Beam finds types by their registered names
	register.DoFn2x0[[]byte, func(int64, int64)](&startFn{})
	register.DoFn3x1[context.Context, int64, func(*int64) bool, error](&fillFn{})
	register.DoFn4x1[context.Context, int64, func(*int64) bool, func(int64, int64), error](&rekeyFn{})
	register.DoFn4x1[context.Context, int64, func(*int64) bool, func(int64, int64), error](&endsFn{})
	register.Iter1[int64]()
}
