package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/codec"
)

// Limits of a processor.
const (
	commitDelay     = 500 * time.Millisecond // how long applied events may stay uncommitted while there are more to read
	commitRecords   = 200_000                // and how many; a crash replays at most these
	commitBytes     = 32 << 20               // and of how large rows, about
	cachedRows      = 50_000                 // rows in the younger half of the cache
	cachedBytes     = 64 << 20               // and their size, about
	deadLetterRoom  = 500                    // dead letters in memory
	deadLetterBytes = 8 << 20                // and their size
	poisonInARow    = 10                     // records in a row that panic before the shard stops
	confirmEvery    = time.Second            // how often an idle shard looks at the store
)

// A processor applies one partition of a view's topic.
type processor struct {
	host   *Host
	plan   *features.Plan
	topic  string
	shard  online.Shard
	log    uint64 // of a re-keyed topic: what the origins of our source say
	status *tracked

	poison map[int64]string // offsets whose record made the code panic, with the panic

	// What follows is one attempt's: from the stored progress to the first error.
	state   online.State
	core    *features.Shard
	decoder *codec.Decoder
	cache   rowCache
	dirty   []*entry
	dead    []streams.Record

	dirtyBytes, deadBytes int

	events  []features.Event
	rows    []*entry              // of events
	refused []*features.Rejection // by decode; nil: to be applied
	key     []byte
	load    []online.Key
	encode  []byte
	done    int64 // records since the last commit
	since   time.Time
	at      int64 // offset of the record that is being applied; -1: what is being done is not about one

	confirmed time.Time // when the store last proved to be where the shard left it
}

// An entry is a row in memory.
type entry struct {
	entity string
	row    *features.Row
	bytes  int // its size when it was last looked at
	dirty  bool
}

func newProcessor(h *Host, plan *features.Plan, partition int) *processor {
	p := &processor{
		host: h, plan: plan, topic: plan.Topic(h.cfg.Project), poison: map[int64]string{},
		shard: online.Shard{Space: plan.Space(h.cfg.Project), Index: partition},
		log:   logHash(h.cluster, plan.Source.Topic),
	}
	p.status = h.track(Status{View: plan.View.Name, Space: p.shard.Space, Stage: "pipeline", Topic: p.topic, Partition: partition, Phase: Starting})
	return p
}

// A stopError needs a person: the shard stays stopped until the process is
// started again.
type stopError struct{ why string }

func (e *stopError) Error() string { return e.why }

func stopf(format string, args ...any) error { return &stopError{fmt.Sprintf(format, args...)} }

// errAgain starts a new attempt at once.
var errAgain = errors.New("again")

// run applies the partition until ctx ends, or until it must stop.
func (p *processor) run(ctx context.Context) {
	defer p.host.untrack(p.status)
	runAttempts(ctx, p.host, p.status, p.attempt)
}

// runAttempts calls attempt until ctx ends. A shard that must stop stays in the
// status, so that people see why.
func runAttempts(ctx context.Context, h *Host, status *tracked, attempt func(context.Context) error) {
	log := h.cfg.Log.With("stage", status.Stage, "view", status.View, "topic", status.Topic, "partition", status.Partition)
	for wait := pause(0); ctx.Err() == nil; {
		began := time.Now()
		err := attempt(ctx)
		if ctx.Err() != nil {
			return
		}
		var stop *stopError
		var conflict *online.Conflict
		switch {
		case errors.Is(err, errAgain):
			continue
		case errors.As(err, &stop):
			log.Error("stopped", "why", stop.why)
			h.update(status, func(s *Status) { s.Phase, s.Problem = Stopped, stop.why })
			<-ctx.Done()
			return
		case errors.As(err, &conflict):
			log.Warn("another owner has committed; starting again from the store in a second", "error", err)
			wait = pause(time.Second)
		default:
			log.Warn("waiting to try again", "error", err)
			if time.Since(began) > 10*time.Second {
				wait = 0
			}
			wait = wait.next()
		}
		h.update(status, func(s *Status) { s.Phase, s.Problem = Waiting, err.Error() })
		wait.sleep(ctx)
	}
}

// attempt goes on from the stored progress until something fails.
func (p *processor) attempt(ctx context.Context) error {
	if err := p.restore(ctx); err != nil {
		return err
	}
	reader, err := p.open(ctx)
	if err != nil {
		return err
	}
	defer reader.Close()
	p.status.follow(reader)
	defer p.status.follow(nil)
	began := p.state.Progress
	began.Origins = slices.Clone(began.Origins)
	p.host.update(p.status, func(s *Status) { s.Phase, s.Problem, s.Progress = Running, "", began })
	for {
		batch, err := reader.Fetch(ctx)
		if err != nil {
			return explain(err)
		}
		if err := p.apply(ctx, batch.Records); err != nil {
			return err
		}
		caughtUp := batch.Next >= batch.HighWater
		if p.done > 0 && (caughtUp || p.done >= commitRecords || time.Since(p.since) >= commitDelay) {
			if err := p.commit(ctx); err != nil {
				return err
			}
		}
		if len(batch.Records) == 0 {
			if err := p.confirm(ctx); err != nil {
				return err
			}
		}
		p.host.update(p.status, func(s *Status) { s.HighWater = batch.HighWater })
	}
}

