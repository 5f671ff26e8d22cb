package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/millrace/millrace/deploy/client"
	"github.com/millrace/millrace/deploy/engines"
	"github.com/millrace/millrace/deploy/project"
	"github.com/millrace/millrace/deploy/serve"
	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/loadtest"
	"github.com/millrace/millrace/loadtest/stocks"
	"github.com/millrace/millrace/streams/pipeline"
)

type demoCmd struct {
	DataDir   string  `placeholder:"DIR" help:"The folder for the demo's files. An earlier demo in it goes on where it stopped. Without it, a new folder among the temporary files."`
	Headless  bool    `help:"As fast as it goes, and print only the summary."`
	Approve   bool    `help:"Approve what the gate promotes, as nobody watches: of candidates of the same examples the one with the least loss."`
	JSON      bool    `help:"Print only one JSON object, on stdout; implies --headless."`
	Speed     float64 `placeholder:"N" help:"1 lets the thirteen years pass in 30 seconds, 2 in 15. Without it, 1 on a terminal and as fast as it goes elsewhere."`
	Keep      bool    `help:"Go on at the end, until Ctrl-C: serve, and bring into service what is approved. On a terminal it does so anyway."`
	Open      bool    `negatable:"" default:"true" help:"Open the page in a browser, on a terminal of a desktop. That is the default."`
	HTTPPort  int     `name:"http-port" placeholder:"PORT" help:"Port of the HTTP server on this machine. Without it, a free one."`
	KafkaPort int     `placeholder:"PORT" help:"Port of the embedded broker on this machine. Without it, a free one."`
}

func (demoCmd) Help() string {
	return `Streams thirteen years of daily prices of five stocks, 12,154 events, through a broker, feature windows and a store, all in this process. Each day's events are written to a topic; then the features of that day's stocks are looked up over HTTP, with the order to wait until these very events are in them.

Then a prediction is asked for of each stock: will its next move from open to close be 2 % or more? At first the base rate answers. The next day's prices say what came true; of these examples models are trained, each is judged on what comes after, and what the gate promotes waits for a person. Approve it in another terminal, as the demo tells, or let --approve do it; then it goes into service by itself: beside the champion first, and back if it does worse.

The project is stocks.yaml in the demo's folder: "millrace run" and the other commands work on it, too. The prices (Quandl WIKI Prices) are in the public domain and not adjusted for splits, which is why the features use moves within a day.

With --json the object has:

	events        events applied, those of earlier runs on the folder included
	events_per_s  events applied by this run, per second
	cpu_s         CPU seconds of this process, user and system
	freshness_ms  p50 and p99 over the days: from just before the events are written to the answer of the lookup that shows them; null where this run had nothing to write
	store_rows    rows in the store, one for each stock
	dead_letters  events that could not be applied
	lookups       rows that were looked up
	predictions   asked for and logged; of these examples, unanswered and pending are what became of them
	candidates    models trained, of which so many were inconclusive, approved, deployed (in service) and rolled_back
	dropped_requests  predictions that were not answered
	logloss       over all that a champion has answered: of the champion, of the base_rate known at the time, and of the first champion, had it stayed
	logloss_gain_interval  one-sided 95 % bounds, by block bootstrap, of the champion's gain over the base rate; logloss_gain_over_first_interval over the first champion
	auc           of what the champion answered
	seconds_candidate_to_deployed  median, by the clock on the wall
	data_dir      the demo's folder

Ctrl-C ends it within 5 seconds. It goes on where it stopped with the same --data-dir; so it does after a crash.

Examples:

	millrace demo
	millrace demo --headless --approve --json
	millrace demo --data-dir stocks --keep --http-port 8765`
}

func (c *demoCmd) Validate() error {
	for _, port := range []int{c.HTTPPort, c.KafkaPort} {
		if port < 0 || port > 65535 {
			return fmt.Errorf("port %d: give 1 to 65535, or 0 for a free one", port)
		}
	}
	if !(c.Speed >= 0 && c.Speed <= 1e6) {
		return fmt.Errorf("--speed %v: give a number above 0, as 2 for twice as fast", c.Speed)
	}
	return nil
}

// A demoResult is what a demo has done.
type demoResult struct {
	Events      int64     `json:"events"`
	EventsPerS  float64   `json:"events_per_s"`
	CPUSeconds  float64   `json:"cpu_s"`
	Freshness   freshness `json:"freshness_ms"`
	StoreRows   int       `json:"store_rows"`
	DeadLetters int64     `json:"dead_letters"`
	Lookups     int       `json:"lookups"`
	loopResult
	DataDir string `json:"data_dir"`

	seconds      float64 // that the replay took
	events, days int     // that this run has written
}

type freshness struct {
	P50 *float64 `json:"p50"`
	P99 *float64 `json:"p99"`
}

func (c *demoCmd) Run(ctx context.Context, a *app) error {
	c.Headless = c.Headless || c.JSON
	p, dir, err := c.project()
	if err != nil {
		return err
	}
	log := a.log
	if !c.Headless && isTerminal(a.stdout) { // lines of the log would break the table
		log = slog.New(leastWarn{log.Handler()})
	}
	err = withEngines(ctx, p, log, func(e *opened) error { return c.replay(ctx, a, e, dir) })
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w (the demo has --kafka-port and --http-port for these; without them it takes free ones)", err)
	}
	return err
}

