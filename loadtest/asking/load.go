package asking

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/millrace/millrace/loadtest"
)

// A Load is what is asked, and how fast.
type Load struct {
	Address  string        // of the server
	Entities []string      // of which each request names one, at random
	Explain  bool          // ask for the contributions, too
	Rate     int           // requests a second, each sent when it is due; 0: each client asks again when it is answered
	Clients  int           // connections; no more than Rate, so that the server sees none as idle
	Duration time.Duration // for how long requests are made
}

// Bounds of a Load.
const (
	MaxRate     = 100_000
	MaxClients  = 256
	MaxDuration = 10 * time.Minute
	maxEntities = 100_000
)

// Check says what is wrong with a load.
func (l *Load) Check() error {
	switch {
	case l.Rate < 0 || l.Rate > MaxRate:
		return fmt.Errorf("a rate of %d: give 0 to %d requests a second", l.Rate, MaxRate)
	case l.Clients < 1 || l.Clients > MaxClients:
		return fmt.Errorf("%d clients: give 1 to %d", l.Clients, MaxClients)
	case l.Rate > 0 && l.Clients > l.Rate:
		return fmt.Errorf("%d clients: give at most %d, one for each request of a second", l.Clients, l.Rate)
	case l.Duration <= 0 || l.Duration > MaxDuration:
		return fmt.Errorf("a duration of %v: give up to %v", l.Duration, MaxDuration)
	case len(l.Entities) < 1 || len(l.Entities) > maxEntities:
		return fmt.Errorf("%d entities: give 1 to %d", len(l.Entities), maxEntities)
	}
	return nil
}

// Answers is what came of a Load. With a rate times are from the moment at which a
// request was due to the end of its answer, so that what waits behind a stall
// counts in full; else from when it was sent. A request that failed has no time.
type Answers struct {
	Asked     int     `json:"asked"`
	Answered  int     `json:"answered"`
	Errors    int     `json:"errors"`
	Error     string  `json:"error,omitempty"`   // the first
	Unasked   int     `json:"unasked,omitempty"` // due, and given up because the server was so far behind
	Seconds   float64 `json:"seconds"`           // to the last answer
	PerSecond float64 `json:"answered_per_s"`
	P50       float64 `json:"p50_ms"`
	P99       float64 `json:"p99_ms"`
	P999      float64 `json:"p99_9_ms"`
	Max       float64 `json:"max_ms"`
	Late      float64 `json:"late_p99_ms"` // how late the load itself woke up to send, which is in the times
}

// patience is for how long answers are waited for when no more are asked for.
const patience = 10 * time.Second

// Run asks, and returns when all is answered or given up.
func (l *Load) Run(ctx context.Context) (*Answers, error) {
	if err := l.Check(); err != nil {
		return nil, err
	}
	requests, err := l.requests()
	if err != nil {
		return nil, err
	}
	r := &asker{Load: l, requests: requests, last: 2*l.Duration + patience}
	ctx, cancel := context.WithTimeout(ctx, r.last+patience)
	defer cancel()
	end, _ := ctx.Deadline()
	for range l.Clients {
		c := &caller{address: l.Address, end: end, explain: l.Explain}
		if err := c.dial(ctx); err != nil {
			r.close()
			return nil, err
		}
		r.callers = append(r.callers, c)
	}
	defer context.AfterFunc(ctx, r.close)()
	defer r.close()
	r.began = time.Now()
	if l.Rate > 0 {
		r.open(ctx)
	} else {
		r.closed(ctx)
	}
	if errors.Is(context.Cause(ctx), context.Canceled) {
		return nil, context.Cause(ctx)
	}
	return r.summary(), nil
}

// An asker is a load at work.
type asker struct {
	*Load
	requests [][]byte
	callers  []*caller
	began    time.Time
	last     time.Duration // since then: no request is sent later

	mu      sync.Mutex
	answers Answers         // all but the times
	lates   []time.Duration // of the open loop
}

// close closes the connections, which ends what waits for them.
func (r *asker) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.callers {
		c.Close()
	}
}

// note counts a request that has failed.
func (r *asker) note(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.answers.Errors++; r.answers.Errors == 1 {
		r.answers.Error = err.Error()
	}
}

var errDead = errors.New("no connection to the server any more")

