package lookout

import (
	"slices"
	"testing"

	"github.com/millrace/millrace/deploy/alarms"
)

// TestTwoOnOneBook has two processes keep monitors and write to one book at a time,
// as where two of them show the page: it has the alarms that one alone would have
// written, each once.
func TestTwoOnOneBook(t *testing.T) {
	alone := newWorld(t, 1, 30)
	once := alone.book("once")
	one := alone.lookout(once)
	defer one.Close()
	w := newWorld(t, 1, 30)
	book := w.book("both")
	a, b := w.lookout(book), w.lookout(book)
	defer a.Close()
	defer b.Close()
	for range 4 {
		alone.write(9)
		alone.catchUp(one)
		w.write(9)
		done := make(chan error, 2)
		for _, l := range []*Lookout{a, b} {
			l.behind = true
			go func() {
				for more := true; more; {
					var err error
					if more, err = l.Step(t.Context()); err != nil {
						done <- err
						return
					}
				}
				done <- nil
			}()
		}
		for range 2 {
			must(t, <-done)
		}
	}
	want, got := alone.lines(once), w.lines(book)
	if !slices.Equal(got, want) || len(want) == 0 {
		t.Errorf("%q, want %q", got, want)
	}
	all, err := book.List(t.Context(), alarms.Filter{})
	must(t, err)
	seen := map[string]bool{}
	for _, e := range all {
		if seen[e.ID] {
			t.Errorf("twice: %s", e.ID)
		}
		seen[e.ID] = true
	}
}
