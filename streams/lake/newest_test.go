package lake

import (
	"fmt"
	"slices"
	"testing"
)

// newestOf is the last rows of each partition, an equal part of so many.
func newestOf(all []Row, rows int) (want []Row) {
	of := map[int][]Row{}
	for _, r := range all {
		of[r.Partition] = append(of[r.Partition], r)
	}
	each := max(1, rows/len(of))
	for _, list := range of {
		want = append(want, list[max(0, len(list)-each):]...)
	}
	return sorted(want)
}

func sorted(rows []Row) []Row {
	slices.SortFunc(rows, func(a, b Row) int {
		if a.Partition != b.Partition {
			return a.Partition - b.Partition
		}
		return int(a.Offset - b.Offset)
	})
	return rows
}

// readNewest collects rows, whose values are only theirs until the next.
func readNewest(t *testing.T, n *Newest) (rows []Row) {
	t.Helper()
	for row, err := range n.Events(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		row.Event.Values = slices.Clone(row.Event.Values)
		rows = append(rows, row)
	}
	return rows
}

// TestNewest reads ends that begin in the middle of files, of chunks and of pages.
func TestNewest(t *testing.T) {
	root := t.TempDir()
	for _, r := range []Range{{0, 0, 10}, {1, 0, 100}, {1, 100, 101}, {1, 101, 5000}, {1, 5000, 5250}, {2, 0, 5}} {
		mustWrite(t, root, everything, r)
	}
	all, err := readAll(t, root, everything)
	if err != nil {
		t.Fatal(err)
	}
	for _, rows := range []int{1, 30, 750, 753, 3000, 13_000, 15_447, 15_450, 1 << 30} {
		n, err := OpenNewest(root, everything, int64(rows))
		if err != nil {
			t.Fatal(rows, err)
		}
		got, want := sorted(readNewest(t, n)), newestOf(all, rows)
		if len(got) != len(want) || int(n.Rows) != len(want) || n.Cut != (len(want) < len(all)) {
			t.Fatalf("of %d: %d rows, said to be %d, cut %v; want %d of %d", rows, len(got), n.Rows, n.Cut, len(want), len(all))
		}
		for i := range got {
			if got[i].Partition != want[i].Partition || got[i].Offset != want[i].Offset || !sameEvent(got[i].Event, want[i].Event) {
				t.Fatalf("of %d: row %d is %+v, want %+v", rows, i, got[i], want[i])
			}
		}
	}
}

// TestNewestOfManyFiles opens no more than it says.
func TestNewestOfManyFiles(t *testing.T) {
	root := t.TempDir()
	for i := range int64(9) {
		mustWrite(t, root, everything, Range{0, i, i + 1})
	}
	n, err := openNewest(root, everything, 1<<30, 5)
	if err != nil || n.Rows != 5 || !n.Cut || len(n.parts) != 5 {
		t.Fatalf("%d rows of %d files, cut %v: %v", n.Rows, len(n.parts), n.Cut, err)
	}
	if rows := readNewest(t, n); len(rows) != 5 || rows[0].Offset != 4 {
		t.Errorf("%d rows", len(rows))
	}
	if n, err := OpenNewest(t.TempDir(), everything, 10); err != nil || n.Rows != 0 || n.Cut || len(readNewest(t, n)) != 0 {
		t.Errorf("of no lake: %+v, %v", n, err)
	}
}

// BenchmarkNewest reads the end of 100,000 rows.
func BenchmarkNewest(b *testing.B) {
	root := b.TempDir()
	mustWrite(b, root, everything, Range{0, 0, 100_000})
	for _, rows := range []int64{1000, 50_000, 100_000} {
		b.Run(fmt.Sprint(rows), func(b *testing.B) {
			for b.Loop() {
				n, err := OpenNewest(root, everything, rows)
				if err != nil {
					b.Fatal(err)
				}
				for _, err := range n.Events(b.Context()) {
					if err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
