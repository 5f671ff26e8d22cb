package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/pipeline"
)

const (
	// reachLimit is for how long a step waits for Kafka. While that is away the
	// other models' steps go on.
	reachLimit = 5 * time.Second

	// maxPolls bounds what one step reads, at most 4,000 records a partition each,
	// so that a person who asks to go back is heard within seconds.
	maxPolls = 16
)

// A reading is what the deployer has read for one phase of a rollout. It begins
// at the phase's marks, so that it can be made again at any time and sees the
// same.
//
// The marks only save time: no record from before them counts. A version is in
// shadow in one phase of its one rollout, and champion beside the one before it
// in the other. So where the log has lost them, all of it may be read.
type reading struct {
	rollout int64
	phase   registry.Phase
	again   func(from []int64) // sets what follows

	trial       *trial // in phase shadow
	predictions *pipeline.FeedbackReader

	watch    *watch // in phase watch
	examples *pipeline.ExampleReader
	compared bool // its two versions fit the model

	told time.Time // when the registry was last told
	last string    // and what
}

// read begins the reading of a rollout's phase.
func (d *Deployer) read(ctx context.Context, m *Model, ro *registry.Rollout) (*reading, error) {
	r := &reading{rollout: ro.ID, phase: ro.Phase}
	topic := feedback.ExamplesTopic(d.cfg.Project)
	if ro.Phase == registry.InShadow {
		topic = feedback.Topic(d.cfg.Project)
		v, err := d.cfg.Registry.Version(ctx, m.Name, ro.Version)
		if err != nil {
			return nil, err
		}
		b, err := d.open(m, v.Bundle)
		if err != nil {
			return nil, err
		}
		r.again = func(from []int64) {
			r.trial = &trial{model: m, version: ro.Version, bundle: b}
			r.predictions = pipeline.NewFeedbackReader(d.cfg.Cluster, d.cfg.Project, from)
		}
	} else {
		r.again = func(from []int64) {
			r.watch = newWatch(m, ro.Version, ro.Previous)
			r.examples = pipeline.NewExampleReader(d.cfg.Cluster, d.cfg.Project, from)
		}
	}
	from, err := d.from(ctx, topic, ro)
	if err == nil {
		r.begin(from)
	}
	return r, err
}

// marks are the ends of a topic's partitions now, and null where there is no such
// topic yet.
func (d *Deployer) marks(ctx context.Context, topic string) (json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, reachLimit)
	defer cancel()
	n, err := d.cfg.Cluster.Partitions(ctx, topic)
	if errors.Is(err, streams.ErrNoTopic) {
		return json.RawMessage("null"), nil
	}
	ends := make([]int64, n)
	for i := range ends {
		if err == nil {
			_, ends[i], err = d.cfg.Cluster.Bounds(ctx, topic, i)
		}
	}
	if err != nil {
		return nil, err
	}
	return json.Marshal(ends)
}

// from is where a rollout's phase began in a topic: its marks; nil, all of the
// topic, where there was none yet or it is another one now.
func (d *Deployer) from(ctx context.Context, topic string, ro *registry.Rollout) ([]int64, error) {
	var marks []int64
	if ro.Marks != nil {
		if err := json.Unmarshal(ro.Marks, &marks); err != nil {
			return nil, fmt.Errorf("rollout %d: marks %s: %w", ro.ID, ro.Marks, err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, reachLimit)
	defer cancel()
	n, err := d.cfg.Cluster.Partitions(ctx, topic)
	if errors.Is(err, streams.ErrNoTopic) || err == nil && n != len(marks) {
		return nil, nil
	}
	return marks, err
}

// begin forgets everything and begins at these offsets; nil: where the topic
// does.
func (r *reading) begin(from []int64) {
	r.close()
	r.again(from)
}

func (r *reading) close() {
	if r.predictions != nil {
		r.predictions.Close()
	}
	if r.examples != nil {
		r.examples.Close()
	}
}

// take reads what has come, until it suffices for the phase's end.
func (r *reading) take(ctx context.Context) error {
	for range maxPolls {
		n, err := r.poll(ctx)
		if err != nil || n == 0 {
			return err
		}
	}
	return nil
}

// poll takes the next records. It returns how many there were; 0 also where
// nothing more is needed.
func (r *reading) poll(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, reachLimit)
	defer cancel()
	if r.phase == registry.InShadow {
		if r.trial.enough() {
			return 0, nil
		}
		batch, err := r.predictions.Poll(ctx)
		for i := range batch {
			r.trial.take(batch[i].Prediction)
		}
		return len(batch), err
	}
	if worse, over := r.watch.verdict(); worse != "" || over {
		return 0, nil
	}
	batch, err := r.examples.Poll(ctx)
	for i := range batch {
		r.watch.take(&batch[i])
	}
	if err == nil {
		err = r.watch.feed(len(r.examples.Next()))
	}
	return len(batch), err
}

// report is what has been seen, as JSON.
func (r *reading) report() json.RawMessage {
	if r.phase == registry.InShadow {
		return r.trial.report()
	}
	return r.watch.report()
}
