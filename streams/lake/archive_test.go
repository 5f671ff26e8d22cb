package lake

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/broker"
)

var ticks = features.Source{Name: "ticks", Topic: "ticks", Format: "json", EventTime: "t", Fields: []features.Field{
	{Name: "n", Kind: expr.Int}, {Name: "t", Kind: expr.Time, Unit: features.EpochMillis},
}}

// A world is a broker with the topic of ticks, in two partitions.
type world struct {
	cluster  *streams.Cluster
	producer *streams.Producer
	root     string
	sent     [2]int64
}

func newWorld(t *testing.T) *world {
	t.Helper()
	b, err := broker.Start(broker.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	c, err := streams.Connect(streams.Options{Addresses: []string{b.Addr()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if err := c.Ensure(t.Context(), ticks.Topic, 2, nil); err != nil {
		t.Fatal(err)
	}
	w := &world{cluster: c, producer: streams.NewProducer(c), root: t.TempDir()}
	t.Cleanup(w.producer.Close)
	return w
}

// send appends n records to each partition; every tenth is not an event.
func (w *world) send(t *testing.T, n int) {
	t.Helper()
	var records []streams.Record
	for p := range w.sent {
		for range n {
			value := fmt.Sprintf(`{"n":%d,"t":%d}`, w.sent[p], w.sent[p])
			if w.sent[p]%10 == 9 {
				value = "not an event"
			}
			records = append(records, streams.Record{Partition: p, Value: []byte(value), Time: 1e15 + w.sent[p]*1000})
			w.sent[p]++
		}
	}
	if _, err := w.producer.Produce(t.Context(), ticks.Topic, records); err != nil {
		t.Fatal(err)
	}
}

func (w *world) archiver(t *testing.T, o Options) *Archiver {
	t.Helper()
	o.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	a, err := NewArchiver(w.root, w.cluster, ticks, o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// start runs an archiver; the returned function stops it gracefully.
func start(t *testing.T, a *Archiver) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	return func() {
		t.Helper()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// await polls until ok holds.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after 30 s: not yet %s", what)
		}
	}
}

func (w *world) archived(t *testing.T, p int) int64 {
	t.Helper()
	next, err := Tail(w.root, ticks.Name, p)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

// check says that the lake has each event that was sent once and nothing more.
func (w *world) check(t *testing.T) {
	t.Helper()
	rows, err := readAll(t, w.root, ticks)
	if err != nil {
		t.Fatal(err)
	}
	i := 0
	for p, sent := range w.sent {
		if next := w.archived(t, p); next != sent {
			t.Fatalf("partition %d ends at %d, want %d", p, next, sent)
		}
		for o := range sent {
			if o%10 == 9 {
				continue
			}
			if i == len(rows) {
				t.Fatalf("%d rows; partition %d ends before offset %d", i, p, o)
			}
			r := rows[i]
			if r.Partition != p || r.Offset != o || r.Event.Values[0].Int() != o || r.Event.Time != o*1000 || r.Event.Arrival != 1e15+o*1000 {
				t.Fatalf("row %d: %+v, want partition %d, offset %d", i, r, p, o)
			}
			i++
		}
	}
	if i != len(rows) {
		t.Fatalf("%d rows, want %d", len(rows), i)
	}
}

func TestArchiverGoesOnWhereTheLakeEnds(t *testing.T) {
	w := newWorld(t)
	w.send(t, 1000)
	a := w.archiver(t, Options{Rows: 100, Age: time.Hour})
	stop := start(t, a)
	await(t, "archived by rows", func() bool { return w.archived(t, 0) > 900 && w.archived(t, 1) > 900 })
	stop() // writes the rest
	if got := a.Counts(); got.Events+got.Undecodable > 2000 || got.Events < 1700 || got.Files < 18 || a.Err() != nil {
		t.Errorf("%+v, %v", got, a.Err())
	}
	w.send(t, 7)
	b := w.archiver(t, Options{Age: time.Millisecond})
	stop = start(t, b)
	await(t, "archived by age", func() bool { return w.archived(t, 0) == 1007 && w.archived(t, 1) == 1007 })
	w.send(t, 3)
	await(t, "archived what came later", func() bool { return w.archived(t, 0) == 1010 && w.archived(t, 1) == 1010 })
	stop()
	w.check(t)
	if got := a.Counts().Undecodable + b.Counts().Undecodable; got != 202 {
		t.Errorf("%d records were no events, want 202", got)
	}
}

// TestAStopLeavesNothingInTheLog sends right before it stops.
func TestAStopLeavesNothingInTheLog(t *testing.T) {
	w := newWorld(t)
	for range 10 {
		w.send(t, 1)
		a := w.archiver(t, Options{Age: time.Millisecond})
		stop := start(t, a)
		await(t, "archived", func() bool { return w.archived(t, 0) == w.sent[0] && w.archived(t, 1) == w.sent[1] })
		w.send(t, 300)
		stop()
		w.check(t)
	}
}

func TestArchiverRollsByBytes(t *testing.T) {
	w := newWorld(t)
	w.send(t, 1000)
	stop := start(t, w.archiver(t, Options{Bytes: 8 * 9 * 100, Age: time.Hour})) // about 100 rows of 9 columns
	await(t, "archived", func() bool { return w.archived(t, 0) > 0 && w.archived(t, 1) > 0 })
	stop()
	if h, err := readHeader(entry{filepath.Join(Folder(w.root, "ticks"), fileName(0, 0)), 0, 0}); err != nil || h.Next < 50 || h.Next > 300 {
		t.Errorf("the first file has %+v, %v", h, err)
	}
}

func TestTwoArchivers(t *testing.T) {
	w := newWorld(t)
	w.send(t, 3000)
	stop1 := start(t, w.archiver(t, Options{Rows: 70, Age: time.Millisecond}))
	stop2 := start(t, w.archiver(t, Options{Rows: 110, Age: time.Millisecond}))
	await(t, "archived", func() bool { return w.archived(t, 0) == 3000 && w.archived(t, 1) == 3000 })
	stop1()
	stop2()
	w.check(t)
}

func TestArchiverWaitsForTheDisk(t *testing.T) {
	w := newWorld(t)
	folder := Folder(w.root, "ticks")
	w.send(t, 20)
	a := w.archiver(t, Options{Age: time.Millisecond})
	stop := start(t, a)
	await(t, "archived", func() bool { return w.archived(t, 0) == 20 && w.archived(t, 1) == 20 })
	aside := folder + ".aside" // with a file in its place, no folder can be made there
	if err := os.Rename(folder, aside); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(folder, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	w.send(t, 20)
	await(t, "in trouble", func() bool { return a.Err() != nil })
	if !strings.Contains(a.Err().Error(), "writing offsets 20 to") {
		t.Errorf("%v does not say what is not written", a.Err())
	}
	if err := os.Remove(folder); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(aside, folder); err != nil {
		t.Fatal(err)
	}
	await(t, "over it", func() bool { return w.archived(t, 0) == 40 && w.archived(t, 1) == 40 })
	await(t, "well", func() bool { return a.Err() == nil })
	stop()
	w.check(t)
}

func TestArchiverRefusesAnotherLog(t *testing.T) {
	w := newWorld(t)
	w.send(t, 5)
	id, err := w.cluster.ID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for want, h := range map[string]Header{
		"%s has offsets of topic ticks of cluster other":                 {Range: Range{0, 0, 3}, Cluster: "other", Topic: "ticks"},
		"of topic other of cluster " + id:                                {Range: Range{0, 0, 3}, Cluster: id, Topic: "other"},
		"has lost records or was made anew; move %s away to begin a new": {Range: Range{0, 0, 300}, Cluster: id, Topic: "ticks"},
	} {
		w.root = t.TempDir()
		h.EventTime = "t"
		if err := publish(eventsOf(w.root, "ticks"), h, newTestTable(t, ticks)); err != nil {
			t.Fatal(err)
		}
		err := w.archiver(t, Options{}).Run(t.Context())
		want = strings.ReplaceAll(want, "%s", Folder(w.root, "ticks"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v\nwant %s", err, want)
		}
	}
	src := ticks
	src.Topic = "absent"
	a, err := NewArchiver(t.TempDir(), w.cluster, src, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Run(t.Context()); !errors.Is(err, streams.ErrNoTopic) {
		t.Errorf("got %v, want no topic", err)
	}
}

func TestNewArchiverChecksTheSource(t *testing.T) {
	src := ticks
	src.Format = "avro"
	if _, err := NewArchiver("", nil, src, Options{}); err == nil {
		t.Error("avro was taken")
	}
	src = ticks
	src.Fields = append([]features.Field{{Name: "_offset", Kind: expr.Int}}, src.Fields...)
	if _, err := NewArchiver("", nil, src, Options{}); err == nil {
		t.Error("a field _offset was taken")
	}
}

// A record that can never be decoded moves the range on all the same.
func TestARangeOfRecordsThatAreNoEvents(t *testing.T) {
	w := newWorld(t)
	value := []byte(strings.Repeat("x", 10))
	if _, err := w.producer.Produce(t.Context(), ticks.Topic, []streams.Record{{Partition: 0, Value: value}, {Partition: 0, Value: nil}}); err != nil {
		t.Fatal(err)
	}
	stop := start(t, w.archiver(t, Options{Age: time.Millisecond}))
	await(t, "archived", func() bool { return w.archived(t, 0) == 2 })
	stop()
	if rows, err := readAll(t, w.root, ticks); len(rows) != 0 || err != nil {
		t.Errorf("%v, %v", rows, err)
	}
}

const writerEnd = 1500

// TestMain is the process that TestKilledWriters kills, if it is told so.
func TestMain(m *testing.M) {
	root := os.Getenv("LAKE_TEST_ROOT")
	if root == "" {
		os.Exit(m.Run())
	}
	if err := writeOn(root); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// writeOn writes the lake on from where it ends, and a line to standard output
// at each step.
func writeOn(root string) error {
	tab, err := newTable(everything)
	if err != nil {
		return err
	}
	for {
		next, err := Tail(root, "all", 0)
		if err != nil || next == writerEnd {
			return err
		}
		r := Range{0, next, min(writerEnd, next+1+rand.Int64N(40))}
		fmt.Println("step")
		tab.reset()
		for o := r.First; o < r.Next; o++ {
			ev := randomEvent(everything, 0, o)
			tab.append(&ev, 0, o)
		}
		temp, err := prepare(eventsOf(root, "all"), Header{Range: r, EventTime: "t"}, tab)
		if err != nil {
			return err
		}
		fmt.Println("step")
		if err := install(temp, filepath.Join(Folder(root, "all"), fileName(0, r.First))); err != nil {
			return err
		}
	}
}

func TestKilledWriters(t *testing.T) {
	root := t.TempDir()
	r := rand.New(rand.NewPCG(3, 9))
	writer := func(steps int) {
		t.Helper()
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "LAKE_TEST_ROOT="+root)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; n < steps && lines.Scan(); n++ {
		}
		toTheEnd := steps > 2*writerEnd
		if !toTheEnd {
			cmd.Process.Kill()
		}
		for lines.Scan() {
		}
		if err := cmd.Wait(); (err == nil) != toTheEnd {
			t.Fatalf("after %d steps: %v", steps, err)
		}
	}
	for range 15 {
		writer(1 + r.IntN(12))
		if _, err := readAll(t, root, everything); err != nil {
			t.Fatal(err)
		}
	}
	writer(3 * writerEnd)
	checkWhole(t, root, writerEnd)
}
