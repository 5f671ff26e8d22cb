package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/millrace/millrace/deploy/engines"
	"github.com/millrace/millrace/deploy/project"
	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/features/online/onlinetest"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/broker"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"millrace-beam": main})
}

// TestScripts runs the command as its users do, where no cluster is needed.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script", Cmds: commands})
}

// TestSharedScripts runs it with a Kafka and a Redis.
func TestSharedScripts(t *testing.T) {
	b, err := broker.Start(broker.Options{Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	server := onlinetest.StartRedis(t)
	races, err := filepath.Abs("testdata/races.txt")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/shared",
		Setup: func(env *testscript.Env) error {
			env.Setenv("GORACE", "atexit_sleep_ms=0 suppressions="+races)
			env.Setenv("KAFKA", b.Addr())
			env.Setenv("REDIS", server.Addr)
			return nil
		},
		Cmds: commands,
	})
}

// commands are what scripts have besides those of testscript.
var commands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	"exits": exits, "expand": expand, "produce": produce, "applied": applied,
}

// exits runs a command that must end with the given status: exits 2 millrace-beam run
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits STATUS COMMAND...")
	}
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if strconv.Itoa(got) != args[0] {
		ts.Fatalf("exit status %d, want %s", got, args[0])
	}
}

// expand puts the environment's values into a file: expand project.yaml
func expand(ts *testscript.TestScript, neg bool, args []string) {
	for _, name := range args {
		text := os.Expand(ts.ReadFile(name), ts.Getenv)
		ts.Check(os.WriteFile(ts.MkAbs(name), []byte(text), 0o666))
	}
}

// produce writes a file's lines to the first partition of a topic, by a key each:
// produce TOPIC KEY FILE
func produce(ts *testscript.TestScript, neg bool, args []string) {
	cluster, err := streams.Connect(streams.Options{Addresses: []string{ts.Getenv("KAFKA")}})
	ts.Check(err)
	defer cluster.Close()
	producer := streams.NewProducer(cluster)
	defer producer.Close()
	var records []streams.Record
	for line := range strings.Lines(ts.ReadFile(args[2])) {
		records = append(records, streams.Record{Key: []byte(args[1]), Value: []byte(line)})
	}
	ts.Check(cluster.Ensure(context.Background(), args[0], 1, nil))
	_, err = producer.Produce(context.Background(), args[0], records)
	ts.Check(err)
}

// patience is for how long tests wait for what takes milliseconds, on a machine
// that has much else to do.
const patience = 2 * time.Minute

// applied waits until a view has applied that many events: applied PROJECT-FILE VIEW N
func applied(ts *testscript.TestScript, neg bool, args []string) {
	p, err := project.Load(ts.MkAbs(args[0]))
	ts.Check(err)
	store, err := engines.Store(context.Background(), p)
	ts.Check(err)
	defer store.Close()
	want, err := strconv.ParseInt(args[2], 10, 64)
	ts.Check(err)
	shard := online.Shard{Space: p.Plan(args[1]).Space(p.Name)}
	var s online.State
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if s, err = store.State(context.Background(), shard); err == nil && s.Progress.Counts.Applied == want {
			return
		}
	}
	ts.Fatalf("applied %d of %d, %v", s.Progress.Counts.Applied, want, err)
}
