package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/loadtest/stocks"
)

// plain builds the program without the race detector, under which thirteen years
// take minutes; the tests of its parts run with it.
func plain(t *testing.T) (program string) {
	t.Helper()
	program = filepath.Join(t.TempDir(), "millrace")
	if text, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return program
}

// startDemo starts a demo in a process of its own.
func startDemo(t *testing.T, program string, args ...string) (cmd *exec.Cmd, stdout io.Reader, stderr *bytes.Buffer) {
	t.Helper()
	cmd = exec.CommandContext(t.Context(), program, append([]string{"demo"}, args...)...)
	stderr = &bytes.Buffer{}
	cmd.Stderr = stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, stdout, stderr
}

// signalIn sends a demo the signal when it begins to show a year, waits for its
// end, and returns its exit status and what it said.
func signalIn(t *testing.T, program, year string, signal os.Signal, args ...string) (status int, stderr string) {
	t.Helper()
	cmd, stdout, said := startDemo(t, program, args...)
	sent := false
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), year) && !sent {
			sent = true
			if err := cmd.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
		}
	}
	err := cmd.Wait()
	var exit *exec.ExitError
	if !sent || !errors.As(err, &exit) {
		t.Fatalf("the demo ended by itself, with %v (a line of %s: %v):\n%s", err, year, sent, said)
	}
	return exit.ExitCode(), said.String()
}

// headless runs a demo to its end and returns the object that it prints.
func headless(t *testing.T, program, dir string) demoResult {
	t.Helper()
	cmd, stdout, stderr := startDemo(t, program, "--headless", "--approve", "--json", "--data-dir", dir)
	text, err := io.ReadAll(stdout)
	if err := errors.Join(err, cmd.Wait()); err != nil {
		t.Fatalf("%v:\n%s", err, stderr)
	}
	var r demoResult
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Token(); err != io.EOF {
		t.Fatalf("more than one object: %s", text)
	}
	if r.Events != 12_154 || r.DeadLetters != 0 || r.StoreRows != 5 || r.DataDir != dir {
		t.Errorf("%s\nis not of 12,154 events in 5 rows and %s", text, dir)
	}
	if r.Predictions != 12_154 || r.Examples != 12_149 || r.Pending != 5 || r.Unanswered != 0 || r.Dropped != 0 {
		t.Errorf("%s\nis not of 12,154 predictions, all but the last day's answered", text)
	}
	if r.Deployed < 2 || !(r.LogLoss.Champion < r.LogLoss.BaseRate) || !(r.Gain[0] > 0) || !(r.AUC > 0.7) {
		t.Errorf("%s\nhas no champions that are better than the base rate", text)
	}
	return r
}

// servedDays are until four of the five stocks have been there for half a year:
// under the race detector all thirteen years take two minutes.
const servedDays = 1250

// servedEvents are those of servedDays.
func servedEvents() []stocks.Event {
	return slices.Concat(stocks.Days(stocks.Events())[:servedDays]...)
}

