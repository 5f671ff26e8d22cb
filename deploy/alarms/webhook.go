package alarms

import (
	"bytes"
	"cmp"
	"context"
	crand "crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/millrace/millrace/feedback/monitor"
	"github.com/millrace/millrace/trainer/eval"
)

const (
	maxBatch = 50 // alarms of a request: some 250 KiB at most

	// attemptLimit is how long a request may take, its answer included. It is less
	// than the lease.
	attemptLimit = 15 * time.Second

	firstWait = time.Second
	maxWait   = 5 * time.Minute

	// checkEvery is how often the book is looked at for what other processes put
	// there, and the word is kept while the next attempt is waited for.
	checkEvery = 5 * time.Second

	// maxAnswer is how much of an answer is read, for its connection to be of use
	// again. Nothing in it counts.
	maxAnswer = 64 << 10

	maxRedirects = 3

	// stopWait is how long the last write may take once Run has to end.
	stopWait = 2 * time.Second

	keyHeader = "Idempotency-Key"
)

// A Webhook tells a program over HTTP of each alarm that is due: at least once,
// the oldest first, and for ever until it is answered by a 2xx.
//
// The request is a POST of JSON, {"alarms": [...]}, with at most 50 of them. Its
// Idempotency-Key is the same for the same body. After a kill, or a lost answer
// and an alarm that has changed meanwhile, an alarm can come again in another
// body: its id tells.
type Webhook struct {
	target Target
	host   string
	client *http.Client
	log    *slog.Logger
	owner  string

	size     int // alarms of the next request at most
	failures int // since the last success

	check  time.Duration
	pause  func(ctx context.Context, d time.Duration, news <-chan struct{}) // until ctx ends or there is news; tests have no time for it
	jitter func() float64                                                   // in [0, 1)
}

// NewWebhook returns a webhook. The target must pass Check.
func NewWebhook(t Target, log *slog.Logger) (*Webhook, error) {
	if err := t.Check(); err != nil {
		return nil, fmt.Errorf("alarms: webhook: %w", err)
	}
	u, err := url.Parse(string(t.URL))
	if err != nil {
		return nil, errors.New("alarms: webhook: url: cannot be read")
	}
	t.Header = cmp.Or(t.Header, "Authorization")
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 1
	transport.MaxResponseHeaderBytes = maxAnswer
	return &Webhook{
		target: t, host: u.Host, log: log, owner: crand.Text(), size: maxBatch,
		client: &http.Client{Transport: transport, Timeout: attemptLimit, CheckRedirect: stay},
		check:  checkEvery, pause: pause, jitter: rand.Float64,
	}, nil
}

// stay follows a redirect only where the same request goes to the same place.
// Else net/http would send the token elsewhere, or make a GET of it, and a 200 to
// that says nothing.
func stay(next *http.Request, before []*http.Request) error {
	first := before[0]
	if len(before) > maxRedirects || next.Method != first.Method || next.URL.Scheme != first.URL.Scheme || next.URL.Host != first.URL.Host {
		return http.ErrUseLastResponse
	}
	return nil
}

func pause(ctx context.Context, d time.Duration, news <-chan struct{}) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-news:
	case <-t.C:
	}
}

// Run tells what is due in the book, and what becomes due, until ctx ends. Of
// several Webhooks on one file one does so at a time. A Webhook runs once at a
// time.
func (w *Webhook) Run(ctx context.Context, b *Book) error {
	defer w.client.CloseIdleConnections()
	defer w.leave(ctx, b)
	for ctx.Err() == nil {
		batch, err := b.claim(ctx, w.owner, w.size)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			w.failures++
			w.log.Warn("the book of alarms cannot be read; trying again", "error", err)
			w.pause(ctx, w.wait(0), nil)
		case len(batch) == 0:
			w.pause(ctx, w.check, b.news) // or another process has put something, or has left the word to us
		default:
			w.attempt(ctx, b, batch)
		}
	}
	return nil
}

// leave gives the word back, so that after a restart nobody waits for the lease.
func (w *Webhook) leave(ctx context.Context, b *Book) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWait)
	defer cancel()
	if err := b.leaveWord(ctx, w.owner); err != nil {
		w.log.Warn("the webhook's place in the book of alarms could not be left; alarms go out when its lease has run out", "lease", lease, "error", err)
	}
}

