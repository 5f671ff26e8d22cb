package lake

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"strconv"

	"github.com/apache/arrow/go/v15/parquet"
	"github.com/apache/arrow/go/v15/parquet/file"
	"github.com/apache/arrow/go/v15/parquet/schema"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
)

// A Row is one event of the lake and where the log had it. Event.Values is valid
// until the next row; its texts may be kept.
type Row struct {
	Partition int
	Offset    int64
	Event     features.Event
}

// Events reads the events of a source by (partition, offset), as src declares
// them: a field that a file does not have is missing in its events. A type that
// has changed, a file that cannot be read, and ranges that do not join are
// errors, which end the sequence. Files that come while it runs are not read.
func Events(ctx context.Context, root string, src features.Source) iter.Seq2[Row, error] {
	return read(ctx, eventsOf(root, src.Name), src)
}

func read(ctx context.Context, at place, src features.Source) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		t, err := newTable(src)
		if err != nil {
			yield(Row{}, err)
			return
		}
		entries, err := list(at)
		if err != nil {
			yield(Row{}, err)
			return
		}
		var before Header
		for i, e := range entries {
			var previous *entry
			if i > 0 && entries[i-1].partition == e.partition {
				previous = &entries[i-1]
			}
			if err = joins(previous, before, e); err != nil {
				break
			}
			var goOn bool
			if before, goOn, err = readFile(ctx, e, src, t, yield); err != nil || !goOn {
				break
			}
		}
		if err != nil {
			yield(Row{}, err)
		}
	}
}

// joins refuses a file that does not begin where the one before it ends.
func joins(previous *entry, before Header, e entry) error {
	switch {
	case previous == nil && e.first != 0:
		return fmt.Errorf("lake: %s: the files before offset %d are not there", e.path, e.first)
	case previous != nil && e.first > before.Next:
		return fmt.Errorf("lake: offsets %d to %d are missing between %s and %s", before.Next, e.first-1, previous.path, e.path)
	case previous != nil && e.first < before.Next:
		return fmt.Errorf("lake: offsets %d to %d are in both %s and %s", e.first, before.Next-1, previous.path, e.path)
	}
	return nil
}

func readFile(ctx context.Context, e entry, src features.Source, t *table, yield func(Row, error) bool) (h Header, goOn bool, err error) {
	return readEnd(ctx, e, 0, src, t, yield)
}

// readEnd is readFile without so many rows at the front.
func readEnd(ctx context.Context, e entry, skip int64, src features.Source, t *table, yield func(Row, error) bool) (h Header, goOn bool, err error) {
	f, err := open(e)
	if err != nil {
		return h, false, err
	}
	defer f.Close()
	if f.header.EventTime != src.EventTime {
		return h, false, fmt.Errorf("lake: %s: its event_time is %q, that of source %q is %q", e.path, f.header.EventTime, src.Name, src.EventTime)
	}
	ev := features.Event{Values: make([]features.Value, len(t.fields))}
	texts := make([]string, len(t.fields))
	lastOffset := f.header.First - 1
	for err := range f.chunks(t, skip) {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return h, false, fmt.Errorf("lake: %s: %w", e.path, err)
		}
		for i, c := range t.values {
			texts[i] = string(c.text)
		}
		for row := range t.rows {
			r := t.row(row, &ev, texts)
			if r.Partition != e.partition || r.Offset <= lastOffset || r.Offset >= f.header.Next {
				return h, false, fmt.Errorf("lake: %s: a row of partition %d, offset %d does not belong there", e.path, r.Partition, r.Offset)
			}
			lastOffset = r.Offset
			if !yield(r, nil) {
				return h, false, nil
			}
		}
	}
	return f.header, true, nil
}

// row returns a row of t with the values in ev's array.
func (t *table) row(row int, ev *features.Event, texts []string) Row {
	for i := range t.fields {
		ev.Values[i] = t.value(i, row, texts[i])
	}
	ev.Time = t.time.int64s[row]
	ev.Arrival = t.arrival.int64s[row]
	r := Row{Partition: int(t.partition.int32s[row]), Offset: t.offset.int64s[row]}
	ev.Order = features.OrderOf(r.Partition, r.Offset)
	r.Event = *ev
	return r
}

// A reader is an open file of the lake.
type reader struct {
	f      *os.File
	pq     *file.Reader
	header Header
}

func (r *reader) Close() error { return r.f.Close() }

// open opens a file and checks that it is what its name says.
func open(e entry) (r *reader, err error) {
	f, err := os.Open(e.path)
	if err != nil {
		return nil, fmt.Errorf("lake: %w", err)
	}
	r = &reader{f: f}
	err = guard(func() error {
		if r.pq, err = file.NewParquetReader(f); err != nil {
			return err
		}
		r.header, err = parseHeader(r.pq)
		return err
	})
	if err == nil && (r.header.Partition != e.partition || r.header.First != e.first || r.header.Next < e.first) {
		err = fmt.Errorf("has offsets %d to %d of partition %d", r.header.First, r.header.Next-1, r.header.Partition)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lake: %s: not a file of the lake: %w", e.path, err)
	}
	return r, nil
}

