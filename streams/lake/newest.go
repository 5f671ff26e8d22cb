package lake

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/apache/arrow/go/v15/parquet/file"

	"github.com/millrace/millrace/features"
)

// Newest is the end of a source's events in the lake, for what has to be quick
// however long the lake is.
type Newest struct {
	Rows int64 // that Events has
	Cut  bool  // there are events before them

	src   features.Source
	parts []tail
}

// A tail is the end of a file.
type tail struct {
	file entry
	skip int64 // rows
}

// maxNewestFiles bounds the files of a Newest, of all partitions together: each
// is opened, which takes a quarter of a millisecond.
const maxNewestFiles = 200

// OpenNewest finds the last rows of a source's events: of all partitions together at
// most so many, and of each that has more an equal part. There are fewer where
// they lie in many files.
func OpenNewest(root string, src features.Source, rows int64) (*Newest, error) {
	return openNewest(root, src, rows, maxNewestFiles)
}

func openNewest(root string, src features.Source, rows, files int64) (*Newest, error) {
	entries, err := list(eventsOf(root, src.Name))
	if err != nil {
		return nil, err
	}
	n := &Newest{src: src}
	partitions := int64(0)
	for i := range entries {
		if i == 0 || entries[i].partition != entries[i-1].partition {
			partitions++
		}
	}
	for len(entries) > 0 {
		end := len(entries)
		for end > 0 && entries[end-1].partition == entries[len(entries)-1].partition {
			end--
		}
		if err := n.take(entries[end:], max(1, rows/partitions), max(1, files/partitions)); err != nil {
			return nil, err
		}
		entries = entries[:end]
	}
	return n, nil
}

// take adds the end of one partition, whose files these are.
func (n *Newest) take(entries []entry, rows, files int64) error {
	var parts []tail
	i := len(entries) - 1
	for ; i >= 0 && rows > 0 && files > 0; i-- {
		has, err := rowsOf(entries[i])
		if err != nil {
			return err
		}
		skip := max(0, has-rows)
		parts = append(parts, tail{entries[i], skip})
		n.Rows += has - skip
		n.Cut = n.Cut || skip > 0
		rows -= has - skip
		files--
	}
	n.Cut = n.Cut || i >= 0
	for len(parts) > 0 {
		n.parts = append(n.parts, parts[len(parts)-1])
		parts = parts[:len(parts)-1]
	}
	return nil
}

// Events reads the rows, those of one partition after those of another, each in the
// order of the log. The first error ends the sequence.
func (n *Newest) Events(ctx context.Context) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		t, err := newTable(n.src)
		if err != nil {
			yield(Row{}, err)
			return
		}
		var before Header
		for i, part := range n.parts {
			if i > 0 && n.parts[i-1].file.partition == part.file.partition {
				err = joins(&n.parts[i-1].file, before, part.file)
			}
			goOn := err == nil
			if goOn {
				before, goOn, err = readEnd(ctx, part.file, part.skip, n.src, t, yield)
			}
			if err != nil {
				yield(Row{}, err)
			}
			if err != nil || !goOn {
				return
			}
		}
	}
}

// pass leaves out rows at the front of all columns of a row group.
func pass(readers []file.ColumnChunkReader, rows int64) (err error) {
	for _, r := range readers {
		skipper, ok := r.(interface{ Skip(int64) (int64, error) })
		switch {
		case r == nil:
			continue
		case !ok:
			return errors.New("a column whose rows cannot be left out")
		}
		n, err := skipper.Skip(rows)
		if err == nil && n != rows {
			err = fmt.Errorf("it ends after %d rows, and not %d", n, rows)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
