package pipeline

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/streams"
)

// An outcomes stage makes outcomes of the events of labels' sources and writes
// them to the feedback topic. One process does it for all sources: the one that
// owns partition 0 of that topic.
//
// Its progress is a commit for each source partition, made after the outcomes
// have been acknowledged. What a crash makes it write twice, and what two owners
// by mistake write, the join skips by the event's position: see
// feedback.Shard.Origin, and rekeyer for why a copy is always known.
//
// It also writes the ticks, for it alone knows which outcomes are in the log.
// With clock: event they are the least of the newest event times of all source
// partitions that have data. With the wall clock they are that, while nothing is
// left to read: after an outage, outcomes come before the ticks that close what
// waits for them.
type outcomes struct {
	host   *Host
	labels map[string][]*feedback.Labeler // by source
	status *tracked

	// One attempt's.
	merge    *merge
	ticked   int64       // the last tick; NoTime: none yet
	owed     bool        // outcomes have been written since
	caughtUp atomic.Bool // all that is there has been passed, and is committed
}

func newOutcomes(h *Host) *outcomes {
	o := &outcomes{host: h, labels: map[string][]*feedback.Labeler{}}
	for _, l := range h.cfg.Labels {
		if l.Label.Source != "" {
			o.labels[l.Label.Source] = append(o.labels[l.Label.Source], l)
		}
	}
	var topics []string
	for _, src := range h.cfg.Sources {
		if len(o.labels[src.Name]) > 0 {
			topics = append(topics, src.Topic)
		}
	}
	o.status = h.track(Status{View: feedback.Topic(h.cfg.Project), Stage: "outcomes", Topic: strings.Join(topics, ","), Phase: Starting})
	return o
}

func (o *outcomes) run(ctx context.Context) {
	defer o.host.untrack(o.status)
	runAttempts(ctx, o.host, o.status, o.attempt)
}