func parseHeader(pq *file.Reader) (h Header, err error) {
	text := func(key string) (s string) {
		if v := pq.MetaData().KeyValueMetadata().FindValue(key); v != nil {
			return *v
		}
		err = errors.Join(err, fmt.Errorf("no %s in its metadata", key))
		return ""
	}
	number := func(key string) int64 {
		n, e := strconv.ParseInt(text(key), 10, 64)
		if e != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", key, e))
		}
		return n
	}
	h.Partition, h.First, h.Next = int(number(keyPartition)), number(keyFirst), number(keyNext)
	h.Cluster, h.Topic, h.EventTime = text(keyCluster), text(keyTopic), text(keyEventTime)
	h.LogStart, h.Undecodable = number(keyLogStart), number(keyUndecodable)
	if pq.MetaData().KeyValueMetadata().FindValue(keySeq) != nil {
		h.Seq = number(keySeq)
	}
	return h, err
}

// guard turns a panic into an error: arrow panics on bytes that are not Parquet.
func guard(do func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("arrow: %v", p)
		}
	}()
	return do()
}

// chunkRows bounds what of a file is decoded at a time.
const chunkRows = 4096

// chunks fills t with the file's rows, a chunk at a time, without so many at the
// front.
func (r *reader) chunks(t *table, skip int64) iter.Seq[error] {
	return func(yield func(error) bool) {
		places, err := r.places(t)
		if err != nil {
			yield(err)
			return
		}
		for g := range r.pq.NumRowGroups() {
			var readers []file.ColumnChunkReader
			var left int64
			err := guard(func() (err error) {
				if readers, left, err = r.group(g, places); err != nil || skip == 0 {
					return err
				}
				out := min(skip, left)
				skip, left = skip-out, left-out
				if left == 0 {
					return nil
				}
				return pass(readers, out)
			})
			for err == nil && left > 0 {
				t.reset()
				t.rows = int(min(left, chunkRows))
				err = guard(func() error { return fill(t, readers) })
				left -= int64(t.rows)
				if err == nil && !yield(nil) {
					return
				}
			}
			if err != nil {
				yield(err)
				return
			}
		}
	}
}

// places finds t's columns in the file and checks their types; -1: absent.
func (r *reader) places(t *table) ([]int, error) {
	s := r.pq.MetaData().Schema
	places := make([]int, len(t.columns))
	for i, c := range t.columns {
		places[i] = s.ColumnIndexByName(c.name)
		c.absent = places[i] < 0
		if c.absent {
			continue
		}
		d := s.Column(places[i])
		if d.PhysicalType() != c.typ || !d.LogicalType().Equals(c.logical) {
			return nil, fmt.Errorf("column %q is %s, the source wants %s", c.name, typeName(d.PhysicalType(), d.LogicalType()), typeName(c.typ, c.logical))
		}
		if d.MaxDefinitionLevel() > 0 || d.MaxRepetitionLevel() > 0 {
			return nil, fmt.Errorf("column %q is nullable or repeated", c.name)
		}
	}
	for _, c := range []*column{t.values[t.eventTime], t.partition, t.offset, t.time, t.arrival} {
		if c.absent {
			return nil, fmt.Errorf("has no column %q", c.name)
		}
	}
	for i, c := range t.valid {
		if c != nil && c.absent && !t.values[i].absent && t.fields[i].Kind != expr.Float {
			return nil, fmt.Errorf("has no column %q", c.name)
		}
	}
	return places, nil
}

func typeName(t parquet.Type, l schema.LogicalType) string {
	if l.IsNone() {
		return t.String()
	}
	return t.String() + " " + l.String()
}

func (r *reader) group(g int, places []int) (readers []file.ColumnChunkReader, rows int64, err error) {
	group := r.pq.RowGroup(g)
	for _, place := range places {
		if place < 0 {
			readers = append(readers, nil)
			continue
		}
		c, err := group.Column(place)
		if err != nil {
			return nil, 0, err
		}
		readers = append(readers, c)
	}
	return readers, group.NumRows(), nil
}

// fill reads t.rows values of each column.
func fill(t *table, readers []file.ColumnChunkReader) error {
	for i, c := range t.columns {
		if c.absent {
			continue
		}
		n, err := decodeColumn(c, readers[i], t.rows)
		if err == nil && n != t.rows {
			err = fmt.Errorf("%d values of %d", n, t.rows)
		}
		if err != nil {
			return fmt.Errorf("column %q: %w", c.name, err)
		}
	}
	return nil
}

func decodeColumn(c *column, r file.ColumnChunkReader, rows int) (n int, err error) {
	switch r := r.(type) {
	case *file.BooleanColumnChunkReader:
		c.flags = sized(c.flags, rows)
		_, n, err = r.ReadBatch(int64(rows), c.flags, nil, nil)
	case *file.Int32ColumnChunkReader:
		c.int32s = sized(c.int32s, rows)
		_, n, err = r.ReadBatch(int64(rows), c.int32s, nil, nil)
	case *file.Int64ColumnChunkReader:
		c.int64s = sized(c.int64s, rows)
		_, n, err = r.ReadBatch(int64(rows), c.int64s, nil, nil)
	case *file.Float64ColumnChunkReader:
		c.floats = sized(c.floats, rows)
		_, n, err = r.ReadBatch(int64(rows), c.floats, nil, nil)
	case *file.ByteArrayColumnChunkReader:
		texts := make([]parquet.ByteArray, rows)
		_, n, err = r.ReadBatch(int64(rows), texts, nil, nil)
		for _, b := range texts[:n] {
			c.text = append(c.text, b...)
			c.ends = append(c.ends, len(c.text))
		}
	}
	if err == nil {
		err = r.Err()
	}
	return n, err
}

func sized[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}
