package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/millrace/millrace/deploy"
	"github.com/millrace/millrace/deploy/client"
	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/features/online/onlinetest"
	"github.com/millrace/millrace/loadtest/stocks"
	"github.com/millrace/millrace/streams/broker"
	"github.com/millrace/millrace/streams/pipeline"
	"github.com/millrace/millrace/trainer"
	"github.com/millrace/millrace/trainer/bundle"
)

const (
	// loopDays is how many days are replayed: enough for a second version to
	// become the champion.
	loopDays = 1400

	// loopPace is how long a day takes at least. In 50 of them a child has
	// started again, so that what it missed is what a restart misses.
	loopPace = 15 * time.Millisecond

	// loopLag is how many days the replay may be ahead of the trainer and of the
	// kills. It keeps the test the same on a slow machine.
	loopLag = 40
)

// parts are all parts of the loop, in the order in which they are stopped.
var parts = []part{serving, joining, training, deploying}

// TestKillLoop replays years of the demo through a loop of four processes and
// kills each of them again and again. Each prediction that was acknowledged is in
// the log as it was answered and becomes one example with its label, the join has
// counted what it would have without a kill, there are the candidates that there
// must be, and each rollout has gone its way.
func TestKillLoop(t *testing.T) {
	w := newLoopWorld(t)
	a := newAsker(t, w)
	for _, p := range parts {
		w.start(p)
	}
	go func() { a.done <- a.run(t.Context()) }()
	w.killWhile(a)
	w.rest(a)

	logs := w.read()
	w.checkAcknowledged(a, logs)
	w.checkCounts(logs)
	w.checkReplay(logs)
	w.checkExamples(logs)
	w.checkCandidates()
	w.checkRegistry()
	w.checkTally(a)
}

// A loopWorld is the engines of a loop and its children.
type loopWorld struct {
	*loop
	t        *testing.T
	file     string
	children map[part]*child
	learned  int64 // what the trainer has passed
	plan     []strike
	random   *rand.Rand
	tally    map[part]*struck
	bundles  map[string]*bundle.Bundle // those that were opened
	strays   map[string]bool           // bundles that a killed trainer left without a run
}

func newLoopWorld(t *testing.T) *loopWorld {
	b, err := broker.Start(broker.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	store := onlinetest.StartRedis(t).Addr
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close() // a server that starts again needs the same address
	w := &loopWorld{
		t: t, file: filepath.Join(t.TempDir(), "stocks.yaml"), children: map[part]*child{}, learned: math.MinInt64,
		random: rand.New(rand.NewPCG(seed, 8)), tally: map[part]*struck{}, bundles: map[string]*bundle.Bundle{}, strays: map[string]bool{},
	}
	text := fmt.Appendf(stocks.ProjectFile(), "\nkafka: {addresses: [%q]}\nstore: {redis: {addresses: [%q]}}\nhttp: {listen: %q}\n", b.Addr(), store, ln.Addr())
	if err := os.WriteFile(w.file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if w.loop, err = openLoop(t.Context(), w.file, slog.New(slog.NewTextHandler(t.Output(), nil))); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.close() })
	if _, err := pipeline.EnsureFeedback(t.Context(), w.cluster, w.project.Name, w.stages().TopicConfig); err != nil {
		t.Fatal(err)
	}
	src := w.project.Sources[0]
	if err := w.cluster.Ensure(t.Context(), src.Topic, src.Partitions, w.stages().TopicConfig); err != nil {
		t.Fatal(err)
	}
	for _, p := range parts {
		w.tally[p] = &struck{}
	}
	return w
}

func (w *loopWorld) start(p part) {
	w.t.Helper()
	w.children[p] = start(w.t, orders{Part: p, File: w.file})
}

// An asker replays the days, and approves what the gate promotes, as another
// process would.
type asker struct {
	stocks.Replay
	registry *registry.Registry
	acked    map[string]*client.Prediction // by id
	cut      int                           // requests that were not answered
	days     [][]stocks.Event
	times    []time.Time // of the days

	answered chan struct{} // has a token when a prediction was acknowledged
	done     chan error
	approved chan int     // days at which a version was approved
	day      atomic.Int64 // the day that is settled
	struck   atomic.Int64 // the day up to which the kills are done
	learned  atomic.Int64 // the time up to which the trainer has read
}

func newAsker(t *testing.T, w *loopWorld) *asker {
	c, err := client.New("http://" + w.project.HTTP.Listen)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	a := &asker{registry: w.registry, acked: map[string]*client.Prediction{}, answered: make(chan struct{}, 1), done: make(chan error, 1), approved: make(chan int, loopDays)}
	a.days = stocks.Days(stocks.Events())[:loopDays]
	for _, day := range a.days {
		a.times = append(a.times, day[0].Time)
	}
	a.learned.Store(math.MinInt64)
	a.Replay = stocks.Replay{
		Source: &w.project.Sources[0], Cluster: w.cluster, Producer: w.producer, Client: c, Pace: loopPace, Days: loopDays,
		Served: func([]stocks.Event, time.Duration, *stocks.Vectors) {}, Settle: a.settle,
	}
	return a
}

