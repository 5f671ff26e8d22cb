package lake

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
)

// A Stretch is what the lake has of a range of offsets of one partition.
type Stretch struct {
	Range
	Headers []Header // of the files that have it, in the order of the log

	src   features.Source
	files []entry
}

// OpenStretch finds the files of a range of a source's events. They have to have
// all of it.
func OpenStretch(root string, src features.Source, r Range) (*Stretch, error) {
	at := eventsOf(root, src.Name)
	entries, err := list(at)
	if err != nil {
		return nil, err
	}
	entries = slices.DeleteFunc(entries, func(e entry) bool { return e.partition != r.Partition })
	from := 0 // the files before the range are left alone: there may be many
	for from+1 < len(entries) && entries[from+1].first <= r.First {
		from++
	}
	s := &Stretch{Range: r, src: src}
	var before Header
	for i, e := range entries[min(from, len(entries)):] {
		if e.first >= r.Next {
			break
		}
		if i > 0 || e.first > r.First {
			var previous *entry
			if i > 0 {
				previous = &entries[from+i-1]
			}
			if err := joins(previous, before, e); err != nil {
				return nil, err
			}
		}
		if before, err = readHeader(e); err != nil {
			return nil, err
		}
		if before.Next > r.First {
			s.files, s.Headers = append(s.files, e), append(s.Headers, before)
		}
	}
	if before.Next < r.Next {
		return nil, fmt.Errorf("lake: %s: partition %d is there up to offset %d, and not up to %d", at.name, r.Partition, before.Next, r.Next)
	}
	return s, nil
}

// Declared checks that the files were written under the declaration that the
// source has: a field that a file does not have is missing in its events, and may
// have been in the log.
func (s *Stretch) Declared() error {
	t, err := newTable(s.src)
	if err != nil {
		return err
	}
	for _, e := range s.files {
		if err := declared(e, t); err != nil {
			return fmt.Errorf("lake: %s: %w", e.path, err)
		}
	}
	return nil
}

func declared(e entry, t *table) error {
	f, err := open(e)
	if err != nil {
		return err
	}
	defer f.Close()
	return guard(func() error {
		if _, err := f.places(t); err != nil {
			return err
		}
		return f.declares(t)
	})
}

// declares refuses a file of another declaration of the source.
func (r *reader) declares(t *table) error {
	for _, c := range t.columns {
		if !c.absent {
			continue
		}
		if of, ok := strings.CutSuffix(c.name, validSuffix); ok {
			return fmt.Errorf("was written when the source had no allow_nonfinite: NaN of %q cannot be told from a missing value", of)
		}
		return fmt.Errorf("has no column %q: it was written before the source declared it", c.name)
	}
	for i, field := range t.fields {
		if field.Kind == expr.Float && t.valid[i] == nil && r.pq.MetaData().Schema.ColumnIndexByName(field.Name+validSuffix) >= 0 {
			return fmt.Errorf("was written when the source had allow_nonfinite: it may have NaN of %q, which the source now refuses", field.Name)
		}
	}
	return nil
}

// Events reads the events of the stretch in the order of the log. The first
// error ends the sequence.
func (s *Stretch) Events(ctx context.Context) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		t, err := newTable(s.src)
		if err != nil {
			yield(Row{}, err)
			return
		}
		within := func(r Row, err error) bool {
			if err == nil && (r.Offset < s.First || r.Offset >= s.Next) {
				return true
			}
			return yield(r, err)
		}
		for _, e := range s.files {
			_, goOn, err := readFile(ctx, e, s.src, t, within)
			if err != nil {
				yield(Row{}, err)
			}
			if err != nil || !goOn {
				return
			}
		}
	}
}