// attempt tells a batch and keeps how that went. After a failure it waits.
func (w *Webhook) attempt(ctx context.Context, b *Book, batch []Entry) {
	after, told := w.tell(ctx, batch)
	if told != nil && ctx.Err() != nil {
		return // cut short; it says nothing of the receiver
	}
	// That it was told is kept even if we are to end: else it is told again.
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), attemptLimit)
	if ctx.Err() != nil {
		cancel()
		last, cancel = context.WithTimeout(context.WithoutCancel(ctx), stopWait)
	}
	defer cancel()
	var kept error
	if told == nil {
		kept = b.sent(last, batch)
	} else {
		kept = b.failed(last, batch, told)
	}
	if told == nil && kept == nil {
		if w.failures > 0 {
			w.log.Info("alarms are told again", "webhook", w.host)
		}
		w.failures = 0
		return
	}
	w.failures++
	wait := w.wait(after)
	w.log.Warn("alarms could not be told; trying again", "webhook", w.host, "alarms", len(batch), "oldest", batch[0].ID,
		"failures", w.failures, "wait", wait, "error", errors.Join(told, kept))
	for wait > 0 && ctx.Err() == nil {
		d := min(wait, w.check)
		w.pause(ctx, d, nil)
		wait -= d
		if err := b.keepWord(ctx, w.owner); err != nil && ctx.Err() == nil {
			w.log.Warn("the webhook's place in the book of alarms could not be kept; another process may tell alarms twice", "error", err)
		}
	}
}

// wait is for how long to wait after a failure: twice as long each time, and as
// long as the receiver asks for, within limits. The random half keeps apart those
// that have failed at once.
func (w *Webhook) wait(after time.Duration) time.Duration {
	d := min(firstWait<<min(w.failures-1, 20), maxWait)
	d = d/2 + time.Duration(w.jitter()*float64(d/2))
	return min(max(d, after), maxWait)
}

// A message is the body of a request.
type message struct {
	Alarms []line `json:"alarms"`
}

// A line is an alarm in a message. Numbers that are not finite are null.
type line struct {
	ID        string       `json:"id"`
	Model     string       `json:"model"`
	Kind      monitor.Kind `json:"kind"`
	Column    string       `json:"column"`
	Version   int          `json:"version"`
	Onset     string       `json:"onset"` // not a time.Time, which refuses the year 10000
	Over      string       `json:"over,omitempty"`
	Value     eval.Number  `json:"value"`
	Worst     eval.Number  `json:"worst"`
	Threshold eval.Number  `json:"threshold"`
	Text      string       `json:"text"`
}

func body(batch []Entry) ([]byte, error) {
	m := message{make([]line, len(batch))}
	for i := range batch {
		e := &batch[i]
		m.Alarms[i] = line{
			ID: e.ID, Model: e.Model, Kind: e.Kind, Column: e.Column, Version: e.Version, Onset: stamp(e.Onset),
			Value: eval.Number(e.Value), Worst: eval.Number(e.Worst), Threshold: eval.Number(e.Threshold), Text: e.Text,
		}
		if e.Over != 0 {
			m.Alarms[i].Over = stamp(e.Over)
		}
	}
	return json.Marshal(m)
}

func stamp(micros int64) string { return time.UnixMicro(micros).UTC().Format(time.RFC3339Nano) }

// tell sends a batch. Where that fails, the receiver may have said after how long
// to come again. The error has nothing of the URL but its host, and nothing of
// the answer's body, which may have the token in it.
func (w *Webhook) tell(ctx context.Context, batch []Entry) (after time.Duration, err error) {
	text, err := body(batch)
	if err != nil {
		return 0, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, string(w.target.URL), bytes.NewReader(text))
	if err != nil {
		return 0, errors.New("the url cannot be read")
	}
	sum := sha256.Sum256(text)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "millrace")
	req.Header.Set(keyHeader, hex.EncodeToString(sum[:16]))
	if w.target.Token != "" {
		req.Header.Set(w.target.Header, string(w.target.Token))
	}
	answer, err := w.client.Do(req)
	if err != nil {
		if told := new(url.Error); errors.As(err, &told) {
			err = told.Err
		}
		return 0, fmt.Errorf("POST to %s: %w", w.host, err)
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, maxAnswer)) // the status has said it
	return w.judge(answer, len(batch))
}

// judge says what an answer means.
func (w *Webhook) judge(answer *http.Response, sent int) (after time.Duration, err error) {
	advice := ""
	switch code := answer.StatusCode; {
	case code >= 200 && code < 300:
		return 0, nil
	case code >= 300 && code < 400:
		advice = "; it points elsewhere, where the token does not go: give the URL that it leads to"
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		advice = "; look at the token"
	case code == http.StatusRequestEntityTooLarge && sent > 1:
		w.size = sent / 2
		advice = fmt.Sprintf("; sending %d at most from now on", w.size)
	case code >= 400 && code < 500 && code != http.StatusTooManyRequests:
		advice = "; look at what it takes"
	}
	return retryAfter(answer), fmt.Errorf("POST to %s: answered %d %s%s", w.host, answer.StatusCode, http.StatusText(answer.StatusCode), advice)
}

// retryAfter reads the header of that name, seconds or a date.
func retryAfter(answer *http.Response) time.Duration {
	text := answer.Header.Get("Retry-After")
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return time.Until(at)
	}
	return 0
}
