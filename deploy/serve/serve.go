// Package serve answers over HTTP: it takes events for the topics of sources,
// gives vectors of features from the online store, and predicts.
//
//	POST /v1/events/{source}     events in, acknowledged by the log
//	POST /get-online-features    vectors out, with the bodies of Feast
//	POST /v1/predict/{model}     a prediction, which is kept with what the model saw
//	POST /v1/outcomes/{model}    what came true of predictions
//	GET  /v1/models              what is loaded of each model
//	GET  /v1/join                what became of predictions and outcomes
//	GET  /healthz                the process lives
//	GET  /readyz                 it does its work, or what is wrong; ?for=lookups, predictions or events for that alone
//	GET  /metrics                for Prometheus
//	     /, /ui/...              pages to look at, of another package
//
// Every error is JSON: {"error": what is wrong and what to do, "detail": more}.
package serve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millrace/millrace/deploy/observe"
	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/streams"
)

// DefaultMaxBody is the most bytes of a request's body: what Kafka takes in one
// message by default.
const DefaultMaxBody = 1 << 20

// The limits of a connection, and of what is under way at a time.
const (
	headerTimeout = 5 * time.Second
	readTimeout   = 30 * time.Second
	writeTimeout  = 60 * time.Second // from the end of the header: the answer included
	idleTimeout   = 2 * time.Minute
	headerBytes   = 16 << 10

	// stopTimeout is for how long requests under way may go on at the end. A
	// process has to be gone 5 seconds after a signal, and more ends after them.
	stopTimeout = 3 * time.Second

	// busyWait is for how long a request waits for its turn before it is told to
	// come back later.
	busyWait = time.Second

	// Requests under way at a time, by kind, so that events that wait for a
	// broker which is away, or reads that wait for a position, do not keep others
	// from being read. A lookup needs a core and up to about 40 MB.
	maxLookups = 64
	maxIngests = 256
	maxWaits   = 1024

	// A prediction needs a lookup's turn while it reads and scores; the rest of
	// its time it waits for the log, of which it takes no more than its body.
	maxPredicts = 1024

	// maxBodies is how many bodies may be on their way at a time. They take
	// their turn when they are there, so that callers who are slow to send hold
	// up nobody; what they hold is memory, up to max_body each.
	maxBodies = 1024

	// bodyBytes is the most memory that is taken for a body before it comes.
	bodyBytes = 64 << 10
)

// A Config is what a Server needs. Plans, Models with Spool, JoinStats, MaxBody,
// Problems, LogProblems, Metrics, Traces and Now may be left out.
type Config struct {
	Project  string
	Sources  []features.Source
	Plans    []*features.Plan
	Store    online.Store
	Producer *streams.Producer
	Log      *slog.Logger
	Models   *Models         // nil: none; the caller runs it
	Spool    *Spool          // where predictions wait while the log is away; the caller closes it
	MaxBody  int64           // bytes of a request's body; 0: DefaultMaxBody
	Problems func() []string // why the process is not ready, besides the store: one line each
	// LogProblems says which of the Problems keep the log from taking events: see
	// /readyz?for=events. Nil: any of them may.
	LogProblems func() []string
	Metrics     *observe.Metrics // nil: /metrics is not there
	Traces      *observe.Traces  // nil: none
	Pages       http.Handler     // of / and what is below /ui/; nil: they are not there
	PagesOnly   bool             // besides them only health, readiness and figures
	Now         func() time.Time // nil: time.Now

	// JoinStats counts what became of predictions and outcomes; nil: /v1/join
	// is not there.
	JoinStats func(context.Context) (feedback.Stats, error)
}

// A Server serves one project. It is stopped once and not started again.
type Server struct {
	cfg        Config
	lookup     *Lookup
	sources    map[string]*source
	feedback   string // the topic of predictions and outcomes
	predictors map[string]*predictor
	buffers    sync.Pool // of *[]byte, for bodies
	works      sync.Pool // of *work

	bodies, lookups, ingests, waits, predicts turns
	busyLogged                                atomic.Int64 // when that they are taken was logged last, Unix seconds

	gate           sync.RWMutex // held for reading by each request, so that the end waits for them
	closed         bool         // by gate
	local          bool         // by gate: only this machine reaches the listener
	origins        http.CrossOriginProtection
	stopping       chan struct{} // closed when Serve begins to stop
	patience       time.Duration // for how long events may take to be acknowledged
	recordPatience time.Duration // and predictions, before they go to the spool
	stop           sync.Once
}

