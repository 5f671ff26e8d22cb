package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/millrace/millrace/deploy/observe"
)

const (
	eventsPath   = "/v1/events/"
	predictPath  = "/v1/predict/"
	outcomesPath = "/v1/outcomes/"

	retryAfter = "1" // seconds

	busyLogEvery = 60 // seconds
)

// A route is one endpoint. Handle writes the answer, or returns why not: a
// *Problem, or the error of a request that has ended.
type route struct {
	name   string // in metrics
	method string
	handle func(*Server, http.ResponseWriter, *http.Request) error
}

// routes are the endpoints by their path. A map and not a http.ServeMux, whose
// errors are not JSON.
var routes = map[string]*route{
	eventsPath:             {"/v1/events/{source}", http.MethodPost, (*Server).ingest},
	predictPath:            {"/v1/predict/{model}", http.MethodPost, (*Server).predict},
	outcomesPath:           {"/v1/outcomes/{model}", http.MethodPost, (*Server).outcomes},
	"/v1/models":           {"/v1/models", http.MethodGet, (*Server).models},
	"/v1/join":             {"/v1/join", http.MethodGet, (*Server).join},
	"/get-online-features": {"/get-online-features", http.MethodPost, (*Server).features},
	"/healthz":             {"/healthz", http.MethodGet, (*Server).healthz},
	"/readyz":              {"/readyz", http.MethodGet, (*Server).readyz},
	"/metrics":             {"/metrics", http.MethodGet, (*Server).metrics},
}

// ofEveryServer are the endpoints of one that has pages only, too.
var ofEveryServer = map[string]bool{"/healthz": true, "/readyz": true, "/metrics": true, "/v1/join": true}

// pagesPath is where the pages are that people look at, beside /.
const pagesPath = "/ui/"

var pages = &route{pagesPath, "", (*Server).pages}

func (s *Server) route(path string) *route {
	if s.cfg.Pages != nil && (path == "/" || strings.HasPrefix(path, pagesPath)) {
		return pages
	}
	if s.cfg.PagesOnly && !ofEveryServer[path] {
		return nil
	}
	for _, prefix := range []string{eventsPath, predictPath, outcomesPath} {
		if strings.HasPrefix(path, prefix) {
			if len(path) == len(prefix) { // it names nothing
				return nil
			}
			return routes[prefix]
		}
	}
	if path == "/metrics" && s.cfg.Metrics == nil || path == "/v1/join" && s.cfg.JoinStats == nil {
		return nil
	}
	return routes[path]
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	s.gate.RLock()
	defer s.gate.RUnlock()
	start := time.Now()
	w := &answer{ResponseWriter: rw}
	name := "other"
	var span *observe.Span
	defer func() {
		if why := recover(); why != nil {
			s.panicked(w, r, why)
		}
		span.Answered(w.status)
		if s.cfg.Metrics != nil {
			s.cfg.Metrics.Request(r.Method, name, w.status, time.Since(start))
		}
	}()
	to := s.route(r.URL.Path)
	if to != nil {
		name = to.name
	}
	if s.cfg.Traces != nil && to != nil && to.method == http.MethodPost && r.Method == to.method { // what makes or takes records, and lookups
		var ctx context.Context
		ctx, span = s.cfg.Traces.Request(r.Context(), r.Header, to.method, to.name)
		r = r.WithContext(ctx)
	}
	if err := s.dispatch(w, r, to); err != nil {
		s.fail(w, r, err)
	}
}

func (s *Server) dispatch(w *answer, r *http.Request, to *route) error {
	switch {
	case s.closed:
		return errStopping
	case s.local && !namesLoopback(r.Host):
		return problem(http.StatusForbidden, "the server is for this machine alone and was asked for as %s, as a web page could make a browser do; ask for localhost or 127.0.0.1, or set http.listen to an address that is not of loopback", short(r.Host))
	case s.origins.Check(r) != nil:
		return problem(http.StatusForbidden, "a web page from elsewhere must not use this server from a browser (Sec-Fetch-Site %s, Origin %s); send the request from a program", short(r.Header.Get("Sec-Fetch-Site")), short(r.Header.Get("Origin")))
	case to == nil:
		var paths []string
		for path, r := range routes {
			if !s.cfg.PagesOnly || ofEveryServer[path] {
				paths = append(paths, r.method+" "+r.name)
			}
		}
		slices.Sort(paths)
		return problem(http.StatusNotFound, "there is no %s; there are %s", short(r.URL.Path), few(paths))
	case to.method != "" && r.Method != to.method && (r.Method != http.MethodHead || to.method != http.MethodGet):
		w.Header().Set("Allow", to.method)
		return problem(http.StatusMethodNotAllowed, "%s takes %s, not %s", to.name, to.method, short(r.Method))
	}
	return to.handle(s, w, r)
}

// pages lets the handler of the pages answer. What it goes on writing to ends when
// the server begins to stop.
func (s *Server) pages(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	go func() {
		select {
		case <-s.stopping:
			cancel()
		case <-ctx.Done():
		}
	}()
	r.Body = http.MaxBytesReader(w, r.Body, s.cfg.MaxBody)
	s.cfg.Pages.ServeHTTP(w, r.WithContext(ctx))
	return nil
}

// namesLoopback reports whether the Host of a request is this machine under a
// name that no one else can own. A name that somebody's DNS leads here would
// let their web page read what a browser on this machine may. (A request
// without a Host is from no browser.)
func namesLoopback(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return host == "" || strings.EqualFold(host, "localhost") || net.ParseIP(host).IsLoopback()
}

var errStopping = unavailable(nil, "the server is stopping; ask another one, or again when it is back")

