package lookout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/deploy/alarms"
	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/feedback/monitor"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/broker"
)

const (
	project = "shop"
	day     = 24 * time.Hour
	horizon = 2 * day
	learned = 25 // the day up to which version 1 has learned, and from which it answers
)

func theModel() Model {
	m := Model{Model: monitor.Model{
		Name: "m", Binary: true, Set: "set", Entity: []string{"who"}, Horizon: horizon, Grace: time.Hour,
		Inputs: []features.Field{{Name: "v.a", Kind: expr.Float}, {Name: "v.b", Kind: expr.Float}},
	}, Config: monitor.Config{Window: 2 * day, Reference: 20 * day, Block: 2 * day, False: 1, Per: 400 * day}}
	m.Config = m.Config.WithDefaults(horizon)
	return m
}

// A world is days of predictions and examples of a model, in two partitions. From
// the day that it shifts, feature b is another.
type world struct {
	*testing.T
	addr     string
	cluster  *streams.Cluster
	producer *streams.Producer
	registry *registry.Registry
	model    Model
	random   *rand.Rand
	shifts   int
	days     int // that are written
	seq      int64
}

func newWorld(t *testing.T, seed uint64, shifts int) *world {
	b, err := broker.Start(broker.Options{})
	must(t, err)
	t.Cleanup(func() { b.Close() })
	cluster, err := streams.Connect(streams.Options{Addresses: []string{b.Addr()}})
	must(t, err)
	t.Cleanup(cluster.Close)
	producer := streams.NewProducer(cluster)
	t.Cleanup(producer.Close)
	reg, err := registry.Open(filepath.Join(t.TempDir(), "registry.db"))
	must(t, err)
	t.Cleanup(func() { reg.Close() })
	w := &world{T: t, addr: b.Addr(), cluster: cluster, producer: producer, registry: reg, model: theModel(), random: rand.New(rand.NewPCG(seed, 7)), shifts: shifts}
	for _, topic := range []string{feedback.Topic(project), feedback.ExamplesTopic(project)} {
		must(t, cluster.Ensure(t.Context(), topic, 2, nil))
	}
	_, err = reg.AddRun(t.Context(), registry.Run{
		Model: "m", Status: registry.Trained, Began: time.Unix(1, 0), Ended: time.Unix(2, 0), Spec: json.RawMessage(`{}`), Bundle: "b1",
	}, &registry.Version{Author: "trainer", Cutoff: at(learned)})
	must(t, err)
	return w
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// at is the beginning of a day.
func at(days int) int64 { return int64(days) * day.Microseconds() }

// write writes days of both topics, each ended by its ticks.
func (w *world) write(days int) {
	for range days {
		var served, known []streams.Record
		for i := range 20 {
			p := w.prediction(i)
			served = append(served, streams.Record{Value: p.AppendJSON(nil), Time: p.Time, Partition: i % 2})
			w.seq++
			e := feedback.Example{Kind: feedback.Labelled, Seq: w.seq << 20, Prediction: p, Label: float64(w.random.IntN(2)), Outcome: fmt.Sprint("o", w.seq), Happened: p.Time + 1, Known: p.Time + 1}
			known = append(known, streams.Record{Value: e.AppendJSON(nil), Time: p.Time, Partition: i % 2})
		}
		w.days++
		for p := range 2 {
			tick := at(w.days) + time.Hour.Microseconds()
			served = append(served, streams.Record{Value: feedback.Tick{Time: tick}.AppendJSON(nil), Time: tick, Partition: p})
			w.seq++
			passed := feedback.Example{Kind: feedback.Passed, Seq: w.seq << 20, Known: tick}
			known = append(known, streams.Record{Value: passed.AppendJSON(nil), Time: tick, Partition: p})
		}
		w.send(feedback.Topic(project), served)
		w.send(feedback.ExamplesTopic(project), known)
	}
}

func (w *world) send(topic string, records []streams.Record) {
	w.Helper()
	_, err := w.producer.Produce(w.Context(), topic, records)
	must(w.T, err)
}

func (w *world) prediction(i int) feedback.Prediction {
	a, b := w.random.NormFloat64(), w.random.NormFloat64()
	if w.days >= w.shifts {
		b += 3
	}
	score := feedback.Score{Value: 0.5 + 0.001*w.random.NormFloat64()}
	if w.days >= learned {
		score.Version, score.Bundle = 1, "b1"
	}
	return feedback.Prediction{
		ID: fmt.Sprintf("p%d-%d", w.days, i), Model: "m", Key: "k", Time: at(w.days) + int64(i)*time.Hour.Microseconds(),
		Entity: []features.Named{{Name: "who", Expr: "k"}}, Set: "set", Vector: []features.Value{expr.FloatValue(a), expr.FloatValue(b)},
		Score: score,
	}
}

func (w *world) book(name string) *alarms.Book {
	b, err := alarms.Open(filepath.Join(w.TempDir(), name))
	must(w.T, err)
	w.Cleanup(func() { b.Close() })
	return b
}

func (w *world) lookout(b *alarms.Book) *Lookout {
	l, err := New(Config{Project: project, Models: []Model{w.model}, Cluster: w.cluster, Registry: w.registry, Book: b, Log: slog.New(slog.DiscardHandler), Quiet: true})
	must(w.T, err)
	return l
}

func (w *world) catchUp(l *Lookout) {
	w.Helper()
	l.behind = true // so that it goes on to the end that the topics have now
	for more := true; more; {
		var err error
		more, err = l.Step(w.Context())
		must(w.T, err)
	}
}

// lines are the alarms of a book, without when they were seen, and without the
// value of the newest look that told of them, which no other book had to be told of.
func (w *world) lines(b *alarms.Book) (lines []string) {
	w.Helper()
	all, err := b.List(w.Context(), alarms.Filter{})
	must(w.T, err)
	for _, e := range all {
		e.Value = 0
		lines = append(lines, fmt.Sprintf("%+v", e.Alarm))
	}
	return lines
}

// TestTheSameAlarmsHoweverTheLogIsRead cuts it elsewhere, and starts again now and
// then, after which the log is read from its beginning.
func TestTheSameAlarmsHoweverTheLogIsRead(t *testing.T) {
	w := newWorld(t, 1, 30)
	w.write(36)
	once := w.book("once")
	l := w.lookout(once)
	w.catchUp(l)
	l.Close()
	want := w.lines(once)
	if !slices.ContainsFunc(want, func(s string) bool { return strings.Contains(s, "m/drift/v.b/") }) {
		t.Fatalf("feature b has shifted, and there are these alarms: %q", want)
	}
	for seed := range uint64(2) {
		random := rand.New(rand.NewPCG(seed, 1))
		again, b := newWorld(t, 1, 30), w.book(fmt.Sprint("again", seed))
		l := again.lookout(b)
		for again.days < 36 {
			again.write(min(1+random.IntN(8), 36-again.days))
			if random.IntN(3) == 0 {
				l.Close()
				l = again.lookout(b)
			}
			if random.IntN(2) == 0 {
				again.catchUp(l)
			}
		}
		again.catchUp(l)
		l.Close()
		if got := again.lines(b); !slices.Equal(got, want) {
			t.Errorf("seed %d:\n%s\nwant\n%s", seed, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

// TestAwayForAWhile: what comes at once after a pause raises nothing but what it
// would have raised in its time.
func TestAwayForAWhile(t *testing.T) {
	w := newWorld(t, 2, 1<<30)
	b := w.book("b")
	l := w.lookout(b)
	defer l.Close()
	w.write(30)
	w.catchUp(l)
	w.write(20) // nobody looks
	w.catchUp(l)
	there := newWorld(t, 2, 1<<30)
	stays := there.book("stays")
	daily := there.lookout(stays)
	defer daily.Close()
	for range 50 {
		there.write(1)
		there.catchUp(daily)
	}
	if got, want := w.lines(b), there.lines(stays); !slices.Equal(got, want) {
		t.Errorf("%q, and where nobody was away %q", got, want)
	}
	l.View("m", func(f *monitor.Fleet) {
		if c := f.Counts(); c.Predictions != 50*20 || c.Answered != 50*20 || l.posts[0].late != 0 {
			t.Errorf("%+v, %d late", c, l.posts[0].late)
		}
	})
	w.catchUp(l)
	if read, of := l.Progress(); read != of || of != 50*44 {
		t.Errorf("%d of %d records are read", read, of)
	}
}

// TestLateAndRepeated: a prediction of a day that has been looked at is in no
// monitor, and one that is there twice counts once.
func TestLateAndRepeated(t *testing.T) {
	w := newWorld(t, 3, 1<<30)
	w.write(3)
	p := w.prediction(1)
	p.ID, p.Time = "late", at(1)
	twice := w.prediction(1)
	twice.ID = "p2-3"
	var records []streams.Record
	for _, x := range []feedback.Prediction{p, twice, twice} {
		records = append(records, streams.Record{Value: x.AppendJSON(nil), Time: x.Time, Partition: 1})
	}
	w.send(feedback.Topic(project), records)
	l := w.lookout(nil)
	defer l.Close()
	w.catchUp(l)
	l.View("m", func(f *monitor.Fleet) {
		if c := f.Counts(); c.Predictions != 60 {
			t.Errorf("%+v", c)
		}
	})
	if n := l.Late("m"); n != 1 {
		t.Errorf("%d late", n)
	}
	if l.View("none", func(*monitor.Fleet) { t.Error("there are monitors of no model") }) {
		t.Error("there is a model that is not there")
	}
}

// TestABookThatIsAway: alarms wait for it.
func TestABookThatIsAway(t *testing.T) {
	w := newWorld(t, 1, 30)
	w.write(36)
	gone := w.book("gone")
	must(t, gone.Close())
	l := w.lookout(gone)
	defer l.Close()
	var err error
	for more := true; more && err == nil; {
		more, err = l.Step(t.Context())
	}
	if err == nil || len(l.Problems()) != 1 || !strings.Contains(l.Problems()[0], "monitors wait") {
		t.Fatalf("error %v, problems %q", err, l.Problems())
	}
	l.cfg.Book = w.book("back")
	w.catchUp(l)
	whole := w.book("whole")
	other := w.lookout(whole)
	defer other.Close()
	w.catchUp(other)
	if got, want := w.lines(l.cfg.Book), w.lines(whole); !slices.Equal(got, want) || len(want) == 0 || l.Problems() != nil {
		t.Errorf("%q, want %q; problems %q", got, want, l.Problems())
	}
}

// TestRetrain asks for a candidate for each alarm that is news.
func TestRetrain(t *testing.T) {
	w := newWorld(t, 1, 30)
	w.model.Config.Retrain = true
	w.write(29)
	var asked []string
	l := w.lookout(w.book("b"))
	defer l.Close()
	fails := 2
	l.cfg.Ask = func(_ context.Context, model string, a monitor.Alarm) error {
		if fails--; fails >= 0 {
			return errors.New("away")
		}
		asked = append(asked, model+" "+a.Column)
		return nil
	}
	w.catchUp(l)
	w.write(7)
	for range 10 {
		_, _ = l.Step(t.Context())
	}
	if !slices.Contains(asked, "m v.b") || fails > 0 {
		t.Errorf("asked %q, %d failures left", asked, fails)
	}
}

// TestReadersGetIn looks at the monitors all the time while they catch up with the
// log, and from within what is done aside, where a lock that is kept would be the
// end of it.
func TestReadersGetIn(t *testing.T) {
	w := newWorld(t, 1, 30)
	w.write(36)
	l := w.lookout(nil)
	defer l.Close()
	look := func() (readings int) {
		l.View("m", func(f *monitor.Fleet) {
			readings = len(f.Readings())
			_, _ = f.Reading(monitor.DriftMonitor, "v.b")
			_ = f.Series("v.b", 0, at(100))
		})
		return readings
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				look()
			}
		}
	}()
	w.catchUp(l)
	close(stop)
	<-stopped
	l.mu.Lock()
	defer l.mu.Unlock()
	l.aside(func() {
		if look() == 0 {
			t.Error("there are no monitors")
		}
	})
}