// run replays to the end. Where the server is away the replay goes on from what
// the topic holds.
func (a *asker) run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	for {
		err := a.Run(ctx)
		if err == nil {
			return nil
		}
		if err := a.missed(ctx, err); err != nil {
			return err
		}
	}
}

// away reports whether an error says that the server was killed, or has not yet
// come to its work.
func away(err error) bool {
	var broken net.Error
	var answer *client.Error
	return errors.As(err, &broken) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.As(err, &answer) && (answer.Status == http.StatusServiceUnavailable || answer.Status == http.StatusGatewayTimeout)
}

// ask asks for the predictions of a day until each is acknowledged, and never
// again: one that was acknowledged and lost stays lost.
func (a *asker) ask(ctx context.Context, day []stocks.Event) error {
	for i := range day {
		e := &day[i]
		for a.acked[e.ID()] == nil {
			p, err := a.Client.Predict(ctx, stocks.Model, client.PredictRequest{ID: e.ID(), Entity: map[string]any{stocks.Entity: e.Symbol}})
			if err != nil {
				if err := a.missed(ctx, err); err != nil {
					return err
				}
				continue
			}
			a.acked[e.ID()] = p
			select {
			case a.answered <- struct{}{}:
			default:
			}
		}
	}
	return nil
}

// missed waits for a server that was killed. It returns any other error.
func (a *asker) missed(ctx context.Context, err error) error {
	if ctx.Err() != nil || !away(err) {
		return err
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		a.cut++
	}
	time.Sleep(5 * time.Millisecond)
	return nil
}

func (a *asker) settle(ctx context.Context, day time.Time) error {
	d, _ := slices.BinarySearchFunc(a.times, day, time.Time.Compare)
	if err := a.ask(ctx, a.days[d]); err != nil {
		return err
	}
	a.day.Store(int64(d))
	some, err := approve(ctx, a.registry)
	if err != nil {
		return err
	}
	if some {
		a.approved <- d
	}
	for d >= loopLag && (a.struck.Load() < int64(d-loopLag) || a.learned.Load() < a.times[d-loopLag].UnixMicro()) {
		if ctx.Err() != nil {
			return fmt.Errorf("at day %d the kills are at day %d and the trainer at %v: %w", d, a.struck.Load(), time.UnixMicro(a.learned.Load()), ctx.Err())
		}
		time.Sleep(time.Millisecond)
	}
	return nil
}

// approve approves what is in review. What the champion has changed under is
// refused, which is the registry's part.
func approve(ctx context.Context, r *registry.Registry) (some bool, err error) {
	waiting, err := r.VersionsIn(ctx, stocks.Model, registry.Review)
	if err != nil {
		return false, err
	}
	for _, v := range waiting {
		err := r.Approve(ctx, v.Model, v.Number, "a person", "better")
		if err != nil && !errors.Is(err, registry.ErrRefused) && !errors.Is(err, registry.ErrConflict) {
			return false, err
		}
		some = some || err == nil
	}
	return some, nil
}

// A strike is a kill that is due at a day of the replay.
type strike struct {
	day   int
	part  part
	delay time.Duration
	again bool // and once more while the child starts
}

// addStrike plans a kill, at a moment of the day that is chance.
func (w *loopWorld) addStrike(day int, p part, most time.Duration) {
	w.plan = append(w.plan, strike{min(day, loopDays-1), p, time.Duration(w.random.Int64N(int64(most))), w.random.IntN(4) == 0})
	slices.SortStableFunc(w.plan, func(a, b strike) int { return a.day - b.day })
}

// firstStrikes plans what does not depend on the loop: kills anywhere, and of the
// trainer when it is about to make a candidate.
func (w *loopWorld) firstStrikes() {
	for i := range 8 {
		w.addStrike(w.random.IntN(loopDays), serving, []time.Duration{1, 5 * time.Millisecond}[i%2]) // at once after an answer, and at any time
		w.addStrike(w.random.IntN(loopDays), joining, 15*time.Millisecond)
	}
	for range 3 {
		w.addStrike(w.random.IntN(loopDays), deploying, 15*time.Millisecond)
	}
	every, events := w.project.Models[0].Train.Every, 0
	for d, day := range stocks.Days(stocks.Events())[:loopDays] {
		if before := events; before/every < (before+len(day))/every {
			w.addStrike(d+1, training, 150*time.Millisecond)
		}
		events += len(day)
	}
}

// killWhile kills children until the replay is at its end.
func (w *loopWorld) killWhile(a *asker) {
	w.t.Helper()
	w.firstStrikes()
	for ended := false; !ended || len(w.plan) > 0; {
		w.hear()
		a.learned.Store(w.learned)
		select {
		case day := <-a.approved: // the rollout begins, switches, and is watched to its end
			w.addStrike(day, deploying, 20*time.Millisecond)
			w.addStrike(day+w.random.IntN(25), deploying, 20*time.Millisecond)
			w.addStrike(day+40+w.random.IntN(150), deploying, 20*time.Millisecond)
		case err := <-a.done:
			if err != nil {
				w.t.Fatal(err)
			}
			ended = true
		default:
		}
		day := a.day.Load()
		for len(w.plan) > 0 && w.plan[0].day <= int(day) {
			if w.plan[0].part == serving {
				a.awaitAnswer()
			}
			w.strike(w.plan[0])
			w.plan = w.plan[1:]
		}
		a.struck.Store(day)
		time.Sleep(time.Millisecond)
	}
}