func (o *outcomes) attempt(ctx context.Context) error {
	o.merge, o.ticked, o.owed = &merge{host: o.host, status: o.status}, features.NoTime, false
	o.caughtUp.Store(false)
	project := o.host.cfg.Project
	rest := fmt.Sprintf("; for another log also delete the topics %s and %s, or give the source a topic of another name: outcomes of the new one would be taken for copies of the old one's", feedback.Topic(project), feedback.ExamplesTopic(project))
	for i := range o.host.cfg.Sources {
		src := &o.host.cfg.Sources[i]
		if len(o.labels[src.Name]) == 0 {
			continue
		}
		space := fmt.Sprintf("%s.outcomes.%s@%016x", project, src.Name, logHash(o.host.cluster, src.Topic))
		if err := o.merge.add(ctx, src, space, rest); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	if !o.host.eventClock() {
		wg.Go(func() { o.host.writeClock(ctx, o.host.allPartitions(), o.caughtUp.Load) })
	}
	return o.merge.run(ctx, o.step)
}

// step writes the outcomes of what is there, and the tick that follows: when it
// moves, and where nothing is left to read, so that readers of the examples know
// that they have all of them. At the beginning it does not wait for events: a
// crash may have lost the last tick.
func (o *outcomes) step(ctx context.Context) error {
	if err := o.merge.gather(ctx, !o.caughtUp.Load()); err != nil {
		return err
	}
	o.caughtUp.Store(false)
	if err := o.write(ctx); err != nil {
		return err
	}
	if t := o.passed(); o.host.eventClock() && (t > o.ticked || t == o.ticked && o.owed && o.merge.atEnd()) {
		if err := o.host.tick(ctx, o.host.allPartitions(), t); err != nil {
			return err
		}
		o.ticked, o.owed = t, false
	}
	o.caughtUp.Store(o.merge.atEnd())
	return nil
}

// passed returns the time up to which the outcomes of events in order are in the
// log: the least over the partitions that have data. One with data that was not
// read yet has passed nothing.
func (o *outcomes) passed() int64 {
	least, some := int64(features.NoTime), false
	for _, l := range o.merge.lanes {
		switch newest := l.state.Progress.Newest; {
		case newest == features.NoTime && (len(l.records) > 0 || !l.caughtUp):
			return features.NoTime
		case newest == features.NoTime: // it has none
		case !some || newest < least:
			least, some = newest, true
		}
	}
	return least
}

// write merges what the lanes hold, writes its outcomes, and commits the lanes'
// progress.
func (o *outcomes) write(ctx context.Context) error {
	var out, dead []streams.Record
	var moved []*lane
	for n := 0; n < mergeChunk; n++ {
		l := o.merge.oldest()
		if l == nil {
			break
		}
		written, letters, err := o.event(l, &l.records[0])
		if err != nil {
			return err
		}
		out, dead = append(out, written...), append(dead, letters...)
		l.state.Progress.Counts.Applied += int64(len(written))
		l.state.Progress.Counts.Dead += int64(len(letters))
		l.pass()
		if !slices.Contains(moved, l) {
			moved = append(moved, l)
		}
	}
	if err := produce(ctx, o.host, DeadLetters(o.host.cfg.Project), dead); err != nil {
		return err
	}
	if err := produce(ctx, o.host, feedback.Topic(o.host.cfg.Project), out); err != nil {
		return err
	}
	o.owed = o.owed || len(out) > 0
	return o.merge.commit(ctx, moved)
}

// event returns the outcomes of one event, and its dead letters: one for each
// model that makes none of it.
func (o *outcomes) event(l *lane, rec *streams.Record) (out, dead []streams.Record, err error) {
	bury := func(model string, why *features.Rejection) {
		at := Status{Stage: o.status.Stage, View: model, Topic: l.source.Topic, Partition: l.shard.Index}
		letter, failed := deadLetter(&at, rec, why)
		dead, err = append(dead, letter), failed
	}
	e, bad := sheltered(l, func() (features.Event, *features.Rejection) { return l.decode(rec) })
	if bad != nil {
		if o.unviewed(l) {
			bury("", bad)
		}
		return nil, dead, err
	}
	if refused := o.untimely(l, &e); refused != nil {
		if o.unviewed(l) {
			bury("", refused)
		}
		return nil, dead, err
	}
	l.state.Progress.Newest = max(l.state.Progress.Newest, e.Time)
	at := feedback.Position{Topic: l.source.Topic, Partition: l.shard.Index, Offset: rec.Offset}
	for _, label := range o.labels[l.source.Name] {
		outcome, refused := sheltered(l, func() (feedback.Outcome, *features.Rejection) { return label.Outcome(&e, at) })
		if refused != nil {
			if bury(label.Model, refused); err != nil {
				return nil, nil, err
			}
			continue
		}
		out = append(out, streams.Record{Key: []byte(outcome.Key), Value: outcome.AppendJSON(nil), Headers: rec.TraceHeaders(), Partition: -1})
	}
	return out, dead, err
}

// unviewed reports whether no view reads a lane's source. Of one that is read, a
// view's processor buries what is no event, and once is enough.
func (o *outcomes) unviewed(l *lane) bool {
	return slices.Contains(o.host.cfg.Unviewed, l.source.Name)
}

// untimely refuses an event whose time a view would refuse as one of the future:
// one wrong clock must not close what others wait for.
func (o *outcomes) untimely(l *lane, e *features.Event) *features.Rejection {
	if ahead := e.Time - e.Arrival; ahead > l.source.MaxAhead.Microseconds() {
		return &features.Rejection{Reason: features.RejectFuture, Detail: fmt.Sprintf("event time %s is %v ahead of its arrival; max_ahead is %v", utc(e.Time), micros(ahead), l.source.MaxAhead)}
	}
	newest := l.state.Progress.Newest
	if jump := e.Time - newest; newest != features.NoTime && o.host.eventClock() && jump > l.source.MaxJump.Microseconds() {
		return &features.Rejection{Reason: features.RejectFuture, Detail: fmt.Sprintf("event time %s is %v after the newest, %s; max_jump is %v", utc(e.Time), micros(jump), utc(newest), l.source.MaxJump)}
	}
	return nil
}

func utc(us int64) string { return time.UnixMicro(us).UTC().Format(time.RFC3339Nano) }

func micros(us int64) time.Duration { return time.Duration(us) * time.Microsecond }
