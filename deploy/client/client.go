// Package client speaks to a millrace server over HTTP. It needs nothing but
// the standard library.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// The pauses between tries, where the server does not say how long.
const (
	firstPause = 50 * time.Millisecond
	lastPause  = 2 * time.Second
)

// maxAnswer bounds the bytes of an answer that are read.
const maxAnswer = 256 << 20

// A Client asks one server. Its methods may be called concurrently.
type Client struct {
	base *url.URL
	http *http.Client
}

// New returns a client of the server at baseURL, as http://127.0.0.1:8765.
func New(baseURL string) (*Client, error) {
	u, err := url.Parse(baseURL)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("client: %q is not the address of a server; give one as http://127.0.0.1:8765", baseURL)
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = 64 // the default of 2 makes concurrent callers connect anew each time
	return &Client{base: u, http: &http.Client{Transport: t}}, nil
}

// Close closes the connections that are not in use.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// A Position is the place of an event in the log.
type Position struct {
	Topic     string `json:"topic"`
	Partition int    `json:"partition"`
	Offset    int64  `json:"offset"`
}

// An Error is an answer of the server that is not a success.
type Error struct {
	Status   int       // of HTTP
	Message  string    // what is wrong and what to do
	Detail   string    // more about it, or empty
	Lines    []BadLine // of Ingest: the first of the events that were refused
	Problems []string  // of Ready

	positions []Position // of Ingest: what was written nevertheless
	retry     time.Duration
}

// A BadLine is an event that was refused.
type BadLine struct {
	Line    int    `json:"line"` // the event's number in the call, from 1
	Reason  string `json:"reason"`
	Field   string `json:"field"`
	Problem string `json:"problem"`
}

func (e *Error) Error() string {
	s := fmt.Sprintf("server: %d %s: %s", e.Status, http.StatusText(e.Status), e.Message)
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	for _, l := range e.Lines {
		s += fmt.Sprintf("; event %d: %s %s: %s", l.Line, l.Reason, l.Field, l.Problem)
	}
	for _, p := range e.Problems {
		s += "; " + p
	}
	return s
}

// Ingest writes events to the topic of a source and returns their positions, in
// order, once the log has them. Each event is encoded by encoding/json; one
// that is JSON already is a json.RawMessage. The server takes all or none of a
// call that it can judge; where its log is away Ingest tries again until ctx
// ends, with the events that are not acknowledged yet. An event that was under
// way when a try failed may then be in the log twice: give the source an id and
// dedup if that matters.
func (c *Client) Ingest(ctx context.Context, source string, events ...any) ([]Position, error) {
	lines := make([][]byte, len(events))
	for i, e := range events {
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(e); err != nil {
			return nil, fmt.Errorf("client: ingest: event %d: %w", i+1, err)
		}
		lines[i] = b.Bytes() // ends with a line break
	}
	positions := make([]Position, len(events))
	left := make([]int, len(events)) // events that are not in the log
	for i := range left {
		left[i] = i
	}
	if len(events) == 0 {
		return positions, nil
	}
	for t := (tries{}); ; {
		var body []byte
		for _, i := range left {
			body = append(body, lines[i]...)
		}
		var answer struct{ Positions []Position }
		err := c.post(ctx, "/v1/events/"+url.PathEscape(source), "application/x-ndjson", body, &answer)
		var e *Error
		if errors.As(err, &e) {
			answer.Positions = e.positions
			for i := range e.Lines { // of the body, which is what was left
				if n := e.Lines[i].Line; n >= 1 && n <= len(left) {
					e.Lines[i].Line = left[n-1] + 1
				}
			}
		}
		if err == nil && len(answer.Positions) != len(left) {
			return nil, fmt.Errorf("client: ingest: the server answered %d positions for %d events", len(answer.Positions), len(left))
		}
		left = note(positions, left, answer.Positions)
		if err == nil {
			return positions, nil
		}
		if err := t.again(ctx, err); err != nil {
			return nil, fmt.Errorf("client: ingest of %d events to %s: %w", len(events), source, err)
		}
	}
}

// note keeps the positions of what was written and returns what was not.
func note(positions []Position, left []int, written []Position) []int {
	if len(written) != len(left) {
		return left
	}
	var rest []int
	for k, i := range left {
		if positions[i] = written[k]; written[k].Offset < 0 {
			rest = append(rest, i)
		}
	}
	return rest
}

// tries counts the tries of a call.
type tries struct {
	n    int
	last error // what the server said to the one before
}

// again waits before the next try where err may pass by itself, which is a 503.
// Otherwise, or when ctx ends, it returns why the call failed.
func (t *tries) again(ctx context.Context, err error) error {
	var e *Error
	if !errors.As(err, &e) || e.Status != http.StatusServiceUnavailable {
		if ctx.Err() != nil && t.last != nil { // it ended during a try
			return fmt.Errorf("%w (%w)", t.last, err)
		}
		return err
	}
	pause := min(firstPause<<min(t.n, 10), lastPause)
	pause = max(e.retry, pause/2+rand.N(pause/2))
	t.n, t.last = t.n+1, err
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w (%w)", err, context.Cause(ctx))
	}
}

// Ready returns nil when the server does its work, and else an *Error with what
// is wrong.
func (c *Client) Ready(ctx context.Context) error {
	if err := c.do(ctx, http.MethodGet, "/readyz", "", nil, nil); err != nil {
		return fmt.Errorf("client: ready: %w", err)
	}
	return nil
}

func (c *Client) post(ctx context.Context, path, contentType string, body []byte, answer any) error {
	return c.do(ctx, http.MethodPost, path, contentType, body, answer)
}

// do sends a request and decodes the answer, which is not read where answer is
// nil. What is not a success is an *Error.
func (c *Client) do(ctx context.Context, method, path, contentType string, body []byte, answer any) error {
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.base.String(), "/")+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return failure(res, data)
	}
	if answer == nil {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(answer); err != nil {
		return fmt.Errorf("the answer of %s is not what a millrace server gives: %w", path, err)
	}
	return nil
}

func failure(res *http.Response, data []byte) error {
	e := &Error{Status: res.StatusCode}
	var body struct {
		Error, Detail string
		Lines         []BadLine
		Positions     []Position
		Problems      []string
	}
	if json.Unmarshal(data, &body) == nil && body.Error != "" {
		e.Message, e.Detail, e.Lines, e.Problems, e.positions = body.Error, body.Detail, body.Lines, body.Problems, body.Positions
	} else { // a proxy, or another server
		e.Message = string(bytes.TrimSpace(data[:min(len(data), 200)]))
	}
	if s, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && s >= 0 {
		e.retry = time.Duration(min(s, 60)) * time.Second
	}
	return e
}
