//go:build flink

package flink

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9/logging"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/streams/pipeline"
	"github.com/millrace/millrace/streams/pipeline/beam"
)

// TestMain is the test, a worker of Flink, or a host in a child process.
func TestMain(m *testing.M) {
	logging.Disable() // what the Redis client says while it is killed
	beam.Open = openWatched
	beam.Boot()
	text := os.Getenv(childEnv)
	if text == "" {
		os.Exit(m.Run())
	}
	var c child
	err := json.Unmarshal([]byte(text), &c)
	if err == nil {
		err = c.run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// childEnv holds what a child process does.
const childEnv = "MILLRACE_FLINK_CHILD"

// A child runs a host of a load until its input ends.
type child struct {
	Load  Load
	Prism bool
}

func (c child) run() error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // ends with the parent
		cancel()
	}()
	if c.Prism {
		job, err := c.Load.job(beam.PeriodicTicker)
		if err != nil {
			return err
		}
		return beam.RunPrism(ctx, job.Pipeline())
	}
	e, err := c.Load.Open(ctx)
	if err != nil {
		return err
	}
	host, err := c.Load.Host(e)
	if err != nil {
		return errors.Join(err, e.Close())
	}
	return errors.Join(host.Run(ctx), e.Close())
}

// job is the load as a job on Beam.
func (l Load) job(ticker beam.Ticker) (beam.Job, error) {
	plan, err := l.Plan()
	if err != nil {
		return beam.Job{}, err
	}
	text, err := json.Marshal(l)
	if err != nil {
		return beam.Job{}, err
	}
	parts := pipeline.New(pipeline.Config{Project: l.Project, Plans: []*features.Plan{plan}}).Parts()
	return beam.Job{Name: l.Project, Project: beam.Project{Name: l.Project, Options: string(text)}, Parts: parts, Tick: 50 * time.Millisecond, Ticker: ticker}, nil
}

// A process is a child that runs.
type process struct {
	cmd   *exec.Cmd
	leash io.Closer
}

func start(t *testing.T, c child) *process {
	t.Helper()
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childEnv+"="+string(text))
	cmd.Stderr = t.Output()
	leash, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{cmd, leash}
	t.Cleanup(func() { p.kill() })
	return p
}

// kill ends the process as SIGKILL does.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	_ = p.cmd.Wait()
}

// stop lets the process end by itself.
func (p *process) stop(t *testing.T) {
	t.Helper()
	p.leash.Close()
	if err := p.cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// A watched store stops the worker's process just before a commit where a file
// "hold" names it, as a host does that freezes; and it notes commits that were
// refused.
type watchedStore struct {
	online.Store
}

func notes() string { return filepath.Join(os.TempDir(), "millrace-flink-notes") }

func (s watchedStore) Commit(ctx context.Context, c *online.Commit) error {
	pid := strconv.Itoa(os.Getpid())
	if text, err := os.ReadFile(filepath.Join(notes(), "hold")); err == nil && string(text) == pid {
		_ = os.Remove(filepath.Join(notes(), "hold"))
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
		time.Sleep(time.Second)          // the signal may reach another thread first, and this one would get as far as Redis
		ctx = context.WithoutCancel(ctx) // as if it had been on its way: else the step's time is over
	}
	err := s.Store.Commit(ctx, c)
	var conflict *online.Conflict
	if errors.As(err, &conflict) {
		if f, err := os.OpenFile(filepath.Join(notes(), "refused-"+pid), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err == nil {
			fmt.Fprintln(f, c.Shard.Index)
			f.Close()
		}
	}
	return err
}

func openWatched(ctx context.Context, p beam.Project) (*pipeline.Host, func() error, error) {
	var l Load
	if err := json.Unmarshal([]byte(p.Options), &l); err != nil {
		return nil, nil, err
	}
	e, err := l.Open(ctx)
	if err != nil {
		return nil, nil, err
	}
	e.Store = watchedStore{e.Store}
	host, err := l.Host(e)
	return host, e.Close, err
}