// leastWarn is a log without what is not a warning.
type leastWarn struct{ slog.Handler }

func (l leastWarn) WithAttrs(attrs []slog.Attr) slog.Handler {
	return leastWarn{l.Handler.WithAttrs(attrs)}
}

func (l leastWarn) WithGroup(name string) slog.Handler { return leastWarn{l.Handler.WithGroup(name)} }

func (l leastWarn) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && l.Handler.Enabled(ctx, level)
}

// project makes the demo's folder.
func (c *demoCmd) project() (p *project.Project, dir string, err error) {
	if dir = c.DataDir; dir == "" {
		dir, err = os.MkdirTemp("", "millrace-demo-")
	} else {
		err = os.MkdirAll(dir, 0o755)
	}
	if err == nil {
		dir, err = filepath.Abs(dir)
	}
	if err != nil {
		return nil, "", err
	}
	if err := writeProject(filepath.Join(dir, "stocks.yaml")); err != nil {
		return nil, "", err
	}
	if p, err = stocks.Project(dir); err != nil {
		return nil, "", err
	}
	p.Kafka.EmbeddedPort = c.KafkaPort
	p.HTTP.Listen = net.JoinHostPort("127.0.0.1", strconv.Itoa(c.HTTPPort))
	return p, dir, nil
}

func writeProject(path string) error {
	found, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return os.WriteFile(path, stocks.ProjectFile(), 0o644)
	case err == nil && !bytes.Equal(found, stocks.ProjectFile()):
		return usagef(`%s is not this demo's: "millrace run -p %s" runs it as it is; for the demo give another --data-dir`, path, path)
	}
	return err
}

// replay runs the demo on open engines.
func (c *demoCmd) replay(ctx context.Context, a *app, e *opened, dir string) error {
	return withServer(ctx, e, func(ctx context.Context, on *server) error {
		d := &demo{demoCmd: c, app: a, opened: e, server: on, dir: dir}
		return d.run(ctx)
	})
}

// A server is a pipeline, a lake, monitors and an HTTP server at work.
type server struct {
	host   *pipeline.Host
	watch  *watch
	url    string
	client *client.Client
}

// withServer runs pipeline and HTTP server until do, a client of theirs, is
// done.
func withServer(ctx context.Context, e *opened, do func(context.Context, *server) error) error {
	host := e.host(engines.All)
	lake, err := newArchive(e, demoLakeAge)
	if err != nil {
		return err
	}
	watch, err := newWatch(e)
	if err != nil {
		return err
	}
	web, err := newServer(ctx, e, host, func(c *serve.Config) error { return addPage(e, watch, host, c) }, lake.problems, watch.problems)
	if err != nil {
		return err
	}
	ln, err := listen(e)
	if err != nil {
		return err
	}
	url := "http://" + ln.Addr().String()
	asks, err := client.New(url)
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	defer asks.Close()
	stages := []stage{
		func(ctx context.Context) error { return do(ctx, &server{host, watch, url, asks}) },
		func(ctx context.Context) error { return web.Serve(ctx, ln) },
	}
	stages = append(stages, watch.stages...)
	return runStages(ctx, e.log, append(stages, host.Run, lake.run)...)
}

// demoLakeAge is how old events of the demo become before they are in the lake,
// where what-if finds them: thirteen years are over in half a minute.
const demoLakeAge = 2 * time.Second

// A demo is one run of the demo.
type demo struct {
	*demoCmd
	*app
	*opened
	*server
	dir string

	loop   *demoLoop
	screen *screen
	waits  []time.Duration
	result demoResult
}

// thirteenYears is how long they take at a speed of 1.
const thirteenYears = 30 * time.Second

func (d *demo) run(ctx context.Context) error {
	d.screen = newScreen(d.stdout, d.Headless)
	if d.Speed == 0 && d.screen.terminal {
		d.Speed = 1
	}
	if d.JSON {
		fmt.Fprintf(d.stderr, "the demo's files are in %s\n", d.dir)
	} else {
		d.Keep = d.Keep || d.screen.terminal
		fmt.Fprintf(d.stdout, "Thirteen years of five stocks. Look at them on %s/ui/\nThe demo's files are in %s.\n\n", d.url, d.dir)
		d.open(ctx)
	}
	defer func() {
		if d.loop != nil {
			d.loop.close()
		}
	}()
	err := d.stream(ctx)
	d.screen.end()
	if err != nil && ctx.Err() != nil {
		fmt.Fprintf(d.stderr, "stopped; it goes on with: %s demo --data-dir %s\n", self(), d.dir)
		return exitStatus(exitFailed)
	}
	if err != nil {
		return err
	}
	if d.JSON {
		err = d.printJSON(d.result)
	} else {
		d.summary()
	}
	if d.Keep && err == nil {
		err = d.loop.keep(ctx)
	}
	return err
}

