package serve

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/streams"
)

// MaxWait is for how long a read waits for the positions in its at_least. It is
// well over what a pipeline that keeps up needs, and short enough for a caller
// to try again.
const MaxWait = 5 * time.Second

// MaxPositions bounds the positions of one at_least.
const MaxPositions = 1024

// The pauses between two looks at a shard: the first is short, because most
// waits are for a record that is being applied just now.
const (
	firstPause = 200 * time.Microsecond
	lastPause  = 10 * time.Millisecond
)

// await returns once each position of the query is applied by all views of its
// topic that the query touches.
func (l *Lookup) await(ctx context.Context, q *Query, v *Vectors) error {
	if len(q.AtLeast) == 0 {
		return nil
	}
	if len(q.AtLeast) > MaxPositions {
		return badRequest("at_least has %d positions; at most %d: of each partition the last one is enough", len(q.AtLeast), MaxPositions)
	}
	for _, at := range q.AtLeast {
		if err := v.checkPosition(at); err != nil {
			return err
		}
	}
	wait := MaxWait
	if q.Wait > 0 {
		wait = q.Wait
	}
	limit, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for _, at := range q.AtLeast {
		for _, p := range v.parts {
			if p.topic != at.Topic {
				continue
			}
			if err := l.awaitShard(limit, p, at, wait); err != nil {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				return err
			}
		}
	}
	return nil
}

// checkPosition refuses what no wait could reach.
func (v *Vectors) checkPosition(at streams.Position) error {
	for _, p := range v.parts {
		if p.topic == at.Topic {
			if n := p.Source.Partitions; at.Partition < 0 || at.Partition >= n {
				return badRequest("at_least: partition %d of topic %q does not exist; it has %d", at.Partition, at.Topic, n)
			}
			if at.Offset < 0 {
				return badRequest("at_least: offset %d of topic %q: offsets start at 0", at.Offset, at.Topic)
			}
			return nil
		}
	}
	topics := make([]string, len(v.parts))
	for i, p := range v.parts {
		topics[i] = fmt.Sprintf("%s from %s", p.name, p.topic)
	}
	return badRequest("at_least: none of the views asked for is applied from topic %s: %s", short(at.Topic), few(topics))
}

func (l *Lookup) awaitShard(ctx context.Context, p *part, at streams.Position, wait time.Duration) error {
	shard := online.Shard{Space: p.space, Index: at.Partition}
	var next int64
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		state, err := l.store.State(ctx, shard)
		if err != nil && ctx.Err() == nil {
			return unavailable(err, "the online store cannot be read; see that it runs, then ask again")
		}
		if err == nil {
			if next = state.Progress.Next; next > at.Offset {
				return nil
			}
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return &Problem{
				Status: http.StatusGatewayTimeout,
				Err:    fmt.Sprintf("at_least was not reached in %v; ask again, or see in /readyz and /metrics whether the pipeline runs and keeps up", wait),
				Detail: fmt.Sprintf("view %q, partition %d of topic %q: offset %d is to be applied, the next one is %d", p.name, at.Partition, at.Topic, at.Offset, next),
			}
		}
	}
}
