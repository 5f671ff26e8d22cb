package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/streams"
)

// Limits of a shard.
const (
	commitDelay   = 500 * time.Millisecond // how long applied events may stay uncommitted while there are more to read
	commitRecords = 200_000                // and how many; a crash replays at most these
	commitBytes   = 32 << 20               // and of how large rows, about
	poisonInARow  = 10                     // records in a row that panic before the shard stops
	confirmEvery  = time.Second            // how often an idle shard looks at the store
)

// A follower follows one partition of a topic from the progress in the store.
// What its worker makes of the records is committed with the progress.
type follower struct {
	host   *Host
	topic  string
	shard  online.Shard
	status *tracked
	rest   string // what else has to go where the log is another: see sameLog

	poison map[int64]string // offsets whose record made the code panic, with the panic

	// What follows is one attempt's: from the stored progress to the first error.
	reader *streams.Reader
	state  online.State
	dead   outbox
	done   int64 // records since the last commit
	since  time.Time
	at     int64 // offset of the record that is being applied; -1: what is being done is not about one

	confirmed time.Time // when the store last proved to be where the shard left it
}

// A worker makes rows of a follower's records. Its methods are called one after
// another.
type worker interface {
	// restore forgets everything and begins at the follower's state.
	restore(ctx context.Context) error
	// apply applies records, which are in offset order, and may commit.
	apply(ctx context.Context, records []streams.Record) error
	// commit commits what was applied.
	commit(ctx context.Context) error
}

func newFollower(h *Host, shard online.Shard, s Status) follower {
	s.Phase = Starting
	return follower{host: h, topic: s.Topic, shard: shard, status: h.track(s), poison: map[int64]string{}}
}

// A stopError needs a person: the shard stays stopped until the process is
// started again.
type stopError struct{ why string }

func (e *stopError) Error() string { return e.why }

func stopf(format string, args ...any) error { return &stopError{fmt.Sprintf(format, args...)} }

// errAgain starts a new attempt at once.
var errAgain = errors.New("again")

// follow applies the partition until ctx ends, or until it must stop.
func (f *follower) follow(ctx context.Context, w worker) {
	defer f.host.untrack(f.status)
	runAttempts(ctx, f.host, f.status, func(ctx context.Context) error { return f.attempt(ctx, w) })
}

