package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/millrace/millrace/features/online/onlinetest"
	"github.com/millrace/millrace/streams/broker"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"millrace": main})
}

// TestScripts runs the commands as their users do, each in a process of its own.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:   "testdata/script",
		Setup: func(env *testscript.Env) error { return setup(env, "HTTP", "BROKER", "BROKER2") },
		Cmds:  commands,
	})
}

// TestSharedScripts runs several processes of one project on a Kafka and a Redis.
func TestSharedScripts(t *testing.T) {
	b, err := broker.Start(broker.Options{Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	redis := onlinetest.StartRedis(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/shared",
		Setup: func(env *testscript.Env) error {
			env.Setenv("KAFKA", b.Addr())
			env.Setenv("REDIS", redis.Addr)
			return setup(env, "HTTP")
		},
		Cmds: commands,
	})
}

// commands are what scripts have besides those of testscript.
var commands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	"exits": exits, "expand": expand, "long": long, "ready": ready, "waitfor": waitFor, "hang": hang, "closed": closed,
	"registry": doInRegistry, "collisions": writeCollisions,
}

// setup gives a script the environment of its commands, a free port by each name.
func setup(env *testscript.Env, ports ...string) error {
	// Each command would wait a second at its end for goroutines that race.
	env.Setenv("GORACE", "atexit_sleep_ms=0")
	for _, name := range ports {
		port, err := freePort()
		if err != nil {
			return err
		}
		env.Setenv(name, port)
	}
	return nil
}

func freePort() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer ln.Close()
	return strconv.Itoa(ln.Addr().(*net.TCPAddr).Port), nil
}

// exits runs a command that must end with the given status: exits 2 millrace check
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

// long puts that many bytes into a file where it has LONG: long 1000000 file
func long(ts *testscript.TestScript, neg bool, args []string) {
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	text := strings.Replace(ts.ReadFile(args[1]), "LONG", strings.Repeat("x", n), 1)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(text), 0o666))
}

// patience is for how long tests wait for what takes milliseconds, on a machine
// that has much else to do.
const patience = 2 * time.Minute

// ready waits until the server at port $HTTP does its work.
func ready(ts *testscript.TestScript, neg bool, args []string) {
	last := error(nil)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		answer, err := http.Get("http://127.0.0.1:" + ts.Getenv("HTTP") + "/readyz")
		if err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return
			}
			err = fmt.Errorf("readyz: %s", answer.Status)
		}
		last = err
	}
	ts.Fatalf("not ready: %v", last)
}

// waitFor runs a command again and again until its stdout matches:
// waitfor PATTERN COMMAND...
func waitFor(ts *testscript.TestScript, neg bool, args []string) {
	want := regexp.MustCompile(args[0])
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if ts.Exec(args[1], args[2:]...) == nil && want.MatchString(ts.ReadFile("stdout")) {
			return
		}
	}
	ts.Fatalf("waited in vain for %q in:\n%s", args[0], ts.ReadFile("stdout"))
}

// hang begins a request to the server at port $HTTP that does not end.
func hang(ts *testscript.TestScript, neg bool, args []string) {
	conn, err := net.Dial("tcp", "127.0.0.1:"+ts.Getenv("HTTP"))
	ts.Check(err)
	ts.Defer(func() { conn.Close() })
	_, err = conn.Write([]byte("POST /v1/events/orders HTTP/1.1\r\nHost: millrace\r\nContent-Length: 1000\r\n\r\n{"))
	ts.Check(err)
}

// closed waits until nothing listens at port $HTTP.
func closed(ts *testscript.TestScript, neg bool, args []string) {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		conn, err := net.Dial("tcp", "127.0.0.1:"+ts.Getenv("HTTP"))
		if err != nil {
			return
		}
		conn.Close()
	}
	ts.Fatalf("something still listens")
}