// failed notes an error and takes a new connection for the caller.
func (r *asker) failed(ctx context.Context, c *caller, err error) error {
	r.note(err)
	r.mu.Lock()
	defer r.mu.Unlock()
	c.Close()
	return c.dial(ctx)
}

// closed has each caller ask again when it is answered.
func (r *asker) closed(ctx context.Context) {
	var wg sync.WaitGroup
	asked := make([]int, len(r.callers))
	for i, c := range r.callers {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(i)))
			for time.Since(r.began) < r.Duration && ctx.Err() == nil {
				sent := time.Now()
				asked[i]++
				_, err := c.Write(r.requests[random.IntN(len(r.requests))])
				if err == nil {
					err = c.answer()
				}
				if err == nil {
					c.waits = append(c.waits, time.Since(sent))
				} else if r.failed(ctx, c, err) != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	for _, n := range asked {
		r.answers.Asked += n
	}
}

// open sends each request when it is due or, where all callers wait for answers,
// as soon as one does not.
func (r *asker) open(ctx context.Context) {
	free := make(chan *caller, len(r.callers))
	var wg sync.WaitGroup
	for _, c := range r.callers {
		free <- c
		wg.Go(func() { r.listen(ctx, c, free) })
	}
	sent := make(chan int)
	go func() {
		punctual()
		sent <- r.send(ctx, free)
	}()
	r.answers.Asked = <-sent
	for range r.callers { // until none waits for an answer
		select {
		case <-free:
		case <-ctx.Done():
		}
	}
	r.close()
	wg.Wait()
}

// send sends the requests and returns how many it has sent.
func (r *asker) send(ctx context.Context, free chan *caller) (sent int) {
	random := rand.New(rand.NewPCG(1, 0))
	total := max(1, int(float64(r.Rate)*r.Duration.Seconds()))
	for n := range total {
		due := r.began.Add(time.Duration(float64(n) / float64(r.Rate) * 1e9))
		slept := false
		for d := time.Until(due); d > 0; d = time.Until(due) {
			pause(min(d, 100*time.Millisecond)) // ctx may end
			slept = true
			if ctx.Err() != nil {
				return sent
			}
		}
		if slept {
			r.lates = append(r.lates, time.Since(due))
		}
		if time.Since(r.began) > r.last {
			r.answers.Unasked = total - n
			return sent
		}
		var c *caller
		select {
		case c = <-free:
		case <-ctx.Done():
			r.answers.Unasked = total - n
			return sent
		}
		conn := c.Conn // once it is due, the one who listens may take another
		sent++
		if c.dead.Load() {
			r.note(errDead)
			free <- c
			continue
		}
		c.due.Store(due.UnixNano())
		// A broken connection shows itself to the one who listens, as well.
		_, _ = conn.Write(r.requests[random.IntN(len(r.requests))])
	}
	return sent
}

// listen takes the answers of a caller until its connection is closed.
func (r *asker) listen(ctx context.Context, c *caller, free chan<- *caller) {
	for {
		err := c.answer()
		due := c.due.Swap(0)
		switch {
		case due == 0: // nothing was asked: it is the end
			c.dead.Store(true)
			return
		case err == nil:
			c.waits = append(c.waits, time.Since(time.Unix(0, due)))
		case r.failed(ctx, c, err) != nil:
			c.dead.Store(true)
			free <- c
			return
		}
		free <- c
	}
}

func (r *asker) summary() *Answers {
	a := &r.answers
	a.Seconds = time.Since(r.began).Seconds()
	var waits []time.Duration
	for _, c := range r.callers {
		waits = append(waits, c.waits...)
	}
	a.Answered = len(waits)
	if none := a.Asked - a.Answered - a.Errors; none > 0 {
		a.Errors += none
		a.Error = cmp.Or(a.Error, "no answer came")
	}
	a.PerSecond = float64(a.Answered) / a.Seconds
	slices.Sort(waits)
	if len(waits) > 0 {
		at := func(q float64) float64 { return loadtest.Millis(loadtest.Quantile(waits, q)) }
		a.P50, a.P99, a.P999, a.Max = at(0.5), at(0.99), at(0.999), at(1)
	}
	slices.Sort(r.lates)
	if len(r.lates) > 0 {
		a.Late = loadtest.Millis(loadtest.Quantile(r.lates, 0.99))
	}
	return a
}
