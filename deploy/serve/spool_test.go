package serve

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/millrace/millrace/streams"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func openSpool(t testing.TB, dir string, most int64) *Spool {
	t.Helper()
	s, err := OpenSpool(dir, most, quiet)
	must(t, err)
	return s
}

// drained returns the values that Drain brings, until nothing waits.
func drained(t *testing.T, s *Spool) (values []string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n, _, _ := s.Waiting()
	if n == 0 {
		cancel()
	}
	s.Drain(ctx, func(_ context.Context, records []streams.Record) error {
		for _, r := range records {
			if want := "k" + string(r.Value[:min(len(r.Value), 3)]); string(r.Key) != want || r.Partition != -1 {
				t.Errorf("key %q of value %.20q, partition %d", r.Key, r.Value, r.Partition)
			}
			values = append(values, string(r.Value))
		}
		if len(values) >= n {
			cancel()
		}
		return nil
	})
	return values
}

func spoolRecord(value string) *streams.Record {
	return &streams.Record{Key: []byte("k" + value[:min(len(value), 3)]), Value: []byte(value)}
}

// copySpool copies the only directory of a spool, as a machine that dies leaves
// it, into one of its own.
func copySpool(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	must(t, os.CopyFS(filepath.Join(to, "0"), os.DirFS(filepath.Join(dir, "0"))))
	return to
}

// TestSpoolOrder adds records, some larger than a segment, and wants them back
// in order, after the spool is opened again as well.
func TestSpoolOrder(t *testing.T) {
	dir := t.TempDir()
	s := openSpool(t, dir, 0)
	r := rand.New(rand.NewPCG(1, 1))
	var want []string
	for i := range 200 {
		v := fmt.Sprintf("%03d", i) + string(bytes.Repeat([]byte{byte(i)}, r.IntN(100_000)))
		must(t, s.Add(spoolRecord(v)))
		want = append(want, v)
	}
	if numbers, err := listSegments(s.dir); err != nil || len(numbers) < 2 {
		t.Errorf("segments %v, %v: want several", numbers, err)
	}
	must(t, s.Close())
	s = openSpool(t, dir, 0)
	must(t, s.Add(spoolRecord("new")))
	want = append(want, "new")
	if got := drained(t, s); !slices.Equal(got, want) {
		t.Errorf("%d values are not the %d that were added, in their order", len(got), len(want))
	}
	must(t, s.Close())
	s = openSpool(t, dir, 0)
	defer s.Close()
	if n, size, why := s.Waiting(); n != 0 || size != 0 || why != nil {
		t.Errorf("%d records, %d bytes, %v after all is drained", n, size, why)
	}
}

// TestSpoolCrash cuts the file of a spool at each byte, as a process leaves it
// that dies while it writes, and damages each byte of it in turn: what is whole
// up to there comes back, and what is added then comes after it.
func TestSpoolCrash(t *testing.T) {
	dir := t.TempDir()
	s := openSpool(t, dir, 0)
	var ends []int
	var want []string
	for i := range 4 {
		v := fmt.Sprintf("%03d%s", i, bytes.Repeat([]byte{'x'}, 3*i))
		must(t, s.Add(spoolRecord(v)))
		_, size, _ := s.Waiting()
		ends, want = append(ends, int(size)), append(want, v)
	}
	defer s.Close()
	name := filepath.Base(segmentPath(dir, 1))
	whole, err := os.ReadFile(filepath.Join(dir, "0", name))
	must(t, err)
	check := func(what string, data []byte, first int) {
		to := copySpool(t, dir)
		must(t, os.WriteFile(filepath.Join(to, "0", name), data, 0o600))
		s := openSpool(t, to, 0)
		must(t, s.Add(spoolRecord("new")))
		if got, want := drained(t, s), append(want[:first:first], "new"); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
		must(t, s.Close())
	}
	for cut := range len(whole) + 1 {
		n := 0
		for n < len(ends) && ends[n] <= cut {
			n++
		}
		check(fmt.Sprintf("cut at %d", cut), whole[:cut], n)
		check(fmt.Sprintf("zeros from %d", cut), append(whole[:cut:cut], make([]byte, 40)...), n)
	}
	for i := range whole {
		n := 0
		for n < len(ends) && ends[n] <= i {
			n++
		}
		damaged := slices.Clone(whole)
		damaged[i] ^= 0x40
		check(fmt.Sprintf("byte %d damaged", i), damaged, n)
	}
}

