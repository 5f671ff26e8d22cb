package lake

import (
	"context"
	"iter"
)

// ReadLast is Read from further on: of each partition it leaves out the files
// before those that have its last rows, at least so many of them. Where the
// lake's table is long and the newest examples are asked for, that is most of it.
func (e Examples) ReadLast(ctx context.Context, root string, rows int64) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		if err := e.readLast(ctx, root, rows, yield); err != nil {
			yield(Row{}, err)
		}
	}
}

func (e Examples) readLast(ctx context.Context, root string, rows int64, yield func(Row, error) bool) error {
	at, src := examplesOf(root, e.Model), e.source()
	t, err := newTable(src)
	if err != nil {
		return err
	}
	entries, err := list(at)
	if err != nil {
		return err
	}
	if entries, err = lastOf(entries, rows); err != nil {
		return err
	}
	var before Header
	for i, file := range entries {
		if i > 0 && entries[i-1].partition == file.partition { // else nothing is known of what was before it
			if err := joins(&entries[i-1], before, file); err != nil {
				return err
			}
		}
		var goOn bool
		if before, goOn, err = readFile(ctx, file, src, t, yield); err != nil || !goOn {
			return err
		}
	}
	return nil
}

// lastOf returns the files of each partition that have its last rows, in their
// order.
func lastOf(entries []entry, rows int64) ([]entry, error) {
	kept := make([]bool, len(entries))
	var found int64
	for i := len(entries) - 1; i >= 0; i-- {
		if i < len(entries)-1 && entries[i].partition != entries[i+1].partition {
			found = 0
		}
		if found >= rows {
			continue
		}
		n, err := rowsOf(entries[i])
		if err != nil {
			return nil, err
		}
		kept[i] = true
		found += n
	}
	var last []entry
	for i, e := range entries {
		if kept[i] {
			last = append(last, e)
		}
	}
	return last, nil
}

func rowsOf(e entry) (int64, error) {
	f, err := open(e)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return f.pq.NumRows(), nil
}
