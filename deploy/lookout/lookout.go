// Package lookout keeps the monitors of a project's models: it follows the topics
// of feedback and examples, gives what is in them to a monitor.Fleet for each
// model, and writes the alarms to the book of alarms.
//
// It keeps nothing but memory. Started again it reads both topics from their
// beginning; alarms have names that follow from the log, so that those which are
// in the book already stay as they are there, and what is found on the way is news
// only once the end of the log is reached. So an hour away makes nothing late
// and raises nothing: what was missed is looked at, unit by unit, as if it had been
// there.
package lookout

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/millrace/millrace/deploy/alarms"
	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/feedback/monitor"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/pipeline"
)

// pollEvery is how often Run looks for new records. Looks are a matter of hours,
// or minutes at least.
const pollEvery = time.Second

// A Model is a model and how it is monitored.
type Model struct {
	monitor.Model // without Version, which the lookout sets
	Config        monitor.Config
}

// A Config is what a Lookout needs. Book and Ask may be left out.
type Config struct {
	Project  string
	Models   []Model
	Cluster  *streams.Cluster
	Registry *registry.Registry
	Book     *alarms.Book // nil: alarms are written nowhere
	Log      *slog.Logger
	Quiet    bool // nobody is told of alarms

	// Ask asks for a candidate of a model because of an alarm, where its Config says
	// Retrain. It may be called again for an alarm.
	Ask func(ctx context.Context, model string, a monitor.Alarm) error
}

// A Lookout keeps monitors. Its methods may be called by several goroutines.
type Lookout struct {
	cfg Config

	mu      sync.Mutex // guards what follows, and the fleets
	posts   []*post
	trouble error // why it is not at work; nil: it is
	read    int64
	of      int64
	changed chan struct{}

	// Of Run alone.
	feedback *pipeline.FeedbackReader
	examples *pipeline.ExampleReader
	ticks    clock
	passed   clock
	told     []alarms.Report // not yet in the book
	behind   bool            // it has not caught up with the log yet
	asks     []monitor.Alarm // fresh ones that a candidate is to be asked for
	measured time.Time       // when the ends of the topics were asked for last
}

// New returns a lookout. Each model's Config has its defaults.
func New(cfg Config) (*Lookout, error) {
	l := &Lookout{cfg: cfg, changed: make(chan struct{})}
	if err := l.reset(); err != nil {
		return nil, err
	}
	return l, nil
}

// reset lets all monitors begin anew.
func (l *Lookout) reset() error {
	var posts []*post
	for _, m := range l.cfg.Models {
		m.Aside = l.aside
		p, err := newPost(m)
		if err != nil {
			return fmt.Errorf("lookout: model %s: %w", m.Name, err)
		}
		posts = append(posts, p)
	}
	if l.feedback != nil {
		l.Close()
	}
	l.feedback = pipeline.NewFeedbackReader(l.cfg.Cluster, l.cfg.Project, nil)
	l.examples = pipeline.NewExampleReader(l.cfg.Cluster, l.cfg.Project, nil)
	l.ticks, l.passed, l.behind = clock{}, clock{}, true
	l.mu.Lock()
	defer l.mu.Unlock()
	l.posts, l.read = posts, 0
	return nil
}