// TestSpoolKilled copies a spool at moments while it is filled and drained, as
// kill -9 leaves it: each record that was added and not drained comes back.
func TestSpoolKilled(t *testing.T) {
	const records = 60
	dir := t.TempDir()
	s := openSpool(t, dir, 0)
	defer s.Close()
	var added atomic.Int64
	var adder sync.WaitGroup
	adder.Go(func() {
		for i := range records {
			if err := s.Add(spoolRecord(fmt.Sprintf("%03d", i))); err != nil {
				t.Error(err)
			}
			added.Add(1)
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var got []string
	s.Drain(ctx, func(_ context.Context, batch []streams.Record) error {
		n := int(added.Load())
		to := copySpool(t, dir) // no file goes away meanwhile, and records are added
		after := openSpool(t, to, 0)
		had := append(slices.Clone(got), drained(t, after)...)
		must(t, after.Close())
		for k := range n {
			if !slices.Contains(had, fmt.Sprintf("%03d", k)) {
				t.Errorf("killed when %d were added: %03d is lost", n, k)
			}
		}
		for _, r := range batch {
			got = append(got, string(r.Value))
		}
		if slices.Contains(got, fmt.Sprintf("%03d", records-1)) {
			cancel()
		}
		return nil
	})
	adder.Wait()
}

// TestSpoolConcurrent has many callers add while the log fails now and then,
// and wants all records of each caller, first seen in its order.
func TestSpoolConcurrent(t *testing.T) {
	const callers, each = 16, 50
	s := openSpool(t, t.TempDir(), 0)
	defer s.Close()
	var adders sync.WaitGroup
	for c := range callers {
		adders.Go(func() {
			for i := range each {
				if err := s.Add(spoolRecord(fmt.Sprintf("%03d %03d", c, i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	seen := map[string]bool{}
	next := make([]int, callers)
	calls := 0
	s.Drain(ctx, func(_ context.Context, records []streams.Record) error {
		if calls++; calls == 2 {
			return errFlaw
		}
		for _, r := range records {
			if seen[string(r.Value)] {
				continue
			}
			seen[string(r.Value)] = true
			var c, i int
			if _, err := fmt.Sscanf(string(r.Value), "%d %d", &c, &i); err != nil || i != next[c] {
				t.Errorf("%s comes where %d of %d is due: %v", r.Value, next[c], c, err)
			}
			next[c]++
		}
		if len(seen) == callers*each {
			cancel()
		}
		return nil
	})
	adders.Wait()
}

func TestSpoolFull(t *testing.T) {
	s := openSpool(t, t.TempDir(), 1000)
	defer s.Close()
	n := 0
	var err error
	for err == nil {
		if err = s.Add(spoolRecord(fmt.Sprintf("%03d%s", n, make([]byte, 100)))); err == nil {
			n++
		}
	}
	_, size, _ := s.Waiting()
	if !errors.Is(err, ErrSpoolFull) || size > 1000 || n < 5 {
		t.Errorf("after %d records of %d bytes: %v", n, size, err)
	}
	if got := drained(t, s); len(got) != n {
		t.Errorf("%d of %d records came back", len(got), n)
	}
	must(t, s.Add(spoolRecord("again")))
}

// TestSpoolSaysWhyItWaits wants the log's reason while it refuses, and none
// once it does not.
func TestSpoolSaysWhyItWaits(t *testing.T) {
	s := openSpool(t, t.TempDir(), 0)
	defer s.Close()
	must(t, s.Add(spoolRecord("000")))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	calls := 0
	s.Drain(ctx, func(context.Context, []streams.Record) error {
		if calls++; calls == 1 {
			return errFlaw
		}
		if n, _, why := s.Waiting(); n != 1 || !errors.Is(why, errFlaw) {
			t.Errorf("%d wait because of %v", n, why)
		}
		cancel()
		return nil
	})
	if n, _, why := s.Waiting(); n != 0 || why != nil {
		t.Errorf("%d wait because of %v", n, why)
	}
}

// TestSpoolKeepsApart has a log that refuses two records, and once is away just
// after that: the others come to it in order, and the two are tried again by the
// spool that is opened next, here or by another process.
func TestSpoolKeepsApart(t *testing.T) {
	for _, adopted := range []bool{false, true} {
		dir := t.TempDir()
		before := openSpool(t, dir, 0)
		s := before
		if adopted {
			s = openSpool(t, dir, 0)
		}
		for i := range 6 {
			must(t, s.Add(spoolRecord(fmt.Sprintf("%03d", i))))
		}
		ctx, cancel := context.WithCancel(t.Context())
		var got []string
		away := true
		s.Drain(ctx, func(_ context.Context, records []streams.Record) error {
			for _, r := range records {
				if v := string(r.Value); v == "001" || v == "004" {
					return fmt.Errorf("produce: %w", &streams.Refusal{Problem: v + " is too large"})
				}
			}
			for _, r := range records {
				if string(r.Value) == "003" && away {
					away = false
					return errFlaw
				}
				got = append(got, string(r.Value))
				if string(r.Value) == "005" {
					cancel()
				}
			}
			return nil
		})
		if want := []string{"000", "002", "000", "002", "003", "005"}; !slices.Equal(got, want) {
			t.Errorf("the log has %q, want %q", got, want)
		}
		_, size, stuck := s.Waiting()
		if n, why := s.Apart(); n != 2 || size == 0 || stuck != nil || why == nil || why.Error() != "produce: 004 is too large" {
			t.Errorf("%d are kept apart in %d bytes: %v, %v", n, size, why, stuck)
		}
		must(t, s.Close())
		if adopted {
			must(t, before.Close())
		}
		s = openSpool(t, dir, 0)
		must(t, s.Add(spoolRecord("new")))
		if got := drained(t, s); !slices.Equal(got, []string{"001", "004", "new"}) {
			t.Errorf("%q are tried again", got)
		}
		if n, why := s.Apart(); n != 0 || why != nil {
			t.Errorf("%d are kept apart: %v", n, why)
		}
		must(t, s.Close())
	}
}

// TestServerSaysWhatIsKeptApart has one record in the spool that is larger than
// the topic takes: those behind it come to the log.
func TestServerSaysWhatIsKeptApart(t *testing.T) {
	m := newModelWorld(t, nil)
	m.seed()
	m.champion("rises")
	must(t, m.cfg.Spool.Add(&streams.Record{Key: []byte("k"), Value: make([]byte, 2<<20)}))
	m.predict("rises", askA) // goes behind it
	ctx, cancel := context.WithCancel(t.Context())
	var drainer sync.WaitGroup
	drainer.Go(func() { m.drain(ctx) })
	until(t, "the spool is empty", func() bool { waiting, _, _ := m.cfg.Spool.Waiting(); return waiting == 0 })
	cancel()
	drainer.Wait()
	if got := m.written(); len(got) != 1 {
		t.Errorf("the topic has %d predictions, want 1", len(got))
	}
	if r := m.get("/readyz"); r.Code != 503 || !strings.Contains(r.Body.String(), "1 predictions of the spool are kept apart") || !strings.Contains(r.Body.String(), "max.message.bytes") {
		t.Errorf("%d %s", r.Code, r.Body)
	}
}

// TestSpoolDirectories opens a directory several times: each has its own, and
// what those leave that are closed goes to the next one that is opened.
func TestSpoolDirectories(t *testing.T) {
	dir := t.TempDir()
	all := []*Spool{openSpool(t, dir, 0), openSpool(t, dir, 0), openSpool(t, dir, 0)}
	for i, s := range all {
		must(t, s.Add(spoolRecord(fmt.Sprintf("%03d", i))))
	}
	must(t, all[1].Close())
	must(t, all[2].Close())
	s := openSpool(t, dir, 0)
	defer s.Close()
	if got := drained(t, s); !slices.Equal(got, []string{"001", "002"}) {
		t.Errorf("the closed ones left %q", got)
	}
	if got := drained(t, all[0]); !slices.Equal(got, []string{"000"}) {
		t.Errorf("the open one has %q", got)
	}
	must(t, all[0].Close())
}

// TestSpoolCannotBeRead opens a directory of which a file cannot be read: what
// closed ones left stays where it is, and does not take that file's name.
func TestSpoolCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	all := []*Spool{openSpool(t, dir, 0), openSpool(t, dir, 0), openSpool(t, dir, 0)}
	for i, s := range all[1:] {
		must(t, s.Add(spoolRecord(fmt.Sprintf("%03d", i))))
	}
	for _, s := range all {
		must(t, s.Close())
	}
	file := segmentPath(all[0].dir, 1)
	must(t, os.Symlink(file, file)) // whoever reads it, root too, fails
	if s, err := OpenSpool(dir, 0, quiet); err == nil {
		t.Fatalf("%s was opened", s.dir)
	}
	if _, err := os.Readlink(file); err != nil {
		t.Errorf("another file has its name: %v", err)
	}
	must(t, os.Remove(file))
	s := openSpool(t, dir, 0)
	defer s.Close()
	if got := drained(t, s); !slices.Equal(got, []string{"000", "001"}) {
		t.Errorf("%q came back", got)
	}
}

func FuzzParseSegment(f *testing.F) {
	f.Add([]byte{}, []byte("k"), []byte("v"))
	f.Add(appendFrame(nil, &streams.Record{Key: []byte("k"), Value: []byte("v")}), []byte(nil), []byte("v"))
	f.Add(make([]byte, 9), []byte("k"), []byte(nil))
	f.Fuzz(func(t *testing.T, data, key, value []byte) {
		records, good := parseSegment(data)
		var again []byte
		for i := range records {
			again = appendFrame(again, &records[i])
		}
		if twice, n := parseSegment(again); len(twice) != len(records) || n != len(again) || good > len(data) {
			t.Fatalf("%d records in %d of %d bytes, %d once they are written again", len(records), good, len(data), len(twice))
		}
		more := appendFrame(data[:good:good], &streams.Record{Key: key, Value: value})
		got, n := parseSegment(more)
		if n != len(more) || len(got) != len(records)+1 || !bytes.Equal(got[len(got)-1].Key, key) || !bytes.Equal(got[len(got)-1].Value, value) {
			t.Fatalf("the record added after %d bytes is not read", good)
		}
	})
}
