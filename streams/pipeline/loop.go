package pipeline

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/streams"
)

// feedbackPartitions is how many partitions we give the topic of feedback: as
// many as a source has where the project does not say.
const feedbackPartitions = 4

// EnsureFeedback makes a project's topics of feedback and of examples where they
// are missing, with the configuration that is given, and returns their number of
// partitions. Topics that are there keep theirs; where the two differ the error
// wraps streams.ErrPartitions.
//
// Whatever the configuration says, the topics that it makes lose nothing by age or
// size, as most clusters would have it after a week: an empty store is filled from
// the feedback, and models learn from the examples and are reproduced from them.
func EnsureFeedback(ctx context.Context, c *streams.Cluster, project string, config map[string]string) (partitions int, err error) {
	config = keptForGood(config)
	partitions, err = c.Partitions(ctx, feedback.Topic(project))
	if errors.Is(err, streams.ErrNoTopic) {
		partitions = feedbackPartitions
		err = c.Ensure(ctx, feedback.Topic(project), partitions, config)
	}
	if err != nil {
		return 0, err
	}
	// An example is a little larger than its prediction.
	return partitions, c.Ensure(ctx, feedback.ExamplesTopic(project), partitions, largerRecords(config))
}

// keptForGood is the configuration of a topic that loses nothing.
func keptForGood(config map[string]string) map[string]string {
	config = maps.Clone(config)
	if config == nil {
		config = map[string]string{}
	}
	config["retention.ms"], config["retention.bytes"] = "-1", "-1"
	return config
}

// JoinStats returns what became of a project's predictions and outcomes, as far
// as the join has committed. It asks the store, whichever process runs the join.
func JoinStats(ctx context.Context, project string, store online.Store, partitions int) (feedback.Stats, error) {
	var total feedback.Stats
	keys := make([]online.Key, partitions)
	for p := range keys {
		keys[p] = online.Key{Shard: joinShard(project, p), Entity: joinState}
	}
	rows, _, err := store.Read(ctx, keys)
	if err != nil {
		return total, fmt.Errorf("pipeline: statistics of the join: %w", err)
	}
	for p := range keys {
		shard, err := feedback.NewShard(nil, rows[p].Head)
		if err != nil {
			return total, fmt.Errorf("pipeline: statistics of the join, partition %d: %w", p, err)
		}
		total = total.Add(shard.Stats())
	}
	return total, nil
}

// prepareLoop makes the topics of the loop, if this host has a part in it.
func (h *Host) prepareLoop(ctx context.Context) (err error) {
	if len(h.cfg.Labels) == 0 {
		return nil
	}
	for i := range h.cfg.Sources {
		if err := h.cfg.Cluster.Ensure(ctx, h.cfg.Sources[i].Topic, h.cfg.Sources[i].Partitions, h.cfg.TopicConfig); err != nil {
			return err
		}
	}
	h.partitions, err = EnsureFeedback(ctx, h.cfg.Cluster, h.cfg.Project, h.cfg.TopicConfig)
	return err
}

// runLoop runs the join, and what makes outcomes of events if some label has a
// source.
func (h *Host) runLoop(ctx context.Context, wg *sync.WaitGroup, cancel context.CancelCauseFunc) {
	if len(h.cfg.Labels) == 0 {
		return
	}
	topic := feedback.Topic(h.cfg.Project)
	h.share(ctx, wg, cancel, "join", topic, h.partitions, func(ctx context.Context, partition int) {
		newJoiner(h, partition).run(ctx)
	})
	if !h.labelsHaveSource() {
		return
	}
	h.share(ctx, wg, cancel, "outcomes", topic, h.partitions, func(ctx context.Context, partition int) {
		if partition == 0 { // its owner reads all sources: see outcomes
			newOutcomes(h).run(ctx)
		}
	})
}

func (h *Host) labelsHaveSource() bool {
	return slices.ContainsFunc(h.cfg.Labels, func(l *feedback.Labeler) bool { return l.Label.Source != "" })
}

// tickPause is how often the clock is written into the log.
const tickPause = time.Second

// writeClock writes the wall clock as ticks into partitions of the feedback
// topic until ctx ends, while ready says that what came before is in the log.
func (h *Host) writeClock(ctx context.Context, partitions []int, ready func() bool) {
	clock := time.NewTicker(tickPause)
	defer clock.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-clock.C:
		}
		if !ready() {
			continue
		}
		if err := h.tick(ctx, partitions, time.Now().UnixMicro()); err != nil && ctx.Err() == nil {
			h.cfg.Log.Warn("a tick was not written; predictions wait for the next", "error", err)
		}
	}
}

// tick writes a tick into partitions of the feedback topic.
func (h *Host) tick(ctx context.Context, partitions []int, at int64) error {
	value := feedback.Tick{Time: at}.AppendJSON(nil)
	records := make([]streams.Record, len(partitions))
	for i, p := range partitions {
		records[i] = streams.Record{Value: value, Partition: p}
	}
	return produce(ctx, h, feedback.Topic(h.cfg.Project), records)
}

// allPartitions are those of the feedback topic.
func (h *Host) allPartitions() []int {
	all := make([]int, h.partitions)
	for p := range all {
		all[p] = p
	}
	return all
}

// eventClock reports whether ticks come from events.
func (h *Host) eventClock() bool { return h.cfg.Clock == features.EventClock }
