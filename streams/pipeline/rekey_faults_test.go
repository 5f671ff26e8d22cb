package pipeline_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/featurestest"
	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/codec"
)

// rekeyed is a plan over a topic that is keyed by another field, and records.
func rekeyed(t *testing.T, seed uint64, events, partitions int) (*features.Plan, []streams.Record) {
	t.Helper()
	w := featurestest.Large(seed, events, 12)
	w.Source.KeyedBy = []string{"id"}
	p, records := compile(t, w, partitions)
	for i := range records {
		records[i].Key = fmt.Append(nil, "id", i)
	}
	return p, records
}

// readAll returns what a partition holds.
func (r *rig) readAll(topic string, partition int) (all []streams.Record) {
	r.t.Helper()
	first, next, err := r.cluster.Bounds(r.t.Context(), topic, partition)
	if err != nil {
		r.t.Fatal(err)
	}
	reader := r.cluster.Reader(topic, partition, first)
	defer reader.Close()
	for first < next {
		batch, err := reader.Fetch(r.t.Context())
		if err != nil {
			r.t.Fatal(err)
		}
		for _, rec := range batch.Records {
			rec.Key, rec.Value = slices.Clone(rec.Key), slices.Clone(rec.Value)
			rec.Headers = slices.Clone(rec.Headers)
			for i := range rec.Headers {
				rec.Headers[i].Value = slices.Clone(rec.Headers[i].Value)
			}
			all = append(all, rec)
		}
		first = batch.Next
	}
	return all
}

// An origin is where a re-keyed record was first written.
type origin struct {
	partition int
	offset    int64
}

func originOf(t *testing.T, rec streams.Record) origin {
	t.Helper()
	for _, h := range rec.Headers {
		if h.Key == "millrace-origin" && len(h.Value) == 20 {
			return origin{int(binary.BigEndian.Uint32(h.Value[8:])), int64(binary.BigEndian.Uint64(h.Value[12:]))}
		}
	}
	t.Fatalf("a record without an origin: %v", rec.Headers)
	return origin{}
}

// checkRekeyed compares the rows with a fold of the first of each origin in the
// re-keyed topic, where each source record must be. It returns how many records
// of that topic are copies.
func (r *rig) checkRekeyed(p *features.Plan, records int) (copies int) {
	r.t.Helper()
	decoder, err := codec.New(p.Source)
	if err != nil {
		r.t.Fatal(err)
	}
	want, counts, seen := map[string]online.Row{}, features.Counts{}, map[origin]bool{}
	for partition := range p.Source.Partitions {
		shard, rows := p.NewShard(features.NoTime, features.Counts{}), map[string]*features.Row{}
		for _, rec := range r.readAll(p.Topic(project), partition) {
			at := originOf(r.t, rec)
			if seen[at] {
				copies++
				continue
			}
			seen[at] = true
			e := features.Event{Arrival: rec.Time, Order: features.OrderOf(at.partition, at.offset)}
			if err := decoder.Decode(rec.Value, &e); err != nil {
				r.t.Fatal(err)
			}
			ok, refused := shard.Admit(&e)
			if refused != nil {
				shard.Counts.Dead++
			}
			if !ok {
				continue
			}
			if rows[string(rec.Key)] == nil {
				rows[string(rec.Key)] = p.NewRow()
			}
			shard.Fold(rows[string(rec.Key)], &e)
		}
		for key, row := range rows {
			if !row.Empty() {
				want[key] = online.Row{Head: p.AppendHead(nil, row), Base: p.AppendBase(nil, row)}
			}
		}
		counts.Applied += shard.Counts.Applied
		counts.Dropped += shard.Counts.Dropped
		counts.Duplicates += shard.Counts.Duplicates
		counts.Dead += shard.Counts.Dead
	}
	if len(seen) != records {
		r.t.Errorf("%d records of the source were re-keyed, want %d", len(seen), records)
	}
	sameRows(r.t, r.rows(p), want)
	if got := r.counts(p); got != counts {
		r.t.Errorf("counts %+v, want %+v", got, counts)
	}
	return copies
}

// allRekeyed waits until so many records of the source have been judged, and
// then until the re-keyed topic has been applied.
func (r *rig) allRekeyed(p *features.Plan, records int) {
	r.t.Helper()
	r.eventually("all records", func() bool {
		c := r.counts(p)
		return c.Applied+c.Dropped+c.Dead+c.Duplicates >= int64(records)
	})
	r.applied(p, p.Topic(project))
}

