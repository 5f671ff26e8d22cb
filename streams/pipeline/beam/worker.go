package beam

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	sdk "github.com/apache/beam/sdks/v2/go/pkg/beam"

	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/streams/pipeline"
)

const (
	// stepLimit is how long a step goes on while there is more to apply. Without
	// ticks nothing is done for longer.
	stepLimit = 500 * time.Millisecond

	// stepWait bounds how long a step waits for the log and the store.
	stepWait = 5 * time.Second

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

// An owned part is stepped by one goroutine at a time, which holds its lock.
type owned struct {
	mu      sync.Mutex
	stepper *pipeline.Stepper
	began   time.Time // when the last step did
	idle    *time.Timer
	counted online.Progress // up to where the counts below go

	// What was done since a tick last took it, for the runner's counters.
	steps, applied, dead, stopped atomic.Int64
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
		o := &owned{stepper: s}
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

// tick begins a step, unless one goes on or has begun just now: each of the
// runner's tickers ticks for all parts. The step goes on beside the runner's bundle
// and may outlast it. If bundles waited for steps, ticks would queue behind them,
// and what has caught up would wait for what has not; and the SDK has one reader for
// all bundles of a process, which a slow one holds up.
func (o *owned) tick(ctx context.Context, interval time.Duration) {
	o.count(ctx)
	if !o.mu.TryLock() {
		return
	}
	if time.Since(o.began) < interval/2 {
		o.mu.Unlock()
		return
	}
	o.began = time.Now()
	go o.step(context.WithoutCancel(ctx))
}

func (o *owned) step(ctx context.Context) {
	defer o.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, stepWait)
	defer cancel()
	stopped := o.stepper.Stopped()
	o.stepper.Step(ctx, stepLimit)
	o.idle.Reset(idleAfter)
	o.steps.Add(1)
	if o.stepper.Stopped() && !stopped {
		o.stopped.Add(1)
	}
	// Where another owner has been at the part, the difference has what that one
	// did: the counters are for people.
	now := o.stepper.Status().Progress
	if o.counted.Cluster != "" && now.Next > o.counted.Next {
		o.applied.Add(now.Counts.Applied - o.counted.Counts.Applied)
		o.dead.Add(now.Counts.Dead - o.counted.Counts.Dead)
	}
	o.counted = now
}

var (
	counterSteps   = sdk.NewCounter("millrace", "steps")
	counterApplied = sdk.NewCounter("millrace", "applied")
	counterDead    = sdk.NewCounter("millrace", "dead_letters")
	counterStopped = sdk.NewCounter("millrace", "parts_stopped")
)

// count adds what was done to the runner's counters, which can be reached from
// its bundles alone.
func (o *owned) count(ctx context.Context) {
	counterSteps.Inc(ctx, o.steps.Swap(0))
	counterApplied.Inc(ctx, o.applied.Swap(0))
	counterDead.Inc(ctx, o.dead.Swap(0))
	counterStopped.Inc(ctx, o.stopped.Swap(0))
}
