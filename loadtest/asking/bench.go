package asking

import (
	"context"
	"fmt"
	"io"
	"runtime/pprof"
	"time"

	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/loadtest"
	"github.com/millrace/millrace/streams"
)

// A Bench measures a server that is in this process, and nothing else that works.
type Bench struct {
	Address  string   // of the server
	Entities []string // that are asked about
	Rate     int      // requests a second of the open loops
	Duration time.Duration
	Ask      func(context.Context, *Load) (*Answers, error) // asks from another process
	Profile  io.Writer                                      // gets a CPU profile of the first open loop; nil: none
	Step     func(string)                                   // told what begins
}

// A Figure is what a load has cost. CPU milliseconds are those of the whole
// process of the server, user and system: HTTP, lookup, score, the broker that
// keeps the predictions, and the garbage collector.
type Figure struct {
	Load    string `json:"load"` // open or closed
	Explain bool   `json:"explain"`
	Rate    int    `json:"rate,omitempty"` // requests a second that are due
	Clients int    `json:"clients"`        // connections
	Answers
	CPUSeconds float64 `json:"cpu_s"`
	CPUMillis  float64 `json:"cpu_ms_per_answer"`
}

// clients are the connections of the open loops: at 5,000 requests a second all
// of them wait only after a stall of 13 ms.
const clients = 64

// loads are what is measured, one after another.
func (b *Bench) loads() []Load {
	all := []Load{
		{Rate: b.Rate, Clients: min(clients, b.Rate)},
		{Rate: b.Rate, Clients: min(clients, b.Rate), Explain: true},
		{Clients: 1}, {Clients: 8}, {Clients: 8, Explain: true},
	}
	for i := range all {
		all[i].Address, all[i].Entities, all[i].Duration = b.Address, b.Entities, b.Duration
	}
	return all
}

// When the process is at rest, and for how long at most that is waited for.
const (
	restLook  = 250 * time.Millisecond
	restShare = 20 // it uses less than a twentieth of a core
	restLimit = 30 * time.Second
)

// rest waits until the process does nothing any more of what came before, as
// compactions of the store and what reads the topic of trades.
func (b *Bench) rest(ctx context.Context) error {
	b.Step("waiting until nothing else is at work")
	for began := time.Now(); ; {
		before := loadtest.CPUTime()
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(restLook):
		}
		if loadtest.CPUTime()-before < restLook/restShare {
			return nil
		}
		if time.Since(began) > restLimit {
			b.Step(fmt.Sprintf("something still is after %v, and counts in what follows", restLimit))
			return nil
		}
	}
}

// Run lets the process come to rest, warms the server up with a tenth of the
// time, measures, and returns the figures and how many requests the server has
// answered in all.
func (b *Bench) Run(ctx context.Context) (figures []Figure, answered int64, err error) {
	if err := b.rest(ctx); err != nil {
		return nil, 0, err
	}
	warm := Load{Address: b.Address, Entities: b.Entities, Clients: 8, Duration: b.Duration / 10}
	b.Step("warming up")
	a, err := b.Ask(ctx, &warm)
	if err != nil {
		return nil, 0, err
	}
	answered = int64(a.Answered)
	for i, l := range b.loads() {
		b.Step(describe(&l))
		var profile io.Writer
		if i == 0 {
			profile = b.Profile
		}
		f, err := b.measure(ctx, &l, profile)
		if err != nil {
			return nil, 0, err
		}
		figures = append(figures, *f)
		answered += int64(f.Answered)
	}
	return figures, answered, nil
}

func describe(l *Load) string {
	what := fmt.Sprintf("asking on %d connections", l.Clients)
	switch {
	case l.Rate > 0:
		what = fmt.Sprintf("asking %d times a second", l.Rate)
	case l.Clients == 1:
		what = "asking on one connection"
	}
	if l.Explain {
		what += ", with explanations"
	}
	return fmt.Sprintf("%s, for %v", what, l.Duration)
}

func (b *Bench) measure(ctx context.Context, l *Load, profile io.Writer) (*Figure, error) {
	f := &Figure{Load: "closed", Explain: l.Explain, Rate: l.Rate, Clients: l.Clients}
	if l.Rate > 0 {
		f.Load = "open"
	}
	if profile != nil {
		if err := pprof.StartCPUProfile(profile); err != nil {
			return nil, err
		}
		defer pprof.StopCPUProfile()
	}
	before := loadtest.CPUTime()
	a, err := b.Ask(ctx, l)
	if err != nil {
		return nil, err
	}
	f.CPUSeconds = (loadtest.CPUTime() - before).Seconds()
	f.Answers = *a
	if a.Answered == 0 {
		return nil, fmt.Errorf("none of %d requests was answered; the first error: %s", a.Asked, a.Error)
	}
	f.CPUMillis = 1000 * f.CPUSeconds / float64(a.Answered)
	return f, nil
}

// Logged counts the predictions in the log.
func Logged(ctx context.Context, cluster *streams.Cluster, project string) (n int64, err error) {
	topic := feedback.Topic(project)
	partitions, err := cluster.Partitions(ctx, topic)
	for i := 0; i < partitions && err == nil; i++ {
		var k int64
		k, err = loggedIn(ctx, cluster, topic, i)
		n += k
	}
	return n, err
}

func loggedIn(ctx context.Context, cluster *streams.Cluster, topic string, partition int) (n int64, err error) {
	next, end, err := cluster.Bounds(ctx, topic, partition)
	if err != nil {
		return 0, err
	}
	r := cluster.Reader(topic, partition, next)
	defer r.Close()
	for next < end {
		batch, err := r.Fetch(ctx)
		if err != nil {
			return 0, err
		}
		for i := range batch.Records {
			rec, err := feedback.Decode(batch.Records[i].Value)
			if err != nil {
				return 0, err
			}
			if rec.Prediction != nil {
				n++
			}
		}
		next = batch.Next
	}
	return n, nil
}
