package lake

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow/go/v15/parquet"
	"github.com/apache/arrow/go/v15/parquet/compress"
	"github.com/apache/arrow/go/v15/parquet/file"
	"github.com/apache/arrow/go/v15/parquet/metadata"
	"github.com/apache/arrow/go/v15/parquet/schema"
)

const tempPrefix = ".writing-"

// ErrTaken says that another writer has written the file first.
var ErrTaken = errors.New("another writer was first")

// publish makes a file of t's rows, and with it h.Range a part of the lake. It
// returns an error that wraps ErrTaken if the name is taken; after any error
// the lake is as it was.
func publish(at place, h Header, t *table) error {
	temp, err := prepare(at, h, t)
	if err == nil {
		err = install(temp, filepath.Join(at.folder, fileName(h.Partition, h.First)))
	}
	if err != nil {
		return fmt.Errorf("lake: %s: writing offsets %d to %d of partition %d: %w", at.name, h.First, h.Next-1, h.Partition, err)
	}
	return nil
}

// prepare writes a whole file, synced, under a name that is not the lake's.
func prepare(at place, h Header, t *table) (temp string, err error) {
	if err := os.MkdirAll(at.folder, 0o755); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(at.folder, tempPrefix)
	if err != nil {
		return "", err
	}
	err = encode(f, h, t)
	if err == nil {
		err = f.Chmod(0o644) // not CreateTemp's: a lake is there to be read
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		os.Remove(f.Name())
		return "", err
	}
	return f.Name(), nil
}

// install gives a prepared file its name. Link, unlike rename, refuses a name
// that is taken.
func install(temp, name string) error {
	err := os.Link(temp, name)
	os.Remove(temp) // if this fails it is swept later
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s: %w", name, ErrTaken)
	}
	if err != nil {
		return err
	}
	return syncFolder(filepath.Dir(name))
}

func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// sweep removes what writers that died have left: nobody writes a file for an hour.
func sweep(at place) error {
	names, err := os.ReadDir(at.folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("lake: %w", err)
	}
	for _, n := range names {
		info, err := n.Info()
		if err == nil && strings.HasPrefix(n.Name(), tempPrefix) && time.Since(info.ModTime()) > time.Hour {
			os.Remove(filepath.Join(at.folder, n.Name()))
		}
	}
	return nil
}

// The keys of a file's metadata.
const (
	keyPartition   = "millrace.partition"
	keyFirst       = "millrace.first"
	keyNext        = "millrace.next"
	keyCluster     = "millrace.cluster"
	keyTopic       = "millrace.topic"
	keyEventTime   = "millrace.event_time"
	keyLogStart    = "millrace.log_start"
	keyUndecodable = "millrace.undecodable"
	keySeq         = "millrace.seq" // only where the topic's records are numbered
)

func (h Header) metadata() metadata.KeyValueMetadata {
	m := metadata.NewKeyValueMetadata()
	for _, kv := range [][2]string{
		{keyPartition, strconv.Itoa(h.Partition)},
		{keyFirst, strconv.FormatInt(h.First, 10)},
		{keyNext, strconv.FormatInt(h.Next, 10)},
		{keyCluster, h.Cluster},
		{keyTopic, h.Topic},
		{keyEventTime, h.EventTime},
		{keyLogStart, strconv.FormatInt(h.LogStart, 10)},
		{keyUndecodable, strconv.FormatInt(h.Undecodable, 10)},
	} {
		_ = m.Append(kv[0], kv[1]) // appending to a slice cannot fail
	}
	if h.Seq > 0 {
		_ = m.Append(keySeq, strconv.FormatInt(h.Seq, 10))
	}
	return m
}

// zstdLevel is the least. Arrow makes new encoders for each page, one for each
// processor, which at the usual level cost 5 MiB each: more than the
// compression itself, and without end on a large machine.
const zstdLevel = 1

// encode writes t as one Parquet file with one row group. Values are plain,
// texts by dictionary while that stays small, all compressed by zstd.
func encode(w io.Writer, h Header, t *table) error {
	root, err := t.schema()
	if err != nil {
		return err
	}
	properties := file.WithWriterProps(propertiesOf(root))
	return writing(w, root, func(pw *file.Writer) error {
		if t.rows == 0 {
			return nil
		}
		return encodeRows(pw.AppendRowGroup(), t)
	}, properties, file.WithWriteMetadata(h.metadata()))
}

// writing writes a Parquet file whose row groups fill appends.
func writing(w io.Writer, root *schema.GroupNode, fill func(*file.Writer) error, options ...file.WriteOption) (err error) {
	sink := &sticky{w: w}
	defer func() {
		if p := recover(); p != nil { // arrow's way to say that some writes failed
			err = fmt.Errorf("arrow: %v", p)
		}
		if sink.err != nil { // the cause, which arrow hides, wraps or drops
			err = sink.err
		}
	}()
	pw := file.NewParquetWriter(sink, root, options...)
	if err := fill(pw); err != nil {
		return err
	}
	return pw.Close()
}

func propertiesOf(root *schema.GroupNode, more ...parquet.WriterProperty) *parquet.WriterProperties {
	properties := []parquet.WriterProperty{
		parquet.WithVersion(parquet.V2_6),
		parquet.WithCompression(compress.Codecs.Zstd),
		parquet.WithCompressionLevel(zstdLevel),
		parquet.WithDictionaryDefault(false),
		parquet.WithCreatedBy("millrace"),
	}
	for i := range root.NumFields() {
		if c, ok := root.Field(i).(*schema.PrimitiveNode); ok && c.PhysicalType() == parquet.Types.ByteArray {
			properties = append(properties, parquet.WithDictionaryFor(c.Name(), true))
		}
	}
	return parquet.NewWriterProperties(append(properties, more...)...)
}

func encodeRows(group file.SerialRowGroupWriter, t *table) error {
	for _, c := range t.columns {
		cw, err := group.NextColumn()
		if err != nil {
			return err
		}
		if err := encodeColumn(cw, c); err != nil {
			return fmt.Errorf("column %q: %w", c.name, err)
		}
		if err := cw.Close(); err != nil {
			return fmt.Errorf("column %q: %w", c.name, err)
		}
	}
	return group.Close()
}

func encodeColumn(cw file.ColumnChunkWriter, c *column) (err error) {
	switch cw := cw.(type) {
	case *file.BooleanColumnChunkWriter:
		_, err = cw.WriteBatch(c.flags, nil, nil)
	case *file.Int32ColumnChunkWriter:
		_, err = cw.WriteBatch(c.int32s, nil, nil)
	case *file.Int64ColumnChunkWriter:
		_, err = cw.WriteBatch(c.int64s, nil, nil)
	case *file.Float64ColumnChunkWriter:
		_, err = cw.WriteBatch(c.floats, nil, nil)
	case *file.ByteArrayColumnChunkWriter:
		err = encodeTexts(cw, c)
	}
	return err
}

func encodeTexts(cw *file.ByteArrayColumnChunkWriter, c *column) error {
	var chunk [1024]parquet.ByteArray
	start := 0
	for i := 0; i < len(c.ends); {
		n := min(len(chunk), len(c.ends)-i)
		for k := range n {
			chunk[k] = c.text[start:c.ends[i+k]]
			start = c.ends[i+k]
		}
		if _, err := cw.WriteBatch(chunk[:n], nil, nil); err != nil {
			return err
		}
		i += n
	}
	return nil
}

// sticky keeps the first error of w: arrow drops those of some writes.
type sticky struct {
	w   io.Writer
	err error
}

func (s *sticky) Write(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.w.Write(p)
	s.err = err
	return n, err
}