// restore takes the state from the store and forgets everything else.
func (p *processor) restore(ctx context.Context) error {
	state, err := p.host.cfg.Store.State(ctx, p.shard)
	if err != nil {
		return fmt.Errorf("the store does not answer: %w", err)
	}
	if state.Token == (online.Token{}) {
		state.Progress = online.Progress{Cluster: p.host.cluster, Topic: p.topic, Newest: features.NoTime}
	}
	if p.decoder, err = codec.New(p.plan.Source); err != nil {
		return stopf("%v", err)
	}
	if state.Progress.Origins = slices.Clone(state.Progress.Origins); !p.plan.Keyed() && len(state.Progress.Origins) == 0 {
		state.Progress.Origins = slices.Repeat([]int64{-1}, p.plan.Source.Partitions)
	}
	p.state = state
	p.core = p.plan.NewShard(state.Progress.Newest, state.Progress.Counts)
	p.cache = rowCache{}
	p.dirty, p.dirtyBytes, p.dead, p.deadBytes, p.done = p.dirty[:0], 0, nil, 0, 0
	return nil
}

// apply folds records, which are in offset order, into rows in memory. A panic
// ends the attempt; the next one buries the record that caused it.
func (p *processor) apply(ctx context.Context, records []streams.Record) (err error) {
	if len(records) == 0 {
		return nil
	}
	if p.done == 0 {
		p.since = time.Now()
	}
	defer func() {
		if cause := recover(); cause != nil {
			err = p.poisoned(cause)
		}
	}()
	if err := p.decode(records); err != nil {
		return err
	}
	p.at = -1
	if err := p.loadRows(ctx); err != nil {
		return err
	}
	return p.fold(ctx, records)
}

func (p *processor) poisoned(cause any) error {
	if _, known := p.poison[p.at]; known || p.at < 0 {
		return stopf("the program panicked, and not because of one record: %v", cause)
	}
	p.poison[p.at] = fmt.Sprint(cause)
	p.host.cfg.Log.Error("a record made the program panic; it becomes a dead letter", "view", p.plan.View.Name, "topic", p.topic, "partition", p.shard.Index, "offset", p.at, "panic", cause)
	for n := int64(1); n < poisonInARow; n++ {
		if _, ok := p.poison[p.at-n]; !ok {
			return errAgain
		}
	}
	return stopf("%d records in a row, up to offset %d, made the program panic, the last with: %v", poisonInARow, p.at, cause)
}

// decode turns records into events, and notes the rows that they need.
func (p *processor) decode(records []streams.Record) error {
	for len(p.events) < len(records) {
		p.events = append(p.events, features.Event{})
	}
	p.rows = slices.Grow(p.rows[:0], len(records))[:len(records)]
	p.refused = slices.Grow(p.refused[:0], len(records))[:len(records)]
	p.load = p.load[:0]
	for i := range records {
		rec, e := &records[i], &p.events[i]
		p.at, p.rows[i], p.refused[i], e.Arrival = rec.Offset, nil, nil, rec.Time
		if why, ok := p.poison[rec.Offset]; ok {
			p.refused[i] = &features.Rejection{Reason: "panic", Detail: why}
		} else if err := p.decoder.Decode(rec.Value, e); err != nil {
			p.refused[i] = refusal(err)
		} else if err := p.findRow(i, rec, e); err != nil {
			return err
		}
	}
	return nil
}

// refusal is a decoder's error as a rejection.
func refusal(err error) *features.Rejection {
	var bad *codec.Error
	if errors.As(err, &bad) {
		return &features.Rejection{Reason: bad.Reason, Detail: err.Error()}
	}
	return &features.Rejection{Reason: "bad_event", Detail: err.Error()}
}

