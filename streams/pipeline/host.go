// Package pipeline applies the events of topics to the rows of views, and joins
// predictions with outcomes: the shard processor, the re-keyer, the outcomes
// stage, the join, and the local host that runs them.
//
// A processor owns one partition of one view's topic. It starts from the
// progress in the store, always; nothing else decides where it goes on. Several
// processes share the partitions by a consumer group, and should two own the
// same one by mistake, the store's tokens let one of them commit.
package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/streams"
)

// A Config is what a Host needs. Of Plans and Labels one may be empty: the host
// leaves those stages to others. Group, TopicConfig,
// OnCommit and Tracer may be left out.
type Config struct {
	Project     string
	Plans       []*features.Plan
	Labels      []*feedback.Labeler // of all models
	Sources     []features.Source   // of the labels, with their defaults
	Unviewed    []string            // those of the Sources that no view of the project reads
	Clock       features.Clock      // what makes ticks
	Cluster     *streams.Cluster
	Producer    *streams.Producer
	Store       online.Store
	Log         *slog.Logger
	Group       string            // consumer group that shares out the partitions; empty: all of them are ours
	TopicConfig map[string]string // for topics that the host creates
	// OnCommit is called after each commit of a view by the goroutine of its shard,
	// and may not be after one that was under way when the context ended.
	OnCommit func(view string, partition int, p online.Progress)
	Tracer   Tracer // nil: records are not traced
}

// DeadLetters returns the name of a project's topic of dead letters.
func DeadLetters(project string) string { return project + ".deadletters" }

// A Host runs the processors of a project's views in this process.
type Host struct {
	cfg        Config
	cluster    string // Kafka's id
	partitions int    // of the topics of feedback and examples

	mu       sync.Mutex
	shards   map[shardKey]*tracked
	groups   map[string]error // why partitions cannot be shared out now, by consumer group
	readable map[string]*Readable
	start    string // why the host has not started yet; empty: it has
}

type shardKey struct {
	stage, view, space string
	partition          int
}

func (s *Status) key() shardKey { return shardKey{s.Stage, s.View, s.Space, s.Partition} }

// A Phase is what a shard is doing.
type Phase string

// The phases of a shard. A stopped one needs a person.
const (
	Starting Phase = "starting"
	Running  Phase = "running"
	Waiting  Phase = "waiting"
	Stopped  Phase = "stopped"
)

// A Status is where a shard stands.
type Status struct {
	View      string // of a re-keyer: the topic that it writes; of outcomes and join: the feedback topic
	Space     string // the row space of a view
	Stage     string // pipeline, rekey, outcomes or join
	Topic     string // the topic that is read; of outcomes: all of them, with commas
	Partition int
	Phase     Phase
	Problem   string // why it waits or has stopped, and what to do
	HighWater int64  // end of the log when it was last read, without marks of transactions at its end
	Progress  online.Progress
	Join      *feedback.Stats // of the join: what it has committed
}

// Lag is the number of records that are in the log and not yet committed.
func (s *Status) Lag() int64 { return max(0, s.HighWater-s.Progress.Next) }

// New returns a host for the plans of a project.
func New(cfg Config) *Host {
	return &Host{cfg: cfg, shards: map[shardKey]*tracked{}, groups: map[string]error{}, readable: map[string]*Readable{}, start: "the pipeline has not started"}
}

// A tracked status knows its shard's reader, which alone can tell why it waits
// for the cluster.
type tracked struct {
	Status
	reader *streams.Reader
	mu     sync.Mutex // of reader
}

func (t *tracked) follow(r *streams.Reader) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.reader = r
}

func (t *tracked) waits() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.reader == nil {
		return nil
	}
	return t.reader.Err()
}

// Status returns where each shard of this process stands, by view and
// partition.
func (h *Host) Status() []Status {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]Status, 0, len(h.shards))
	for _, t := range h.shards {
		s := t.Status
		if err := t.waits(); err != nil && s.Problem == "" {
			s.Phase, s.Problem = Waiting, err.Error()
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b Status) int {
		return cmp.Or(cmp.Compare(a.View, b.View), cmp.Compare(a.Stage, b.Stage), cmp.Compare(a.Partition, b.Partition))
	})
	return out
}

// Problems returns why the pipeline is not doing its work, one line each, and
// nothing when all is well.
func (h *Host) Problems() []string {
	var out []string
	h.mu.Lock()
	if h.start != "" {
		out = append(out, h.start)
	}
	for _, group := range slices.Sorted(maps.Keys(h.groups)) {
		out = append(out, fmt.Sprintf("group %s waits to be given its partitions: %v", group, h.groups[group]))
	}
	h.mu.Unlock()
	for _, s := range h.Status() {
		what := s.Stage
		if s.Stage == "pipeline" || s.Stage == "rekey" {
			what += " of view " + s.View
		}
		if s.Problem != "" {
			out = append(out, fmt.Sprintf("%s, partition %d of topic %s: %s: %s", what, s.Partition, s.Topic, s.Phase, s.Problem))
		} else if s.Phase == Starting {
			out = append(out, fmt.Sprintf("%s, partition %d of topic %s is starting", what, s.Partition, s.Topic))
		}
	}
	return out
}

