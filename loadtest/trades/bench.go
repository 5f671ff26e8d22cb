package trades

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"sync"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/features/online/pebble"
	"github.com/millrace/millrace/loadtest"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/broker"
	"github.com/millrace/millrace/streams/codec"
	"github.com/millrace/millrace/streams/pipeline"
)

// A Bench measures the way of trades from JSON in a topic to committed rows, on
// the embedded engines, all of it in this process.
type Bench struct {
	Events     int // in the topic before the measurement
	Partitions int
	Rate       int           // events a second of the measurement of latency; 0: none
	Duration   time.Duration // of that
	Dir        string        // where the engines keep their files
	Log        *slog.Logger
	Profile    io.Writer    // gets a CPU profile of the backlog's work; nil: none
	Step       func(string) // told what begins
}

// A Result is what a Bench has measured.
type Result struct {
	Partitions int      `json:"partitions"`
	Backlog    Work     `json:"backlog"` // JSON in the topic to committed rows
	Commits    int      `json:"commits"` // of the backlog
	Rows       int      `json:"rows"`    // in the store after it
	Decode     Work     `json:"decode"`  // the same topic read and decoded, and nothing else
	Latency    *Latency `json:"latency,omitempty"`
}

// Work is what some events took. CPU seconds are those of the whole process,
// the embedded broker, the store and the garbage collector included.
type Work struct {
	Events       int64   `json:"events"`
	Seconds      float64 `json:"seconds"`
	CPUSeconds   float64 `json:"cpu_s"`
	PerSecond    float64 `json:"events_per_s"`
	PerCPUSecond float64 `json:"events_per_cpu_s"`
}

// Latency is how long events took from the moment at which they were due to be
// produced, whether or not the producer was held up, to the commit that covers
// them.
type Latency struct {
	Rate   int     `json:"rate"` // events a second
	Events int     `json:"events"`
	P50    float64 `json:"p50_ms"`
	P90    float64 `json:"p90_ms"`
	P99    float64 `json:"p99_ms"`
	P999   float64 `json:"p99_9_ms"`
	Max    float64 `json:"max_ms"`
}

const project = "bench"

// Run measures. It takes the directory as it is: a fresh one is expected.
func (b Bench) Run(ctx context.Context) (res *Result, err error) {
	plan, err := Plan("", b.Partitions)
	if err != nil {
		return nil, err
	}
	r := newRun(b, plan)
	defer func() { err = errors.Join(err, r.close()) }()
	if err := r.open(ctx); err != nil {
		return nil, err
	}
	res = &Result{Partitions: b.Partitions}
	b.Step(fmt.Sprintf("producing %d events", b.Events))
	if err := r.fill(ctx); err != nil {
		return nil, err
	}
	b.Step("reading and decoding them, nothing else")
	if res.Decode, err = measure(func() (int64, error) { return r.decode(ctx) }); err != nil {
		return nil, err
	}
	b.Step("applying them")
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	defer func() {
		cancel()
		err = errors.Join(err, <-done)
	}()
	if res.Backlog, err = r.backlog(ctx, done); err != nil {
		return nil, err
	}
	res.Commits = r.committed()
	if res.Rows, err = r.rows(ctx); err != nil {
		return nil, err
	}
	if b.Rate > 0 {
		b.Step(fmt.Sprintf("producing %d events a second for %v", b.Rate, b.Duration))
		res.Latency, err = r.latency(ctx)
	}
	return res, err
}

type run struct {
	Bench
	plan     *features.Plan
	topic    string
	trades   *Generator
	broker   *broker.Broker
	store    *pebble.Store
	cluster  *streams.Cluster
	producer *streams.Producer

	moved   chan struct{} // has one when commits has grown
	ended   chan error    // has one when the pipeline has ended
	mu      sync.Mutex
	commits [][]commit // by partition
}

type commit struct {
	next int64 // offset that follows what is committed
	at   time.Time
}

func newRun(b Bench, plan *features.Plan) *run {
	return &run{
		Bench: b, plan: plan, topic: plan.Topic(project), trades: NewGenerator(1),
		moved: make(chan struct{}, 1), ended: make(chan error, 1), commits: make([][]commit, b.Partitions),
	}
}

func (r *run) open(ctx context.Context) (err error) {
	if r.broker, err = broker.Start(broker.Options{Dir: filepath.Join(r.Dir, "broker"), Log: r.Log}); err != nil {
		return err
	}
	if r.store, err = pebble.Open(filepath.Join(r.Dir, "store")); err != nil {
		return err
	}
	if r.cluster, err = streams.Connect(streams.Options{Addresses: []string{r.broker.Addr()}}); err != nil {
		return err
	}
	r.producer = streams.NewProducer(r.cluster)
	return r.cluster.Ensure(ctx, r.topic, r.Partitions, map[string]string{"retention.ms": "-1"})
}

func (r *run) close() error {
	var errs []error
	if r.producer != nil {
		r.producer.Close()
	}
	if r.cluster != nil {
		r.cluster.Close()
	}
	if r.broker != nil {
		errs = append(errs, r.broker.Close())
	}
	if r.store != nil {
		errs = append(errs, r.store.Close())
	}
	return errors.Join(errs...)
}

// measure runs f, which returns how many events it has worked on.
func measure(f func() (int64, error)) (Work, error) {
	began, cpu := time.Now(), loadtest.CPUTime()
	n, err := f()
	w := Work{Events: n, Seconds: time.Since(began).Seconds(), CPUSeconds: (loadtest.CPUTime() - cpu).Seconds()}
	w.PerSecond, w.PerCPUSecond = float64(n)/w.Seconds, float64(n)/w.CPUSeconds
	return w, err
}

