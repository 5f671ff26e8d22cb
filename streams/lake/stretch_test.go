package lake

import (
	"slices"
	"strings"
	"testing"
)

// TestStretch reads ranges that begin and end in the middle of files, and none
// that the lake does not have.
func TestStretch(t *testing.T) {
	root := t.TempDir()
	for _, r := range []Range{{0, 0, 10}, {1, 0, 100}, {1, 100, 101}, {1, 101, 250}, {2, 0, 5}} {
		mustWrite(t, root, everything, r)
	}
	all, err := readAll(t, root, everything)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []Range{{1, 0, 250}, {1, 0, 100}, {1, 99, 102}, {1, 100, 101}, {1, 150, 160}, {1, 7, 7}, {0, 3, 10}} {
		s, err := OpenStretch(root, everything, r)
		if err != nil {
			t.Fatal(r, err)
		}
		want := slices.DeleteFunc(slices.Clone(all), func(row Row) bool {
			return row.Partition != r.Partition || row.Offset < r.First || row.Offset >= r.Next
		})
		i := 0
		for row, err := range s.Events(t.Context()) {
			if err != nil || i == len(want) || row.Offset != want[i].Offset || !sameEvent(row.Event, want[i].Event) {
				t.Fatalf("%v: row %d is %+v, %v", r, i, row, err)
			}
			i++
		}
		if i != len(want) {
			t.Errorf("%v: %d rows, want %d", r, i, len(want))
		}
	}
	for _, r := range []Range{{1, 0, 251}, {0, 12, 13}, {3, 0, 1}} {
		if _, err := OpenStretch(root, everything, r); err == nil || !strings.Contains(err.Error(), "is there up to offset") {
			t.Errorf("%v: %v", r, err)
		}
	}
}
