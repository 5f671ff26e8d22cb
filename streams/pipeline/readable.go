package pipeline

import (
	"cmp"
	"slices"
	"sort"
	"time"
)

// ReadableEdges returns the upper edges of the buckets of a Readable, in seconds.
// A shard that keeps up commits within half a second.
func ReadableEdges() []float64 { return slices.Clone(readableEdges[:]) }

var readableEdges = [...]float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200}

// A Readable counts the records of a view that this process has made readable, by
// how long that took: from the record's arrival, which is its timestamp in the
// topic of the source, to the end of the commit that has it, by the clock here. Dead
// letters and events that where leaves out count, too.
type Readable struct {
	View    string
	Counts  [len(readableEdges) + 1]int64 // by edge; the last one is beyond all
	Seconds float64                       // of all records together
}

// Readable returns the counts by view. They begin with the process and only grow.
func (h *Host) Readable() []Readable {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]Readable, 0, len(h.readable))
	for _, r := range h.readable {
		out = append(out, *r)
	}
	slices.SortFunc(out, func(a, b Readable) int { return cmp.Compare(a.View, b.View) })
	return out
}

// committed counts the arrivals that a commit made readable.
func (h *Host) committed(view string, a *arrivals, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.readable[view]
	if r == nil {
		r = &Readable{View: view}
		h.readable[view] = r
	}
	now := at.UnixMicro()
	for _, run := range a.runs {
		took := float64(max(0, now-run.at)) / 1e6 // another machine's clock may be ahead
		r.Counts[sort.SearchFloat64s(readableEdges[:], took)] += run.n
		r.Seconds += took * float64(run.n)
	}
	a.reset()
}

// maxRuns bounds what a shard remembers of arrivals: 16 KiB.
const maxRuns = 1024

// arrivals are when the records came that a shard has not committed. Kafka's
// timestamps are milliseconds and neighbours share them, so that runs of equal ones
// are few. Where they are many, as of a backlog, neighbours become one run with the
// earlier of the two.
type arrivals struct {
	runs  []run
	width int64 // how much later than a run its records may be, microseconds
}

type run struct{ at, n int64 }

func (a *arrivals) add(at int64) {
	if n := len(a.runs); n > 0 {
		if last := &a.runs[n-1]; at >= last.at && at-last.at <= a.width {
			last.n++
			return
		}
	}
	a.begin(at)
}

// begin starts a run.
func (a *arrivals) begin(at int64) {
	if len(a.runs) == maxRuns {
		a.width = max(1000, 2*a.width)
		for i := range maxRuns / 2 {
			x, y := a.runs[2*i], a.runs[2*i+1]
			a.runs[i] = run{min(x.at, y.at), x.n + y.n}
		}
		a.runs = a.runs[:maxRuns/2]
	}
	a.runs = append(a.runs, run{at, 1})
}

func (a *arrivals) reset() { a.runs, a.width = a.runs[:0], 0 }