// findRow finds the entry of an event's entity, and notes it for loading where
// it is not in memory.
func (p *processor) findRow(i int, rec *streams.Record, e *features.Event) error {
	var err error
	if p.key, err = p.plan.AppendEntity(p.key[:0], e.Values); err != nil {
		return p.refuse(i, err)
	}
	if !bytes.Equal(p.key, rec.Key) {
		return p.wrongKey(rec, fmt.Sprintf("has the key %q, and its %v is %q", text(rec.Key), p.plan.View.Entity, text(p.key)))
	}
	if p.rows[i] = p.cache.get(p.key); p.rows[i] != nil {
		return nil
	}
	if want := streams.PartitionOf(p.key, p.plan.Source.Partitions); want != p.shard.Index {
		return p.wrongKey(rec, fmt.Sprintf("has the key %q, which Kafka's Java clients put in partition %d", text(rec.Key), want))
	}
	n := &entry{entity: string(p.key)}
	p.rows[i] = n
	p.cache.put(n)
	p.load = append(p.load, online.Key{Shard: p.shard, Entity: n.entity})
	return nil
}

func (p *processor) refuse(i int, err error) error {
	var r *features.Rejection
	if !errors.As(err, &r) {
		return err
	}
	p.refused[i] = r
	return nil
}

func (p *processor) wrongKey(rec *streams.Record, what string) error {
	if !p.plan.Keyed() {
		return stopf("the record at offset %d of the re-keyed topic %s %s: something else writes to that topic", rec.Offset, p.topic, what)
	}
	return stopf("the record at offset %d %s: its producer does not key by murmur2 of %v; remove keyed_by from source %s, and millrace re-keys the topic", rec.Offset, what, p.plan.View.Entity, p.plan.Source.Name)
}

// text is a key as messages show it.
func text(key []byte) string { return string(key[:min(len(key), 80)]) }

// loadRows reads the rows that decode found missing.
func (p *processor) loadRows(ctx context.Context) error {
	if len(p.load) == 0 {
		return nil
	}
	if p.state.Token == (online.Token{}) { // nothing was ever committed
		for _, k := range p.load {
			p.cache.get([]byte(k.Entity)).row = p.plan.NewRow()
		}
		return nil
	}
	rows, states, err := p.host.cfg.Store.Read(ctx, p.load)
	if err != nil {
		return fmt.Errorf("the store does not answer: %w", err)
	}
	for i, k := range p.load {
		if states[i].Token != p.state.Token {
			return &online.Conflict{Shard: p.shard, Found: states[i].Token}
		}
		row, err := p.plan.DecodeRow(rows[i].Head, rows[i].Base)
		if err != nil {
			return stopf("entity %q: %v; start again with an empty store", text([]byte(k.Entity)), err)
		}
		p.cache.get([]byte(k.Entity)).row = row
	}
	return nil
}

// fold judges and folds the decoded events, one by one.
func (p *processor) fold(ctx context.Context, records []streams.Record) error {
	for i := range records {
		rec, e := &records[i], &p.events[i]
		if n := p.rows[i]; n != nil && !n.dirty && p.full() {
			p.at = -1
			if err := p.commit(ctx); err != nil {
				return err
			}
		}
		p.at = rec.Offset
		fresh, err := p.origin(rec, e)
		if err != nil {
			return err
		}
		if fresh {
			err = p.foldOne(ctx, rec, e, i)
		}
		if err != nil {
			return err
		}
		p.done++
		p.state.Progress.Next = rec.Offset + 1
		if i == len(records)-1 || p.full() { // where a commit can follow
			p.state.Progress.Checksum = checksum(rec)
		}
	}
	return nil
}

// origin sets where an event was first written, and reports false for a copy
// of one that was already applied.
func (p *processor) origin(rec *streams.Record, e *features.Event) (bool, error) {
	if p.plan.Keyed() {
		e.Order = features.OrderOf(p.shard.Index, rec.Offset)
		return true, nil
	}
	log, partition, offset, ok := decodeOrigin(rec.Headers)
	if ok && log != p.log {
		return false, nil // the source was another topic then
	}
	if !ok || partition >= p.plan.Source.Partitions {
		return false, stopf("the record at offset %d of the re-keyed topic %s has no origin: something else writes to that topic", rec.Offset, p.topic)
	}
	origins := p.state.Progress.Origins
	if offset <= origins[partition] {
		return false, nil
	}
	origins[partition] = offset
	e.Order = features.OrderOf(partition, offset)
	return true, nil
}

func (p *processor) foldOne(ctx context.Context, rec *streams.Record, e *features.Event, i int) error {
	refused, ok := p.refused[i], false
	if refused == nil {
		ok, refused = p.core.Admit(e)
	}
	if refused != nil {
		p.core.Counts.Dead++
		return p.bury(ctx, rec, refused)
	}
	if n := p.rows[i]; ok && p.core.Fold(n.row, e) && !n.dirty {
		n.dirty = true
		p.dirty = append(p.dirty, n)
		p.dirtyBytes += n.row.Size()
	}
	return nil
}

// full reports whether the dirty rows are as many as a commit takes.
func (p *processor) full() bool {
	return len(p.dirty) == online.MaxRows || p.dirtyBytes >= commitBytes
}