// fill produces the backlog.
func (r *run) fill(ctx context.Context) error {
	const chunk = 20_000
	for n := 0; n < r.Events; n += chunk {
		if _, err := r.produce(ctx, min(chunk, r.Events-n)); err != nil {
			return err
		}
	}
	return nil
}

// produce writes the next n trades.
func (r *run) produce(ctx context.Context, n int) ([]streams.Position, error) {
	records := make([]streams.Record, n)
	for i := range records {
		t := r.trades.Next()
		records[i] = streams.Record{Key: t.AppendKey(nil), Value: t.AppendJSON(nil), Partition: -1}
	}
	return r.producer.Produce(ctx, r.topic, records)
}

// decode reads all partitions at once and decodes what it reads.
func (r *run) decode(ctx context.Context) (int64, error) {
	counts, errs := make([]int64, r.Partitions), make([]error, r.Partitions)
	var wg sync.WaitGroup
	for i := range r.Partitions {
		wg.Go(func() { counts[i], errs[i] = r.decodePartition(ctx, i) })
	}
	wg.Wait()
	total := int64(0)
	for _, n := range counts {
		total += n
	}
	return total, errors.Join(errs...)
}

func (r *run) decodePartition(ctx context.Context, partition int) (n int64, err error) {
	decoder, err := codec.New(r.plan.Source)
	if err != nil {
		return 0, err
	}
	reader := r.cluster.Reader(r.topic, partition, 0)
	defer reader.Close()
	var e features.Event
	for {
		batch, err := reader.Fetch(ctx)
		if err != nil {
			return n, err
		}
		for i := range batch.Records {
			if err := decoder.Decode(batch.Records[i].Value, &e); err != nil {
				return n, err
			}
		}
		n += int64(len(batch.Records))
		if batch.Next >= batch.HighWater {
			return n, nil
		}
	}
}

// backlog starts the pipeline, whose end done will tell, and waits until all
// that is in the topic is committed.
func (r *run) backlog(ctx context.Context, done chan<- error) (Work, error) {
	host := pipeline.New(pipeline.Config{
		Project: project, Plans: []*features.Plan{r.plan}, Cluster: r.cluster, Producer: r.producer, Store: r.store, Log: r.Log,
		TopicConfig: map[string]string{"retention.ms": "-1"}, OnCommit: r.onCommit,
	})
	if r.Profile != nil {
		if err := pprof.StartCPUProfile(r.Profile); err != nil {
			done <- nil
			return Work{}, err
		}
		defer pprof.StopCPUProfile()
	}
	go func() {
		err := host.Run(ctx)
		r.ended <- err
		done <- err
	}()
	return measure(func() (int64, error) {
		err := r.wait(ctx, r.Events)
		return r.applied(), err
	})
}

// wait waits until n records are committed. It fails when the pipeline ends
// before, as it does when ctx ends.
func (r *run) wait(ctx context.Context, n int) error {
	for r.applied() < int64(n) {
		select {
		case <-r.moved:
		case err := <-r.ended:
			return cmp.Or(err, ctx.Err(), errors.New("the pipeline has ended"))
		}
	}
	return nil
}

// onCommit notes each commit.
func (r *run) onCommit(_ string, partition int, p online.Progress) {
	r.mu.Lock()
	r.commits[partition] = append(r.commits[partition], commit{p.Next, time.Now()})
	r.mu.Unlock()
	select {
	case r.moved <- struct{}{}:
	default: // it has one
	}
}

// applied is how many records are committed.
func (r *run) applied() (n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.commits {
		if len(c) > 0 {
			n += c[len(c)-1].next
		}
	}
	return n
}

func (r *run) committed() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.commits {
		n += len(c)
	}
	return n
}

func (r *run) rows(ctx context.Context) (n int, err error) {
	for _, err := range r.store.Rows(ctx, r.plan.Space(project)) {
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// A due event was to be produced at a moment, and is at an offset.
type due struct {
	offset int64
	at     time.Time
}

// latency produces events at the rate, each when it is due or, where the
// producer is held up, as soon as it can, and looks up afterwards which commit
// covered each.
func (r *run) latency(ctx context.Context) (*Latency, error) {
	total := max(1, int(float64(r.Rate)*r.Duration.Seconds()))
	sent := make([][]due, r.Partitions)
	began := time.Now()
	at := func(i int) time.Time { return began.Add(time.Duration(float64(i) / float64(r.Rate) * 1e9)) }
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for n := 0; n < total; {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-tick.C:
		}
		ready := min(total, int(time.Since(began).Seconds()*float64(r.Rate))+1) - n
		positions, err := r.produce(ctx, ready)
		if err != nil {
			return nil, err
		}
		for i, p := range positions {
			sent[p.Partition] = append(sent[p.Partition], due{p.Offset, at(n + i)})
		}
		n += ready
	}
	if err := r.wait(ctx, r.Events+total); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var waits []time.Duration
	for partition, events := range sent {
		waits = append(waits, lags(events, r.commits[partition])...)
	}
	return summary(r.Rate, waits), nil
}

// lags returns how long each event waited for the first commit that covers it.
// Both are in the order of offsets.
func lags(events []due, commits []commit) []time.Duration {
	waits := make([]time.Duration, 0, len(events))
	for _, e := range events {
		for commits[0].next <= e.offset {
			commits = commits[1:]
		}
		waits = append(waits, commits[0].at.Sub(e.at))
	}
	return waits
}

func summary(rate int, waits []time.Duration) *Latency {
	slices.Sort(waits)
	at := func(q float64) float64 { return loadtest.Millis(loadtest.Quantile(waits, q)) }
	return &Latency{Rate: rate, Events: len(waits), P50: at(0.5), P90: at(0.9), P99: at(0.99), P999: at(0.999), Max: at(1)}
}