// runAttempts calls attempt until ctx ends. A shard that must stop stays in the
// status, so that people see why.
func runAttempts(ctx context.Context, h *Host, status *tracked, attempt func(context.Context) error) {
	var wait pause
	for ctx.Err() == nil {
		began := time.Now()
		err := attempt(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > 10*time.Second {
			wait = 0
		}
		next, stopped := h.failed(status, err, wait)
		if stopped {
			<-ctx.Done()
			return
		}
		if wait = next; wait > 0 {
			wait.sleep(ctx)
		}
	}
}

// failed notes why an attempt has ended, and returns how long to wait before the
// next, after a wait before this one, or that there must be none.
func (h *Host) failed(status *tracked, err error, waited pause) (wait pause, stopped bool) {
	log := h.cfg.Log.With("stage", status.Stage, "view", status.View, "topic", status.Topic, "partition", status.Partition)
	var stop *stopError
	var conflict *online.Conflict
	switch {
	case errors.Is(err, errAgain):
		return 0, false
	case errors.As(err, &stop):
		log.Error("stopped", "why", stop.why)
		h.update(status, func(s *Status) { s.Phase, s.Problem = Stopped, stop.why })
		return 0, true
	case errors.As(err, &conflict):
		log.Warn("another owner has committed; starting again from the store in a second", "error", err)
		wait = pause(time.Second)
	default:
		log.Warn("waiting to try again", "error", err)
		wait = waited.next()
	}
	h.update(status, func(s *Status) { s.Phase, s.Problem = Waiting, err.Error() })
	return wait, false
}

// attempt goes on from the stored progress until something fails.
func (f *follower) attempt(ctx context.Context, w worker) error {
	if err := f.open(ctx, w); err != nil {
		return err
	}
	defer f.close()
	for {
		batch, err := f.reader.Fetch(ctx)
		if err != nil {
			return explain(err)
		}
		if err := f.turn(ctx, w, batch, commitDelay); err != nil {
			return err
		}
	}
}

// open goes to the stored progress.
func (f *follower) open(ctx context.Context, w worker) error {
	if err := f.begin(ctx, w); err != nil {
		return err
	}
	f.reader = f.host.cfg.Cluster.Reader(f.topic, f.shard.Index, f.state.Progress.Next)
	f.status.follow(f.reader)
	began := f.state.Progress
	began.Origins = slices.Clone(began.Origins)
	f.host.update(f.status, func(s *Status) { s.Phase, s.Problem, s.Progress = Running, "", began })
	return nil
}

func (f *follower) close() {
	if f.reader == nil {
		return
	}
	f.status.follow(nil)
	f.reader.Close()
	f.reader = nil
}

// turn has a batch applied, and what was applied committed: at the log's end, and
// where some of it has waited for so long.
func (f *follower) turn(ctx context.Context, w worker, batch streams.Batch, delay time.Duration) error {
	if err := f.take(ctx, w, batch.Records); err != nil {
		return err
	}
	caughtUp := batch.Next >= batch.HighWater
	if f.done > 0 && (caughtUp || f.done >= commitRecords || time.Since(f.since) >= delay) {
		if err := w.commit(ctx); err != nil {
			return err
		}
	}
	if len(batch.Records) == 0 {
		if err := f.confirm(ctx); err != nil {
			return err
		}
	}
	end := batch.HighWater
	if caughtUp && f.done == 0 {
		end = f.state.Progress.Next // what may follow in the log are marks of transactions
	}
	f.host.update(f.status, func(s *Status) { s.HighWater = end })
	return nil
}

// begin takes the state from the store and makes sure that the log is the one
// that it is about.
func (f *follower) begin(ctx context.Context, w worker) error {
	state, err := f.host.cfg.Store.State(ctx, f.shard)
	if err != nil {
		return fmt.Errorf("the store does not answer: %w", err)
	}
	if state.Token == (online.Token{}) {
		state.Progress = online.Progress{Cluster: f.host.cluster, Topic: f.topic, Newest: features.NoTime}
	}
	state.Progress.Origins = slices.Clone(state.Progress.Origins)
	f.state, f.done = state, 0
	f.dead = outbox{host: f.host, topic: DeadLetters(f.host.cfg.Project)}
	if err := w.restore(ctx); err != nil {
		return err
	}
	return sameLog(ctx, f.host, f.topic, f.shard.Index, &f.state, f.rest)
}

// take has records applied. A panic ends the attempt; the next one buries the
// record that caused it.
func (f *follower) take(ctx context.Context, w worker, records []streams.Record) (err error) {
	if len(records) == 0 {
		return nil
	}
	if f.done == 0 {
		f.since = time.Now()
	}
	defer func() {
		if cause := recover(); cause != nil {
			err = f.poisoned(cause)
		}
	}()
	return w.apply(ctx, records)
}

func (f *follower) poisoned(cause any) error {
	if _, known := f.poison[f.at]; known || f.at < 0 {
		return stopf("the program panicked, and not because of one record: %v", cause)
	}
	f.poison[f.at] = fmt.Sprint(cause)
	f.host.cfg.Log.Error("a record made the program panic; it becomes a dead letter", "stage", f.status.Stage, "view", f.status.View, "topic", f.topic, "partition", f.shard.Index, "offset", f.at, "panic", cause)
	for n := int64(1); n < poisonInARow; n++ {
		if _, ok := f.poison[f.at-n]; !ok {
			return errAgain
		}
	}
	return stopf("%d records in a row, up to offset %d, made the program panic, the last with: %v", poisonInARow, f.at, cause)
}

// bury gathers a record for the dead letters, as refused for a view or model.
func (f *follower) bury(ctx context.Context, view string, rec *streams.Record, why *features.Rejection) error {
	at := f.status.Status
	at.View = view
	letter, err := deadLetter(&at, rec, why)
	if err != nil {
		return err
	}
	return f.dead.add(ctx, letter)
}

// commitRows writes the dead letters, then the rows with the progress, which is
// the store's and the status's from then on.
func (f *follower) commitRows(ctx context.Context, writes []online.Write, progress online.Progress) error {
	if err := f.dead.flush(ctx); err != nil {
		return err
	}
	c := online.Commit{Shard: f.shard, Expect: f.state.Token, Next: online.NewToken(), Writes: writes, Progress: progress}
	if err := commitOnce(ctx, f.host, f.status, &c); err != nil {
		return err
	}
	f.state.Token, f.done = c.Next, 0
	maps.DeleteFunc(f.poison, func(offset int64, _ string) bool { return offset < progress.Next-poisonInARow })
	f.host.update(f.status, func(s *Status) { s.Phase, s.Problem, s.Progress = Running, "", progress })
	return nil
}

// confirm makes sure from time to time, while there is nothing to apply, that
// the store is where the shard left it. A store that has lost its tail is given
// it again without waiting for another event, and one that is away is reported.
func (f *follower) confirm(ctx context.Context) error {
	if time.Since(f.confirmed) < confirmEvery {
		return nil
	}
	state, err := f.host.cfg.Store.State(ctx, f.shard)
	if err != nil {
		return fmt.Errorf("the store does not answer: %w", err)
	}
	if state.Token != f.state.Token {
		return &online.Conflict{Shard: f.shard, Found: state.Token}
	}
	f.confirmed = time.Now()
	return nil
}