// New returns a server. It refuses sources that cannot be decoded.
func New(cfg Config) (*Server, error) {
	if cfg.Store == nil || cfg.Producer == nil || cfg.Log == nil {
		return nil, errors.New("serve: Config needs a Store, a Producer and a Log")
	}
	cfg.MaxBody = cmp.Or(cfg.MaxBody, DefaultMaxBody)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Server{
		cfg:            cfg,
		lookup:         NewLookup(cfg.Project, cfg.Plans, cfg.Store, cfg.Now),
		sources:        make(map[string]*source),
		bodies:         make(turns, maxBodies),
		lookups:        make(turns, maxLookups),
		ingests:        make(turns, maxIngests),
		waits:          make(turns, maxWaits),
		predicts:       make(turns, maxPredicts),
		stopping:       make(chan struct{}),
		patience:       produceTimeout,
		recordPatience: recordTimeout,
		feedback:       feedback.Topic(cfg.Project),
		predictors:     make(map[string]*predictor),
	}
	s.buffers.New = func() any { return new([]byte) }
	s.works.New = func() any { return &work{} }
	for _, src := range cfg.Sources {
		in, err := newSource(src)
		if err != nil {
			return nil, fmt.Errorf("serve: %w", err)
		}
		s.sources[src.Name] = in
	}
	if err := s.addModels(); err != nil {
		return nil, fmt.Errorf("serve: %w", err)
	}
	return s, nil
}

// addModels checks the models against what the lookup computes.
func (s *Server) addModels() error {
	if s.cfg.Models == nil {
		return nil
	}
	if s.cfg.Spool == nil {
		return errors.New("a Config with Models needs a Spool")
	}
	for _, x := range s.cfg.Models.models {
		p, err := newPredictor(x, s.lookup)
		if err != nil {
			return err
		}
		s.predictors[x.Name] = p
	}
	if s.cfg.Metrics == nil {
		return nil
	}
	return s.cfg.Metrics.Serving(s.figures)
}

// Lookup returns what answers the server's queries.
func (s *Server) Lookup() *Lookup { return s.lookup }

// Serve serves on ln, which it closes, until ctx ends. Beside it keeps the models
// as the registry wants them, and brings the spool to the log. At the end no more requests
// are taken, reads that wait for a position are told so at once, and the others
// have 3 seconds to end; those that do not are cut off. It returns when none is
// under way.
//
// A browser lets any web page send requests to this machine. Those that a page
// from elsewhere makes are refused, and where ln is on loopback also those that
// ask for a host which is not loopback: http.listen can be set for more.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	at, ok := ln.Addr().(*net.TCPAddr)
	s.gate.Lock()
	s.local = ok && at.IP.IsLoopback()
	s.gate.Unlock()
	server := &http.Server{
		Handler:           s,
		BaseContext:       func(net.Listener) context.Context { return base },
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    headerBytes,
		ErrorLog:          slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelWarn),
	}
	var beside sync.WaitGroup
	defer beside.Wait()
	besides, end := context.WithCancel(ctx)
	defer end()
	if s.cfg.Models != nil {
		beside.Go(func() { s.cfg.Models.run(besides) })
		beside.Go(func() { s.drain(besides) })
	}
	s.cfg.Log.Info("serving", "address", ln.Addr().String())
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(ln) }()
	var err error
	select {
	case err = <-failed: // the listener is broken
	case <-ctx.Done():
	}
	s.stop.Do(func() { close(s.stopping) })
	limit, done := context.WithTimeout(base, stopTimeout)
	defer done()
	if late := server.Shutdown(limit); late != nil {
		s.cfg.Log.Warn("requests were cut off at the end", "after", stopTimeout)
	}
	cancel()
	server.Close()
	s.gate.Lock() // after the last request
	s.closed = true
	s.gate.Unlock()
	if err == nil {
		err = <-failed
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve: %w", err)
}

// turns bounds what is under way at a time.
type turns chan struct{}

// take waits for a turn; the caller gives it back by leave.
func (t turns) take(ctx context.Context) error {
	select {
	case t <- struct{}{}:
		return nil
	default:
	}
	timer := time.NewTimer(busyWait)
	defer timer.Stop()
	select {
	case t <- struct{}{}:
		return nil
	case <-timer.C:
		p := unavailable(nil, "the server has %d such requests under way; come back later", cap(t))
		p.busy = true
		return p
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (t turns) leave() { <-t }

// A work is the memory that lookups use one after another. The body is not part
// of it: it is there before the turn, and there are more bodies than turns.
type work struct {
	out     []byte
	vectors Vectors
}

// keepBytes is the most that is kept of a buffer for the next request.
const keepBytes = 4 << 20

func (s *Server) work() *work { return s.works.Get().(*work) }

func (s *Server) done(w *work) {
	if cap(w.out) <= keepBytes {
		s.works.Put(w)
	}
}

func (s *Server) buffer() *[]byte { return s.buffers.Get().(*[]byte) }

func (s *Server) doneBuffer(b *[]byte) {
	if cap(*b) <= keepBytes {
		s.buffers.Put(b)
	}
}
