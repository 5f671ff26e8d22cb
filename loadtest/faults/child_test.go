package faults

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/features/online/pebble"
	"github.com/millrace/millrace/features/online/redis"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/pipeline"
)

// childEnv holds the orders of a process that is to be the pipeline. Without it
// the process is the test.
const childEnv = "MILLRACE_FAULTS_CHILD"

// Size of the work. Test and child make it from the same seed.
const (
	seed       = 20240228
	partitions = 4
	events     = 12_000
	entities   = 100
)

var spec = Spec{Seed: seed, Partitions: partitions, Events: events, Entities: entities}

// orders say what a child runs.
type orders struct {
	Project string
	Broker  string // host:port
	Pebble  string // the store's directory, or
	Redis   string // its host:port

	Part part   // of the loop of a project file; empty: the pipeline of Project
	File string // that file
}

func TestMain(m *testing.M) {
	text := os.Getenv(childEnv)
	if text == "" {
		os.Exit(m.Run())
	}
	var o orders
	err := json.Unmarshal([]byte(text), &o)
	switch {
	case err != nil:
	case o.Part != "":
		err = o.runPart()
	default:
		err = o.run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run is the child: it runs the pipeline until its input ends.
func (o orders) run() error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	work, err := NewWork(spec)
	if err != nil {
		return err
	}
	store, err := o.open(ctx)
	if err != nil {
		return err
	}
	defer store.Close()
	cluster, err := streams.Connect(streams.Options{Addresses: []string{o.Broker}})
	if err != nil {
		return err
	}
	defer cluster.Close()
	producer := streams.NewProducer(cluster)
	defer producer.Close()
	committed := make(chan struct{}, 1)
	host := pipeline.New(o.config(work, cluster, producer, store, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})), func() {
		select {
		case committed <- struct{}{}:
		default:
		}
	}))
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { report(ctx, host, committed) })
	go untilInputEnds(cancel)
	err = host.Run(ctx)
	cancel()
	return err
}

// untilInputEnds calls end when the parent closes the child's input. Nobody waits
// for it: a read of the input ends with the process alone.
func untilInputEnds(end func()) {
	_, _ = io.Copy(io.Discard, os.Stdin)
	end()
}

func (o orders) open(ctx context.Context) (online.Store, error) {
	if o.Redis != "" {
		return redis.Open(ctx, redis.Options{Addresses: []string{o.Redis}})
	}
	return pebble.Open(o.Pebble)
}

func (o orders) config(w *Work, c *streams.Cluster, p *streams.Producer, s online.Store, log *slog.Logger, committed func()) pipeline.Config {
	return newConfig(o.Project, w, c, p, s, log, func(string, int, online.Progress) { committed() })
}

// report writes how many shards run and how many records they have committed
// together, at each commit and from time to time.
func report(ctx context.Context, host *pipeline.Host, committed <-chan struct{}) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	last := said{-1, -1}
	for ctx.Err() == nil {
		var now said
		for _, s := range host.Status() {
			if s.Phase == pipeline.Running {
				now.running++
				now.applied += s.Progress.Next
			}
		}
		if now != last {
			fmt.Println(now.running, now.applied)
			last = now
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		case <-committed:
		}
	}
}

// said is a line of a child's output.
type said struct {
	running int   // shards that have started
	applied int64 // records that these have committed since the log's beginning
}

// A child is a process that runs the pipeline.
type child struct {
	t       *testing.T
	command *exec.Cmd
	input   io.Closer // closing it stops the child in order
	errors  bytes.Buffer
	lines   chan said // closed at the end of its output
	last    said
}

func start(t *testing.T, o orders) *child {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &child{t: t, command: exec.Command(self), lines: make(chan said, 1<<16)}
	c.command.Env = append(os.Environ(), childEnv+"="+string(text))
	c.command.Stderr = &c.errors
	if c.input, err = c.command.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	output, err := c.command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.command.Process.Kill() }) // where the test fails half-way
	go c.listen(output)                                // ends when the child has
	return c
}

func (c *child) listen(output io.Reader) {
	defer close(c.lines)
	for in := bufio.NewScanner(output); in.Scan(); {
		var s said
		if n, _ := fmt.Sscan(in.Text(), &s.running, &s.applied); n == 2 {
			c.lines <- s
		}
	}
}

// wait waits until the child has said what is asked for.
func (c *child) wait(what string, ok func(said) bool) {
	c.t.Helper()
	deadline := time.After(60 * time.Second)
	for !ok(c.last) {
		select {
		case s, open := <-c.lines:
			if !open {
				_ = c.command.Wait()
				c.t.Fatalf("the child ended by itself before %s; it wrote:\n%s", what, &c.errors)
			}
			c.last = s
		case <-deadline:
			c.kill()
			c.t.Fatalf("the child was at %+v after a minute, waiting for %s; it wrote:\n%s", c.last, what, &c.errors)
		}
	}
}

// next returns what the child has said next, if there is more now.
func (c *child) next() (said, bool) {
	select {
	case s, open := <-c.lines:
		if open {
			c.last = s
		}
		return s, open
	default:
		return c.last, false
	}
}

// kill ends the child by SIGKILL and hears what it still had to say.
func (c *child) kill() {
	_ = c.command.Process.Kill()
	for s := range c.lines {
		c.last = s
	}
	_ = c.command.Wait() // an error only says that it was killed
}

func (c *child) signal(s os.Signal) {
	c.t.Helper()
	if err := c.command.Process.Signal(s); err != nil {
		c.t.Fatal(err)
	}
}

// stop ends the child in order.
func (c *child) stop() {
	c.t.Helper()
	c.input.Close()
	for range c.lines {
	}
	if err := c.command.Wait(); err != nil {
		c.t.Errorf("the child ended with %v; it wrote:\n%s", err, &c.errors)
	}
}
