package beam

import (
	"math"
	"time"
)

// Staleness tells which ticks of a part are stale: those that were made before
// its last step began. A runner queues ticks while a step goes on, and to work
// off the queue would hold up everything else.
//
// The clock of the ticks may be another host's. The least time that a tick
// has taken lately, by both clocks, is taken for the difference between them; and
// where a clock has jumped, a step a second goes on until that is known.
type staleness struct {
	last  int64 // when the last step began, ns of the clock here
	least int64 // of (time here - stamp), ns, over some of the last ticks
	next  int64 // and of those that will replace it
	ticks int
}

// leastOver is after how many ticks the least time is found anew: clocks drift.
const leastOver = 1000

// staleAtMost is after how long a step begins in any case, in ns.
const staleAtMost = int64(time.Second)

func newStaleness() staleness {
	return staleness{last: math.MinInt64 / 2, least: math.MaxInt64, next: math.MaxInt64}
}

// drop takes a tick's stamp and the time now, and reports whether it is stale. If
// it is not, a step begins now.
func (s *staleness) drop(stamp, now int64) bool {
	took := now - stamp
	s.least, s.next = min(s.least, took), min(s.next, took)
	if s.ticks++; s.ticks == leastOver {
		s.least, s.next, s.ticks = s.next, math.MaxInt64, 0
	}
	if stamp+s.least <= s.last && now-s.last < staleAtMost {
		return true
	}
	s.last = now
	return false
}