// awaitAnswer waits until a prediction is acknowledged. At the end of the replay,
// and where that has to wait for other kills, none is.
func (a *asker) awaitAnswer() {
	select { // one of before
	case <-a.answered:
	default:
	}
	select {
	case <-a.answered:
	case <-time.After(time.Second):
	}
}

// strike kills a child and starts it again.
func (w *loopWorld) strike(s strike) {
	w.t.Helper()
	time.Sleep(s.delay)
	due, n := w.due(s.part), w.tally[s.part]
	w.kill(s.part)
	n.kills++
	switch last := w.children[s.part].last; {
	case s.part == training && last.running == 1, due > last.applied:
		n.busy++
	}
	if s.part == training && w.unnoted() > 0 {
		n.unnoted++
	}
	w.start(s.part)
	if s.again {
		pause(w.random, 250*time.Millisecond)
		w.kill(s.part)
		n.kills++
		n.starting++
		w.start(s.part)
	}
}

// struck says what the kills of a part have struck.
type struck struct {
	kills    int
	starting int // while the child started
	busy     int // with work: requests, records, a step, a version on its way into service
	unnoted  int // between a bundle and its run
}

// unnoted is how many bundles have no run, half-written ones included, of which
// it has not counted any before.
func (w *loopWorld) unnoted() int {
	w.t.Helper()
	bundles, err := os.ReadDir(w.project.ModelsDir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.t.Fatal(err)
	}
	runs, err := w.registry.Runs(w.t.Context(), stocks.Model)
	if err != nil {
		w.t.Fatal(err)
	}
	n := 0
	for _, b := range bundles {
		if !w.strays[b.Name()] && !slices.ContainsFunc(runs, func(r registry.Run) bool { return r.Bundle == b.Name() }) {
			w.strays[b.Name()] = true
			n++
		}
	}
	return n
}

// due is how much work there is for a part in all: records for the join, versions
// for the deployer.
func (w *loopWorld) due(p part) int64 {
	w.t.Helper()
	switch p {
	case joining:
		ends, err := w.ends(w.t.Context())
		if err != nil {
			w.t.Fatal(err)
		}
		return ends
	case deploying:
		open, err := w.registry.VersionsIn(w.t.Context(), stocks.Model, registry.Approved, registry.Shadow)
		if err != nil {
			w.t.Fatal(err)
		}
		return int64(len(open))
	}
	return 0
}

// kill kills a child, and sees that it was at work until then.
func (w *loopWorld) kill(p part) {
	w.t.Helper()
	w.hear()
	c := w.children[p]
	c.kill()
	if status, ok := c.command.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		w.t.Fatalf("the %s ended by itself: %v; it wrote:\n%s", p, c.command.ProcessState, &c.errors)
	}
	w.complains(p)
}

// complains looks for errors in what a child that has ended wrote.
func (w *loopWorld) complains(p part) {
	w.t.Helper()
	for line := range strings.Lines(w.children[p].errors.String()) {
		if strings.Contains(line, "level=ERROR") {
			w.t.Errorf("the %s wrote: %s", p, line)
		}
	}
}

// hear hears what the children have said.
func (w *loopWorld) hear() {
	w.t.Helper()
	for p, c := range w.children {
		for said, more := c.next(); more; said, more = c.next() {
			if p == training {
				w.learned = max(w.learned, said.applied)
			}
		}
	}
}

// rest lets the join come to the end of its log, ends the children in order, and
// takes the steps that are left.
func (w *loopWorld) rest(a *asker) {
	w.t.Helper()
	ctx := w.t.Context()
	for {
		ends, err := w.ends(ctx)
		if err != nil {
			w.t.Fatal(err)
		}
		w.children[joining].wait("the end of the log", func(s said) bool { return s.running == joinShards && s.applied >= ends })
		if again, err := w.ends(ctx); err != nil || again == ends { // the last tick is written, too
			break
		}
	}
	for _, p := range parts {
		w.children[p].stop()
		w.complains(p)
	}
	for before := -1; ; {
		history, err := w.registry.History(ctx, stocks.Model)
		if err != nil {
			w.t.Fatal(err)
		}
		if len(history) == before {
			break
		}
		before = len(history)
		t, d := trainer.New(w.trainerConfig()), deploy.New(w.deployerConfig())
		_, failed := approve(ctx, a.registry)
		if err := errors.Join(failed, t.Step(ctx), d.Step(ctx)); err != nil {
			w.t.Fatal(err)
		}
		t.Close()
		d.Close()
	}
}
