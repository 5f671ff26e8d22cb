package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/millrace/millrace/loadtest/asking"
	"github.com/millrace/millrace/streams/pipeline"
)

type benchPredictCmd struct {
	Rate       int    `default:"5000" placeholder:"N" help:"Requests a second. The default is 5000."`
	Seconds    int    `default:"10" placeholder:"N" help:"How long each of the five measurements takes. The default is 10."`
	Events     int    `default:"500000" placeholder:"N" help:"Trades that the features are of. The default is 500000, which are five hours."`
	Everything bool   `help:"Have the process run the pipeline, the join, the monitors and the lake, too."`
	CPUProfile string `name:"cpuprofile" placeholder:"FILE" help:"Write a CPU profile of the server in the first measurement."`
	JSON       bool   `name:"json" help:"Print one JSON object."`
}

func (benchPredictCmd) Help() string {
	return `Measures what a prediction over HTTP costs on this machine, as "millrace run" gives it. Each request is POST /v1/predict/large, and names one of up to 5,000 symbols. The server reads the symbol's row from the embedded store, computes 28 statistics of its trades from it, scores 100 trees of depth 6, and writes the prediction with its 28 values to the topic of the embedded broker. It answers when that is acknowledged.

First trades are written to a topic and the pipeline applies them; then the trees are grown and brought into service. None of this is measured. Then a second process asks, over keep-alive connections:

	open     at the fixed rate, whether or not the server keeps up. Times are from the moment at which a request was due to the end of its answer, so that what waits behind a stall counts in full.
	closed   each connection asks again when it is answered. Times are from sending.

CPU ms is the server's, user and system, for each answer: HTTP, lookup, score, broker, store and garbage collector, but not the process that asks. With explain, the request has "explain": true, and the answer says what each feature adds to the score.

Late is how much later than due the asking process itself woke up (99 %), which is part of the times: where it is large, the machine is busy and so are the figures. At the end the predictions in the topic are counted; there must be as many as answers.

With --everything the process also runs the pipeline, the join, which reads each prediction and waits for its outcome, the monitors and the lake, whose CPU then counts, too.

Examples:

	millrace bench predict
	millrace bench predict --everything --json
	millrace bench predict --seconds 5 --cpuprofile cpu.out`
}

func (c *benchPredictCmd) Validate() error {
	switch {
	case c.Rate < 1 || c.Rate > asking.MaxRate:
		return fmt.Errorf("--rate %d: give 1 to %d requests a second", c.Rate, asking.MaxRate)
	case c.Seconds < 1 || c.Seconds > int(asking.MaxDuration/time.Second):
		return fmt.Errorf("--seconds %d: give 1 to %d", c.Seconds, int(asking.MaxDuration/time.Second))
	case c.Events < 10_000 || c.Events > 10_000_000:
		return fmt.Errorf("--events %d: give 10000 to 10000000", c.Events)
	}
	return nil
}

// A predictResult is what the benchmark has measured.
type predictResult struct {
	Events     int             `json:"events"`
	Symbols    int             `json:"symbols"`
	Everything bool            `json:"everything"`
	Model      *asking.Grown   `json:"model"`
	Figures    []asking.Figure `json:"figures"`
	Answered   int64           `json:"answered"` // in all, the warm-up included
	Logged     int64           `json:"logged"`   // predictions in the topic
}