// fail answers with an error.
func (s *Server) fail(w *answer, r *http.Request, err error) {
	var p *Problem
	switch {
	case errors.As(err, &p):
	case r.Context().Err() != nil: // the caller has left, or is cut off
		p = errStopping
	default:
		p = &Problem{Status: http.StatusInternalServerError, Err: "the request failed; the log of the server says more", Detail: err.Error()}
	}
	if p.Status >= 500 && s.worthLogging(p) {
		s.cfg.Log.Warn("a request failed", "path", r.URL.Path, "status", p.Status, "error", p.Error())
	}
	if p.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", retryAfter)
	}
	if p.Status == http.StatusRequestEntityTooLarge {
		w.Header().Set("Connection", "close") // what is left of the body is not read
	}
	body := appendText([]byte(`{"error":`), p.Err)
	if p.Detail != "" {
		body = appendText(append(body, `,"detail":`...), p.Detail)
	}
	if len(p.extra) > 0 {
		body = append(append(body, ','), p.extra...)
	}
	writeJSON(w, p.Status, append(body, '}'))
}

// worthLogging reports whether a failure is to be logged: not each time that a
// probe finds a problem which is logged already, and not each of the many
// requests that are too many.
func (s *Server) worthLogging(p *Problem) bool {
	if !p.busy {
		return !p.told
	}
	last, now := s.busyLogged.Load(), time.Now().Unix()
	return now-last >= busyLogEvery && s.busyLogged.CompareAndSwap(last, now)
}

func (s *Server) panicked(w *answer, r *http.Request, why any) {
	if why == http.ErrAbortHandler { //nolint:errorlint // it is a value of panic, never wrapped
		panic(why)
	}
	s.cfg.Log.Error("a request made the server panic", "path", r.URL.Path, "panic", fmt.Sprint(why), "stack", string(debug.Stack()))
	if w.status != 0 {
		panic(http.ErrAbortHandler) // part of the answer is written: the caller must see that it is not whole
	}
	s.fail(w, r, problem(http.StatusInternalServerError, "the server has a fault; its log says where"))
}

// An answer notes the status that is written.
type answer struct {
	http.ResponseWriter
	status int
}

func (w *answer) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *answer) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController find the writer.
func (w *answer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// writeJSON writes an answer. A caller that has left is no error of ours.
func writeJSON(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// receive reads a request's body into buf, and then takes a turn; the caller
// gives it back by leave. In this order, because a body takes as long to come
// as its sender likes.
func (s *Server) receive(w http.ResponseWriter, r *http.Request, buf *[]byte, t turns) error {
	if err := s.bodies.take(r.Context()); err != nil {
		return err
	}
	defer s.bodies.leave()
	var err error
	if *buf, err = s.readBody(w, r, *buf); err != nil {
		return err
	}
	return t.take(r.Context())
}

// readBody reads a request's body into buf. The memory follows what has come,
// not what a header promises.
func (s *Server) readBody(w http.ResponseWriter, r *http.Request, buf []byte) ([]byte, error) {
	most := s.cfg.MaxBody
	if r.ContentLength > most {
		return buf, tooLarge(most)
	}
	buf = slices.Grow(buf[:0], int(min(max(r.ContentLength, 0), bodyBytes))+512)
	body := http.MaxBytesReader(w, r.Body, most)
	for {
		n, err := body.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		var large *http.MaxBytesError
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			return buf, nil
		case errors.As(err, &large):
			return buf, tooLarge(most)
		default:
			return buf, &Problem{Status: http.StatusBadRequest, Err: "the body did not arrive whole", Detail: err.Error()}
		}
		if len(buf) == cap(buf) {
			buf = slices.Grow(buf, len(buf))
		}
	}
}

func tooLarge(most int64) *Problem {
	return problem(http.StatusRequestEntityTooLarge, "the body is larger than %d bytes; send it in parts, or raise http.max_body in the project file", most)
}

// features answers POST /get-online-features.
func (s *Server) features(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	body := s.buffer()
	defer s.doneBuffer(body)
	if err := s.receive(w, r, body, s.lookups); err != nil {
		return err
	}
	mine := true
	defer func() {
		if mine {
			s.lookups.leave()
		}
	}()
	mem := s.work()
	defer s.done(mem)
	q, err := decodeQuery(*body)
	if err != nil {
		return err
	}
	v := &mem.vectors
	if err := s.lookup.resolve(q, v); err != nil {
		return err
	}
	if len(q.AtLeast) > 0 {
		s.lookups.leave() // waiting is no work
		mine = false
		if err := s.await(ctx, q, v); err != nil {
			return err
		}
		if err := s.lookups.take(ctx); err != nil {
			return err
		}
		mine = true
	}
	if err := s.fill(ctx, q, v); err != nil {
		return err
	}
	mem.out = appendVectors(mem.out[:0], q, v)
	writeJSON(w, http.StatusOK, mem.out)
	return nil
}

// await is Lookup.await until the server stops.
func (s *Server) await(ctx context.Context, q *Query, v *Vectors) error {
	if err := s.waits.take(ctx); err != nil {
		return err
	}
	defer s.waits.leave()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	over := make(chan struct{})
	watch := make(chan struct{})
	go func() {
		defer close(over)
		select {
		case <-s.stopping:
			cancel(errStopping)
		case <-watch:
		}
	}()
	err := s.lookup.await(ctx, q, v)
	close(watch)
	<-over
	return err
}

func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) error {
	writeJSON(w, http.StatusOK, []byte(`{"status":"ok"}`))
	return nil
}

func (s *Server) metrics(w http.ResponseWriter, r *http.Request) error {
	s.cfg.Metrics.ServeHTTP(w, r)
	return nil
}