// phase returns what a shard is doing.
func (h *Host) phase(t *tracked) Phase {
	h.mu.Lock()
	defer h.mu.Unlock()
	return t.Phase
}

// update changes a shard's status under the lock.
func (h *Host) update(t *tracked, change func(*Status)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change(&t.Status)
}

// track adds a shard to the status.
func (h *Host) track(s Status) *tracked {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := &tracked{Status: s}
	h.shards[s.key()] = t
	return t
}

// untrack removes it, unless another owner in this process has taken its place.
func (h *Host) untrack(t *tracked) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.shards[t.key()] == t {
		delete(h.shards, t.key())
	}
}

// Run makes the topics that are missing and applies events until ctx ends. It
// returns an error only for what no waiting can mend, as a topic with another
// number of partitions than the project says.
func (h *Host) Run(ctx context.Context) error {
	for wait := pause(0); ; wait = wait.next() {
		err := h.prepare(ctx)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return nil
		}
		h.setStart(fmt.Sprintf("the topics cannot be checked: %v", err))
		h.cfg.Log.Warn("the topics cannot be checked; trying again", "error", err)
		if errors.Is(err, streams.ErrPartitions) {
			return err
		}
		wait.sleep(ctx)
	}
	h.setStart("")
	return h.runAll(ctx)
}

func (h *Host) setStart(why string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.start = why
}

func (h *Host) prepare(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	id, err := h.cfg.Cluster.ID(ctx)
	if err != nil {
		return err
	}
	h.cluster = id
	for _, p := range h.cfg.Plans {
		if err := h.cfg.Cluster.Ensure(ctx, p.Source.Topic, p.Source.Partitions, h.cfg.TopicConfig); err != nil {
			return err
		}
		if p.Keyed() {
			continue
		}
		if err := h.cfg.Cluster.Ensure(ctx, p.Topic(h.cfg.Project), p.Source.Partitions, largerRecords(h.cfg.TopicConfig)); err != nil {
			return err
		}
	}
	if err := h.prepareLoop(ctx); err != nil {
		return err
	}
	return h.cfg.Cluster.Ensure(ctx, DeadLetters(h.cfg.Project), deadLetterPartitions, streams.DeadLetterConfig())
}

const deadLetterPartitions = 1

// largerRecords is the configuration of a topic whose records are made of
// another's. A re-keyed one grows by its origin and perhaps its key, so the
// topic takes larger ones than its source.
func largerRecords(config map[string]string) map[string]string {
	config = maps.Clone(config)
	if config == nil {
		config = map[string]string{}
	}
	config["max.message.bytes"] = "16777216"
	return config
}

// runAll runs every stage that is ours and waits for them.
func (h *Host) runAll(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	rekeyed := map[string]bool{}
	for _, plan := range h.cfg.Plans {
		topic := plan.Topic(h.cfg.Project)
		h.share(ctx, &wg, cancel, "view."+plan.View.Name, topic, plan.Source.Partitions, func(ctx context.Context, partition int) {
			newProcessor(h, plan, partition).run(ctx)
		})
		if plan.Keyed() || rekeyed[topic] {
			continue
		}
		rekeyed[topic] = true
		h.share(ctx, &wg, cancel, "rekey."+topic, plan.Source.Topic, plan.Source.Partitions, func(ctx context.Context, partition int) {
			if partition == 0 { // its owner merges all partitions: see rekeyer
				newRekeyer(h, plan).run(ctx)
			}
		})
	}
	h.runLoop(ctx, &wg, cancel)
	wg.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// share runs own for each partition that is ours, now or, with a group, as
// partitions come and go. A group that cannot be joined ends the host: nobody
// can tell which partitions nobody has.
func (h *Host) share(ctx context.Context, wg *sync.WaitGroup, fail context.CancelCauseFunc, role, topic string, partitions int, own func(ctx context.Context, partition int)) {
	if h.cfg.Group == "" {
		for partition := range partitions {
			wg.Go(func() { own(ctx, partition) })
		}
		return
	}
	wg.Go(func() {
		group := h.cfg.Group + "." + role
		err := h.cfg.Cluster.Share(ctx, group, []string{topic}, func(ctx context.Context, _ string, partition int) { own(ctx, partition) }, func(err error) { h.sharing(group, err) })
		if err != nil && ctx.Err() == nil {
			fail(fmt.Errorf("pipeline: group %s: %w", group, err))
		}
	})
}

// sharing keeps why a group's partitions cannot be shared out, or that they are,
// and logs once each time that it changes.
func (h *Host) sharing(group string, err error) {
	h.mu.Lock()
	before := h.groups[group]
	if delete(h.groups, group); err != nil {
		h.groups[group] = err
	}
	h.mu.Unlock()
	switch {
	case err != nil && before == nil:
		h.cfg.Log.Warn("a group waits to be given its partitions; trying again", "group", group, "error", err)
	case err == nil && before != nil:
		h.cfg.Log.Info("a group has been given its partitions again", "group", group)
	}
}

// A pause is how long to wait before trying again.
type pause time.Duration

func (p pause) next() pause { return min(max(2*p, pause(50*time.Millisecond)), pause(2*time.Second)) }

func (p pause) sleep(ctx context.Context) {
	t := time.NewTimer(time.Duration(max(p, pause(10*time.Millisecond))))
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