// Run works until ctx ends. What fails is tried again.
func (l *Lookout) Run(ctx context.Context) error {
	defer l.Close()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		for {
			more, err := l.Step(ctx)
			if ctx.Err() != nil {
				return nil
			}
			if err != nil || !more {
				break
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Close ends the connections. Nothing is taken in after it.
func (l *Lookout) Close() {
	l.feedback.Close()
	l.examples.Close()
}

// Step takes in some of what is in the topics now, and reports whether there was
// any, or the ends that the topics had have not been reached yet. It belongs to one goroutine, that of Run or another in its place.
func (l *Lookout) Step(ctx context.Context) (more bool, err error) {
	more, err = l.step(ctx)
	if ctx.Err() != nil {
		return false, err // that it was cut short says nothing of the work
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil && (l.trouble == nil || l.trouble.Error() != err.Error()) {
		l.cfg.Log.Warn("the monitors wait; trying again", "error", err)
	}
	l.trouble = err
	return more, err
}

func (l *Lookout) step(ctx context.Context) (bool, error) {
	if err := l.tell(ctx); err != nil { // of before, first: what is not told is bounded so
		return false, err
	}
	served, err := l.feedback.Poll(ctx)
	if err == nil {
		err = l.serve(ctx, served)
	}
	if err != nil {
		return false, l.anew(err)
	}
	known, err := l.examples.Poll(ctx)
	if err != nil {
		return false, l.anew(err)
	}
	l.know(known)
	more := len(served)+len(known) > 0
	if err := l.measure(ctx, l.behind && !more); err != nil {
		return false, err
	}
	if l.behind && !more && l.read == l.of {
		l.behind = false
		l.told = append(l.told, alarms.Report{Quiet: l.cfg.Quiet}) // what was found on the way is news now
	}
	return more || l.behind, l.tell(ctx)
}

// anew begins anew where a topic was made anew, or has lost what comes next.
func (l *Lookout) anew(err error) error {
	if gone := new(streams.OutOfRange); errors.As(err, &gone) {
		l.cfg.Log.Warn("a topic was made anew or has lost what comes next; the monitors read it again from where it begins", "error", err)
		return l.reset()
	}
	return err
}

// serve takes in records of the feedback topic.
func (l *Lookout) serve(ctx context.Context, batch []pipeline.FeedbackAt) error {
	// Before the lock is taken: the monitors ask for versions, and must not wait for
	// a file.
	for i := range batch {
		if p := batch[i].Prediction; p != nil {
			if err := l.version(ctx, p.Model, p.Score.Version); err != nil {
				return err
			}
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range batch {
		l.breathe(i)
		f := &batch[i]
		switch {
		case f.Tick != nil:
			l.ticks.set(f.Partition, f.Tick.Time)
		case f.Prediction != nil:
			if p := l.post(f.Prediction.Model); p != nil {
				p.predicted(f.Prediction, l.ticks.at(f.Partition))
			}
		}
	}
	now := l.ticks.least(len(l.feedback.Next()))
	if now != never {
		for _, p := range l.posts {
			l.report(p.fleet.Tick(p.looked(now)), p.looked(now))
		}
	}
	l.change(len(batch) > 0)
	return nil
}

// know takes in records of the topic of examples.
func (l *Lookout) know(batch []pipeline.ExampleAt) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range batch {
		l.breathe(i)
		e := &batch[i]
		if e.Kind == feedback.Passed {
			l.passed.set(e.Partition, e.Known)
		} else if p := l.post(e.Prediction.Model); p != nil {
			p.fleet.Known(&e.Example)
		}
	}
	if now := l.passed.least(len(l.examples.Next())); now != never {
		for _, p := range l.posts {
			l.report(p.fleet.Passed(now), now)
		}
	}
	l.change(len(batch) > 0)
}

// aside lets others look at the monitors while something is done that changes
// none: they must not wait for it. The lock is held before and after.
func (l *Lookout) aside(do func()) {
	l.mu.Unlock()
	defer l.mu.Lock()
	do()
}

// breatheEvery is after how many records of a batch others may look.
const breatheEvery = 64

func (l *Lookout) breathe(i int) {
	if i%breatheEvery == breatheEvery-1 {
		l.aside(func() {})
	}
}

// change tells all who wait that there is something new.
func (l *Lookout) change(is bool) {
	if is {
		close(l.changed)
		l.changed = make(chan struct{})
	}
}

// version learns of a version that has answered, once.
func (l *Lookout) version(ctx context.Context, model string, number int) error {
	p := l.post(model)
	if p == nil || number == registry.BaseRateVersion || p.knows(number) {
		return nil
	}
	v, err := l.cfg.Registry.Version(ctx, model, number)
	if err != nil && !errors.Is(err, registry.ErrNotFound) {
		return err
	}
	p.learn(number, v.Cutoff, err == nil)
	return nil
}

// measure finds out how much of the topics has been read, now or once a second.
func (l *Lookout) measure(ctx context.Context, now bool) error {
	if !now && time.Since(l.measured) < pollEvery {
		return nil
	}
	l.measured = time.Now()
	var read, of int64
	for topic, next := range map[string][]int64{
		feedback.Topic(l.cfg.Project): l.feedback.Next(), feedback.ExamplesTopic(l.cfg.Project): l.examples.Next(),
	} {
		for partition, at := range next {
			first, end, err := l.cfg.Cluster.Bounds(ctx, topic, partition)
			if err != nil {
				return err
			}
			read, of = read+at-first, of+end-first
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.read, l.of = read, of
	return nil
}

// Problems says why the monitors are not at work, one line, and nothing when they
// are.
func (l *Lookout) Problems() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.trouble == nil {
		return nil
	}
	return []string{fmt.Sprintf("monitors wait: %v", l.trouble)}
}

// Progress returns how many of the records of both topics have been read, as of
// about a second ago.
func (l *Lookout) Progress() (read, of int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.read, l.of
}

// Models returns the models' names in the order of the project.
func (l *Lookout) Models() []string {
	var names []string
	for _, m := range l.cfg.Models {
		names = append(names, m.Name)
	}
	return names
}

// View calls do with the monitors of a model, while nothing else uses them, and
// reports whether there is such a model. It must not keep them.
func (l *Lookout) View(model string, do func(*monitor.Fleet)) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.post(model)
	if p != nil {
		do(p.fleet)
	}
	return p != nil
}

// Late returns how many predictions of a model came after the look that they
// belong to, and are in no monitor.
func (l *Lookout) Late(model string) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p := l.post(model); p != nil {
		return p.late
	}
	return 0
}

// Changed returns a channel that is closed when something has been taken in. Ask
// for it anew after that.
func (l *Lookout) Changed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

func (l *Lookout) post(model string) *post {
	i := slices.IndexFunc(l.posts, func(p *post) bool { return p.name == model })
	if i < 0 {
		return nil
	}
	return l.posts[i]
}