// TestDatasetIsWhatTheDemoServed holds what lookups answer after each event
// against what a dataset says about the same moment, to the last bit.
func TestDatasetIsWhatTheDemoServed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	served := serveAll(t, dir)
	var events, probes bytes.Buffer
	for _, e := range servedEvents() {
		fmt.Fprintf(&events, "%s\n", e.JSON)
		ret, _ := e.Return()
		fmt.Fprintf(&probes, `{"symbol":%q,"as_of":%q,"ret":%v}`+"\n", e.Symbol, e.Time.Format(time.RFC3339), ret)
	}
	project, out := filepath.Join(dir, "stocks.yaml"), filepath.Join(dir, "out.jsonl")
	for name, text := range map[string][]byte{project: stocks.ProjectFile(), project + ".jsonl": events.Bytes(), out + ".probes.jsonl": probes.Bytes()} {
		if err := os.WriteFile(name, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.CommandContext(t.Context(), "millrace", "dataset", "build", "-p", project, "--view", stocks.View,
		"--events", stocks.Source+"="+project+".jsonl", "--probes", out+".probes.jsonl", "--out", out)
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	file, err := os.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	rows := json.NewDecoder(file)
	rows.UseNumber()
	for n, want := range served {
		row := map[string]any{}
		if err := rows.Decode(&row); err != nil {
			t.Fatal(err)
		}
		for name, v := range want {
			got, there := row[name]
			if !there || !same(t, got, v) {
				t.Fatalf("row %d, %v on %v: %s is %v in the dataset and was served as %v", n, row["symbol"], row["as_of"], name, got, v)
			}
		}
	}
	if rows.More() {
		t.Errorf("the dataset has more than %d rows", len(served))
	}
}

// same compares texts as such, and numbers by their bits.
func same(t *testing.T, a, b any) bool {
	x, text := a.(string)
	y, both := b.(string)
	if text || both {
		return text == both && x == y
	}
	return bitsOf(t, a) == bitsOf(t, b)
}

// bitsOf are those of a double, and others for a missing value.
func bitsOf(t *testing.T, v any) uint64 {
	if v == nil {
		return math.Float64bits(math.NaN())
	}
	x, err := v.(json.Number).Float64()
	if err != nil {
		t.Fatal(err)
	}
	return math.Float64bits(x)
}

// serveAll replays all events in this process, and returns for each the
// features that were served right after it.
func serveAll(t *testing.T, dir string) (served []map[string]any) {
	p, err := stocks.Project(dir)
	if err != nil {
		t.Fatal(err)
	}
	p.Kafka.EmbeddedPort, p.HTTP.Listen = 0, "127.0.0.1:0"
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	err = withEngines(t.Context(), p, log, func(e *opened) error {
		return withServer(t.Context(), e, func(ctx context.Context, on *server) error {
			r := stocks.Replay{Source: &p.Plan(stocks.View).Source, Cluster: e.cluster, Producer: e.producer, Client: on.client, Days: servedDays}
			r.Served = func(day []stocks.Event, _ time.Duration, got *stocks.Vectors) {
				for i := range day {
					row := map[string]any{}
					for _, c := range got.Columns[1:] { // after the symbol
						row[c.Name] = c.Values[i]
					}
					served = append(served, row)
				}
			}
			return r.Run(ctx)
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	if features := len(p.Plan(stocks.View).Outputs()); len(served) != len(servedEvents()) || len(served[0]) != features {
		t.Fatalf("%d answers of %d features, want %d of %d", len(served), len(served[0]), len(servedEvents()), features)
	}
	return served
}

// TestDemoGoesOn kills a demo, interrupts the next, and lets one end.
func TestDemoGoesOn(t *testing.T) {
	t.Parallel()
	program, dir := plain(t), t.TempDir()
	if status, stderr := signalIn(t, program, "2003", os.Kill, "--data-dir", dir); status != -1 {
		t.Fatalf("exit status %d of a killed demo:\n%s", status, stderr)
	}
	status, stderr := signalIn(t, program, "2007", os.Interrupt, "--data-dir", dir)
	if status != exitFailed || !strings.Contains(stderr, "demo --data-dir "+dir) {
		t.Errorf("exit status %d after Ctrl-C, and not a word how to go on:\n%s", status, stderr)
	}
	r := headless(t, program, dir)
	if r.Lookups < 1000 || r.Lookups > 7000 || r.Freshness.P50 == nil || *r.Freshness.P50 <= 0 || *r.Freshness.P99 < *r.Freshness.P50 {
		t.Errorf("%d lookups of the years from 2008 on, freshness %v", r.Lookups, r.Freshness)
	}
	if r := headless(t, program, dir); r.Lookups != 0 || r.Freshness.P50 != nil {
		t.Errorf("a demo with nothing to do made %d lookups", r.Lookups)
	}
}

// A slowJoin is a store that takes its time over what the join commits.
type slowJoin struct{ online.Store }

func (s slowJoin) Commit(ctx context.Context, c *online.Commit) error {
	if strings.Contains(c.Shard.Space, ".join.") {
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
	return s.Store.Commit(ctx, c)
}

// TestDemoCountsTheLastPredictions has a join that is behind at the end.
func TestDemoCountsTheLastPredictions(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p, err := stocks.Project(dir)
	if err != nil {
		t.Fatal(err)
	}
	p.Kafka.EmbeddedPort, p.HTTP.Listen = 0, "127.0.0.1:0"
	const days = 4
	want := loopResult{}
	for _, day := range stocks.Days(stocks.Events())[:days] {
		want.Examples = want.Predictions
		want.Predictions, want.Pending = want.Predictions+int64(len(day)), int64(len(day))
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	err = withEngines(t.Context(), p, log, func(e *opened) error {
		e.store = slowJoin{e.store}
		return withServer(t.Context(), e, func(ctx context.Context, on *server) error {
			d := &demo{demoCmd: &demoCmd{Headless: true}, app: &app{log: log}, opened: e, server: on, dir: dir}
			d.screen = newScreen(os.Stdout, d.Headless) // which prints nothing
			loop, err := d.newLoop()
			if err != nil {
				return err
			}
			defer loop.close()
			r := stocks.Replay{
				Source: &p.Plan(stocks.View).Source, Cluster: d.cluster, Producer: d.producer, Client: d.client,
				Served: d.served, Asked: loop.asked, Settle: loop.settle, Days: days,
			}
			if err := r.Run(ctx); err != nil {
				return err
			}
			var got loopResult
			if err := loop.finish(ctx, &got); err != nil {
				return err
			}
			if got.Predictions != want.Predictions || got.Examples != want.Examples || got.Pending != want.Pending || got.Dropped != 0 {
				t.Errorf("%d predictions, %d examples, %d pending, %d dropped; want %d, %d, %d and none",
					got.Predictions, got.Examples, got.Pending, got.Dropped, want.Predictions, want.Examples, want.Pending)
			}
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestDemoLeavesAnotherProjectAlone(t *testing.T) {
	dir := t.TempDir()
	own := []byte("project: own\n")
	if err := os.WriteFile(filepath.Join(dir, "stocks.yaml"), own, 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "millrace", "demo", "--data-dir", dir).CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != exitUsage || !strings.Contains(string(out), "another --data-dir") {
		t.Errorf("%v: %s", err, out)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "stocks.yaml")); err != nil || !bytes.Equal(text, own) {
		t.Errorf("the file was changed: %v %s", err, text)
	}
}