func (c *benchPredictCmd) Run(ctx context.Context, a *app) (err error) {
	dir, err := os.MkdirTemp("", "millrace-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	p, err := asking.Project(dir)
	if err != nil {
		return err
	}
	var profile io.Writer
	if c.CPUProfile != "" {
		file, err := os.Create(c.CPUProfile)
		if err != nil {
			return err
		}
		defer file.Close()
		profile = file
	}
	var res *predictResult
	err = withEngines(ctx, p, a.log, func(e *opened) (err error) {
		res, err = c.measure(ctx, a, e, profile)
		return err
	})
	switch {
	case err != nil:
		return err
	case res == nil || len(res.Figures) == 0:
		return errors.New("stopped before anything was measured")
	case c.JSON:
		return a.printJSON(res)
	}
	return printPredict(a.stdout, res)
}

func (c *benchPredictCmd) measure(ctx context.Context, a *app, e *opened, profile io.Writer) (*predictResult, error) {
	w := asking.World{Project: e.project, Cluster: e.cluster, Producer: e.producer, Store: e.store, Registry: e.registry, Log: e.log}
	res := &predictResult{Events: c.Events, Everything: c.Everything}
	a.log.Info("applying trades", "events", c.Events)
	symbols, err := w.Fill(ctx, c.Events)
	if err != nil {
		return nil, err
	}
	res.Symbols = len(symbols)
	a.log.Info("growing trees")
	if res.Model, err = w.Champion(ctx, symbols); err != nil {
		return nil, err
	}
	b := asking.Bench{
		Entities: symbols, Rate: c.Rate, Duration: time.Duration(c.Seconds) * time.Second,
		Ask: askFromOutside, Profile: profile, Step: func(what string) { a.log.Info(what) },
	}
	run := func(ctx context.Context, address string) (err error) {
		b.Address = address
		res.Figures, res.Answered, err = b.Run(ctx)
		if err == nil {
			res.Logged, err = countLogged(ctx, e, res)
		}
		return err
	}
	if c.Everything {
		return res, withServer(ctx, e, func(ctx context.Context, s *server) error {
			a.log.Info("joining trades")
			if err := awaitJoined(ctx, s.host, int64(c.Events)); err != nil {
				return err
			}
			return run(ctx, strings.TrimPrefix(s.url, "http://"))
		})
	}
	server, err := newServer(ctx, e, nil, nil)
	if err != nil {
		return nil, err
	}
	ln, err := listen(e)
	if err != nil {
		return nil, err
	}
	return res, runStages(ctx, e.log,
		func(ctx context.Context) error { return run(ctx, ln.Addr().String()) },
		func(ctx context.Context) error { return server.Serve(ctx, ln) })
}

// awaitJoined waits until the join has taken in what came true by all trades.
func awaitJoined(ctx context.Context, host *pipeline.Host, trades int64) error {
	for {
		joined := int64(0)
		for _, s := range host.Status() {
			if s.Stage == "join" {
				joined += s.Progress.Next
			}
		}
		if joined >= trades {
			return nil
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

// countLogged counts the predictions in the log once none waits on its way there. Fewer
// than were answered are an error, and so are more, unless requests have failed.
func countLogged(ctx context.Context, e *opened, res *predictResult) (int64, error) {
	for began := time.Now(); ; {
		waiting, _, why := e.spool.Waiting()
		if waiting == 0 {
			break
		}
		if time.Since(began) > time.Minute {
			return 0, fmt.Errorf("%d predictions still wait for the log after a minute: %w", waiting, why)
		}
		if err := sleep(ctx, 10*time.Millisecond); err != nil {
			return 0, err
		}
	}
	n, err := asking.Logged(ctx, e.cluster, e.project.Name)
	failed := slices.ContainsFunc(res.Figures, func(f asking.Figure) bool { return f.Errors > 0 })
	if err == nil && (n < res.Answered || n > res.Answered && !failed) {
		err = fmt.Errorf("%d predictions were answered, and the log has %d", res.Answered, n)
	}
	return n, err
}

// askFromOutside asks from a process of its own.
func askFromOutside(ctx context.Context, l *asking.Load) (*asking.Answers, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	spec, err := json.Marshal(l)
	if err != nil {
		return nil, err
	}
	var out, failure bytes.Buffer
	cmd := exec.CommandContext(ctx, self, "bench", "ask") //nolint:gosec // it is this program
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(spec), &out, &failure
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("the process that asks: %w: %s", err, bytes.TrimSpace(failure.Bytes()))
	}
	answers := &asking.Answers{}
	return answers, json.Unmarshal(out.Bytes(), answers)
}

// benchAskCmd is the process that asks.
type benchAskCmd struct{}

func (benchAskCmd) Run(ctx context.Context, a *app) error {
	var l asking.Load
	if err := json.NewDecoder(a.stdin).Decode(&l); err != nil {
		return usagef(`stdin is not the JSON object of a load; "millrace bench predict" gives one: %w`, err)
	}
	if err := l.Check(); err != nil {
		return usageError{err}
	}
	answers, err := l.Run(ctx)
	if err != nil {
		return err
	}
	return a.printJSON(answers)
}

func printPredict(w io.Writer, r *predictResult) error {
	fmt.Fprintf(w, "%d features of %d symbols; %d trees with %d leaves.\n\n", r.Model.Features, r.Symbols, r.Model.Trees, r.Model.Leaves)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\tanswered\tanswered/s\tCPU ms\tp50 ms\tp99 ms\tp99.9 ms\tmax ms\tlate ms\terrors\t")
	for _, f := range r.Figures {
		name := fmt.Sprintf("open, %d/s", f.Rate)
		late := fmt.Sprintf("%.3f", f.Late)
		if f.Load == "closed" {
			name, late = fmt.Sprintf("closed, %d", f.Clients), "-"
		}
		if f.Explain {
			name += ", explain"
		}
		fmt.Fprintf(t, "%s\t%d\t%.0f\t%.4f\t%.3f\t%.3f\t%.3f\t%.1f\t%s\t%d\t\n", name, f.Answered, f.PerSecond, f.CPUMillis, f.P50, f.P99, f.P999, f.Max, late, f.Errors+f.Unasked)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, f := range r.Figures {
		if f.Unasked > 0 {
			fmt.Fprintf(w, "\n%d requests at %d/s were not sent: the server was too far behind.\n", f.Unasked, f.Rate)
		}
		if f.Error != "" {
			fmt.Fprintf(w, "\nThe first error: %s\n", f.Error)
			break
		}
	}
	_, err := fmt.Fprintf(w, "\n%d answered in all, %d predictions in the log.\n", r.Answered, r.Logged)
	return err
}