// TestRekeyedCopies writes parts of a re-keyed topic again, as a re-keyer does
// that dies before it commits: from anywhere up to the end, in order. Each copy
// is skipped.
func TestRekeyedCopies(t *testing.T) {
	r := newRig(t)
	p, records := rekeyed(t, 1, 400, 2)
	r.ensure(p)
	r.produce(p.Source.Topic, records[:200]...)
	stop := r.run(r.host(p))
	r.allRekeyed(p, 200)
	random, copies := rand.New(rand.NewPCG(1, 2)), 0
	for range 5 {
		for partition := range p.Source.Partitions {
			all := r.readAll(p.Topic(project), partition)
			again := all[random.IntN(len(all)):]
			copies += len(again)
			r.produce(p.Topic(project), again...)
		}
	}
	stop()
	stop = r.run(r.host(p))
	defer stop()
	r.produce(p.Source.Topic, records[200:]...)
	r.allRekeyed(p, 400)
	if n := r.checkRekeyed(p, 400); n != copies || n == 0 {
		t.Errorf("%d copies, want %d", n, copies)
	}
}

// TestTwoRekeyers runs two re-keyers of the same topic at once: one writes
// copies of what the other wrote until the store refuses it.
func TestTwoRekeyers(t *testing.T) {
	r := newRig(t)
	p, records := rekeyed(t, 2, 600, 3)
	r.ensure(p)
	stop1, stop2 := r.run(r.host(p)), r.run(r.host(p))
	for chunk := range slices.Chunk(records, 20) {
		r.produce(p.Source.Topic, chunk...)
	}
	r.allRekeyed(p, len(records))
	stop1()
	stop2()
	t.Logf("%d copies", r.checkRekeyed(p, len(records)))
}

// A dyingStore ends the process, so to speak, at the n-th commit of a re-keyer:
// what it wrote stays, the commit does not happen.
type dyingStore struct {
	online.Store
	left *atomic.Int64
	die  context.CancelFunc
}

func (s dyingStore) Commit(ctx context.Context, c *online.Commit) error {
	if strings.Contains(c.Shard.Space, ".rekey") && s.left.Add(-1) < 0 {
		s.die()
		return errors.New("the process has ended")
	}
	return s.Store.Commit(ctx, c)
}

// TestRekeyerDies ends the process again and again between the records of a
// re-keyer and its commit: each record is applied once.
func TestRekeyerDies(t *testing.T) {
	r := newRig(t)
	p, records := rekeyed(t, 3, 500, 3)
	r.ensure(p)
	whole := r.store
	random := rand.New(rand.NewPCG(3, 3))
	for chunk := range slices.Chunk(records, 50) {
		ctx, cancel := context.WithCancel(t.Context())
		left := &atomic.Int64{}
		left.Store(random.Int64N(3)) // of the commits of three lanes, at least
		r.store = dyingStore{whole, left, cancel}
		done := make(chan error, 1)
		host := r.host(p)
		go func() { done <- host.Run(ctx) }()
		r.produce(p.Source.Topic, chunk...)
		r.eventually("the end of the process", func() bool { return ctx.Err() != nil })
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		r.store = whole
	}
	stop := r.run(r.host(p))
	defer stop()
	r.allRekeyed(p, len(records))
	if n := r.checkRekeyed(p, len(records)); n == 0 {
		t.Error("no record was written twice")
	}
}

// TestLargestRecordIsRekeyed has a record that fills its topic's limit, and is
// larger once it carries its origin.
func TestLargestRecordIsRekeyed(t *testing.T) {
	r := newRig(t)
	p, _ := rekeyed(t, 4, 1, 1)
	r.ensure(p)
	head := `{"key":"k","at":"2026-03-02T09:30:00Z","id":"1","x":1,"n":5,"s":"`
	at := time.Date(2026, 3, 2, 9, 30, 0, 0, time.UTC).UnixMicro()
	record := func(size int) streams.Record {
		return streams.Record{Key: []byte("1"), Time: at, Partition: -1, Value: []byte(head + strings.Repeat("x", size-len(head)-2) + `"}`)}
	}
	size := codec.MaxValue // the largest that the source's topic takes
	for ; ; size-- {
		if _, err := r.producer.Produce(t.Context(), p.Source.Topic, []streams.Record{record(size)}); err == nil {
			break
		} else if codec.MaxValue-size > 200 {
			t.Fatal(err)
		}
	}
	h := r.host(p)
	stop := r.run(h)
	defer stop()
	r.allRekeyed(p, 1)
	if c := r.counts(p); c != (features.Counts{Applied: 1}) {
		t.Errorf("%+v for a record of %d bytes", c, size)
	}
}
