package beam

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	sdk "github.com/apache/beam/sdks/v2/go/pkg/beam"

	"github.com/millrace/millrace/streams/pipeline"
)

const (
	// stepWait bounds how long a step waits for the log and the store: other
	// parts of its subtask wait behind it.
	stepWait = 3 * time.Second

	// idleAfter is how long a part may be without a tick before it is closed:
	// the runner has given it to another worker.
	idleAfter = 10 * time.Second
)

// A worker is what a process does of a project. The instances of the DoFns that
// the SDK makes in it share it: they are as many as bundles at a time, and come
// and go.
type worker struct {
	host  *pipeline.Host
	parts []*owned
}

// An owned part is stepped by one goroutine at a time.
type owned struct {
	mu      sync.Mutex // held for a step
	stepper *pipeline.Stepper
	stale   staleness
	idle    *time.Timer // closes the stepper
	counted pipeline.Status
}

var workers struct {
	sync.Mutex
	all map[[sha256.Size]byte]*worker
}

// open returns the worker of a project in this process, and makes the first. If
// its engines cannot be reached that is an error, and the runner tries again.
func open(ctx context.Context, p Project, parts []pipeline.Part) (*worker, error) {
	text, err := json.Marshal([]any{p, parts})
	if err != nil {
		return nil, err
	}
	id := sha256.Sum256(text)
	workers.Lock()
	defer workers.Unlock()
	if w := workers.all[id]; w != nil {
		return w, nil
	}
	if Open == nil {
		return nil, errors.New("beam: this program is no worker: it does not set Open")
	}
	host, closeAll, err := Open(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("beam: the worker cannot open what the project runs on: %w", err)
	}
	w, err := newWorker(ctx, host, parts)
	if err != nil {
		return nil, errors.Join(err, closeAll())
	}
	if workers.all == nil {
		workers.all = map[[sha256.Size]byte]*worker{}
	}
	workers.all[id] = w
	return w, nil
}

func newWorker(ctx context.Context, host *pipeline.Host, parts []pipeline.Part) (*worker, error) {
	if err := host.Prepare(ctx); err != nil {
		return nil, err
	}
	w := &worker{host: host}
	for _, part := range parts {
		s, err := host.Stepper(part)
		if err != nil {
			return nil, err
		}
		o := &owned{stepper: s, stale: newStaleness()}
		o.idle = time.AfterFunc(idleAfter, o.close)
		w.parts = append(w.parts, o)
	}
	return w, nil
}

func (o *owned) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.stepper.Close()
}

var (
	counterTicks   = sdk.NewCounter("millrace", "ticks")
	counterStale   = sdk.NewCounter("millrace", "ticks_dropped")
	counterApplied = sdk.NewCounter("millrace", "applied")
	counterDead    = sdk.NewCounter("millrace", "dead_letters")
)

// tick does a step of a part, unless a newer one has come since the tick was
// made or another goroutine is at it.
func (w *worker) tick(ctx context.Context, part int, stamp int64) error {
	counterTicks.Inc(ctx, 1)
	o := w.parts[part]
	if !o.mu.TryLock() {
		counterStale.Inc(ctx, 1)
		return nil
	}
	defer o.mu.Unlock()
	now := time.Now().UnixNano()
	if o.stale.drop(stamp, now) {
		counterStale.Inc(ctx, 1)
		return nil
	}
	o.idle.Reset(idleAfter)
	bounded, cancel := context.WithTimeout(ctx, stepWait)
	defer cancel()
	err := o.stepper.Step(bounded, stepLimit)
	o.count(ctx)
	return err
}

// count adds what the step has done to the runner's counters. After another
// owner has been at the part they jump: they are for people.
func (o *owned) count(ctx context.Context) {
	s := o.stepper.Status()
	if s.Progress.Next > o.counted.Progress.Next && o.counted.Progress.Next > 0 {
		counterApplied.Inc(ctx, s.Progress.Counts.Applied-o.counted.Progress.Counts.Applied)
		counterDead.Inc(ctx, s.Progress.Counts.Dead-o.counted.Progress.Counts.Dead)
	}
	o.counted = s
}
