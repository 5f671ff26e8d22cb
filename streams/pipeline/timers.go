package pipeline

import (
	"cmp"
	"math"
)

// A timer is when a row is due. There are as many as rows, so they are small:
// 24 bytes and the entity.
type timer struct {
	due    int64 // microseconds since the Unix epoch
	entity string
}

func (t timer) before(u timer) bool {
	return cmp.Or(cmp.Compare(t.due, u.due), cmp.Compare(t.entity, u.entity)) < 0
}

// Timers are a heap of timers, the first to run out on top. One that was set
// anew is there twice; whoever takes them knows which of the two counts.
type timers struct{ heap []timer }

// set adds a timer; one that never runs out it leaves out.
func (t *timers) set(due int64, entity string) {
	if due == math.MaxInt64 {
		return
	}
	t.heap = append(t.heap, timer{due, entity})
	for i := len(t.heap) - 1; i > 0; {
		parent := (i - 1) / 2
		if !t.heap[i].before(t.heap[parent]) {
			return
		}
		t.heap[i], t.heap[parent] = t.heap[parent], t.heap[i]
		i = parent
	}
}

// due reports whether some timer has run out at a time.
func (t *timers) due(at int64) bool { return len(t.heap) > 0 && t.heap[0].due <= at }

// take takes the timers that have run out at a time, in order, at most so many.
func (t *timers) take(at int64, most int) (out []timer) {
	for t.due(at) && len(out) < most {
		out = append(out, t.heap[0])
		last := len(t.heap) - 1
		t.heap[0], t.heap[last] = t.heap[last], timer{}
		t.heap = t.heap[:last]
		t.sink()
	}
	return out
}

// sink moves the top to its place.
func (t *timers) sink() {
	for i := 0; ; {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(t.heap); child++ {
			if t.heap[child].before(t.heap[least]) {
				least = child
			}
		}
		if least == i {
			return
		}
		t.heap[i], t.heap[least] = t.heap[least], t.heap[i]
		i = least
	}
}