// open opens the page in the browser of a desktop. Where there is none, the line
// with its address has to do.
func (d *demo) open(ctx context.Context) {
	if !d.Open || !d.screen.terminal {
		return
	}
	var opener []string
	switch {
	case runtime.GOOS == "darwin":
		opener = []string{"open"}
	case runtime.GOOS == "windows":
		opener = []string{"rundll32", "url.dll,FileProtocolHandler"}
	case os.Getenv("DISPLAY") != "" || os.Getenv("WAYLAND_DISPLAY") != "":
		opener = []string{"xdg-open"}
	default:
		return
	}
	cmd := exec.CommandContext(ctx, opener[0], append(opener[1:], d.url+"/ui/")...) //nolint:gosec // the address is our own
	if err := cmd.Start(); err == nil {
		go func() { _ = cmd.Wait() }()
	}
}

// stream replays the prices and counts what came of them.
func (d *demo) stream(ctx context.Context) error {
	plan := d.opened.project.Plan(stocks.View)
	before, err := d.counts(ctx)
	if err != nil {
		return err
	}
	if d.loop, err = d.newLoop(); err != nil {
		return err
	}
	r := stocks.Replay{
		Source: &plan.Source, Cluster: d.cluster, Producer: d.producer, Client: d.client,
		Served: d.served, Asked: d.loop.asked, Settle: d.loop.settle,
	}
	if d.Speed > 0 {
		r.Pace = time.Duration(float64(thirteenYears) / d.Speed / float64(len(stocks.Days(stocks.Events()))))
	}
	began := time.Now()
	if err := r.Run(ctx); err != nil {
		return err
	}
	after, err := d.counts(ctx)
	if err != nil {
		return err
	}
	d.result.seconds = time.Since(began).Seconds()
	d.result.Events, d.result.DeadLetters = after.Applied, after.Dead
	d.result.EventsPerS = float64(after.Applied-before.Applied) / d.result.seconds
	for _, err := range d.store.Rows(ctx, plan.Space(d.opened.project.Name)) {
		if err != nil {
			return err
		}
		d.result.StoreRows++
	}
	if slices.Sort(d.waits); len(d.waits) > 0 {
		p50, p99 := loadtest.Millis(loadtest.Quantile(d.waits, 0.5)), loadtest.Millis(loadtest.Quantile(d.waits, 0.99))
		d.result.Freshness = freshness{&p50, &p99}
	}
	d.result.DataDir = d.dir
	d.result.CPUSeconds = loadtest.CPUTime().Seconds()
	return d.loop.finish(ctx, &d.result.loopResult)
}

// counts are what the view's shards have applied, in all.
func (d *demo) counts(ctx context.Context) (total features.Counts, err error) {
	plan := d.opened.project.Plan(stocks.View)
	for i := range plan.Source.Partitions {
		s, err := d.store.State(ctx, online.Shard{Space: plan.Space(d.opened.project.Name), Index: i})
		if err != nil {
			return total, err
		}
		total.Applied += s.Progress.Counts.Applied
		total.Dead += s.Progress.Counts.Dead
	}
	return total, nil
}

// served notes one day.
func (d *demo) served(day []stocks.Event, fresh time.Duration, got *stocks.Vectors) {
	d.result.days++
	d.result.events += len(day)
	d.result.Lookups += len(day)
	d.waits = append(d.waits, fresh)
	d.screen.show(day, got, d.waits)
}

// summary says what was done and how to look at more.
func (d *demo) summary() {
	r, w := &d.result, d.stdout
	if r.days == 0 {
		fmt.Fprintf(w, "All %s events had been applied before.\n", thousands(r.Events))
	} else {
		fmt.Fprintf(w, "%s events of %s days in %.1f s, with %.1f s of CPU; %s events applied in all, %d dead letters, %d rows.\n",
			thousands(int64(r.events)), thousands(int64(r.days)), r.seconds, r.CPUSeconds, thousands(r.Events), r.DeadLetters, r.StoreRows)
		fmt.Fprintf(w, "%s lookups; from just before a day was written to the answer that shows it: p50 %.1f ms, p99 %.1f ms.\n",
			thousands(int64(r.Lookups)), *r.Freshness.P50, *r.Freshness.P99)
	}
	d.loop.summary(&r.loopResult)
	me, file := self(), filepath.Join(d.dir, "stocks.yaml")
	get := fmt.Sprintf("%s features get -p %s", me, file)
	if d.Keep {
		fmt.Fprintf(w, "\nServing at %s until Ctrl-C. To look at more:\n\n\t%s --server %s daily AAPL MSFT --request ret=0.05\n\tcurl %s/metrics\n", d.url, get, d.url, d.url)
		return
	}
	fmt.Fprintf(w, "\nTo look at more, start the server and ask it from another terminal:\n\n\t%s run -p %s\n\t%s daily AAPL MSFT --request ret=0.05\n", me, file, get)
}

// self is how this program was called, as far as a reader can call it again.
func self() string {
	if path, err := os.Executable(); err == nil && strings.Contains(path, string(filepath.Separator)+"go-build") {
		return "go run ./cmd/millrace"
	}
	return "millrace"
}
