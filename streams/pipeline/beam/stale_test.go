package beam

import "testing"

// TestStaleness drops what was made before the last step began, by whatever
// clock, and never all of the ticks.
func TestStaleness(t *testing.T) {
	const ms = 1_000_000
	for name, skew := range map[string]int64{"one clock": 0, "ahead": 5_000 * ms, "behind": -5_000 * ms} {
		s := newStaleness()
		tick := func(made, now int64) bool { return s.drop(made+skew, now) }
		if tick(1*ms, 2*ms) {
			t.Errorf("%s: the first tick is dropped", name)
		}
		if tick(52*ms, 53*ms) {
			t.Errorf("%s: a tick in time is dropped", name)
		}
		// A step of half a second, behind which ticks have queued.
		for made := int64(102); made < 552; made += 50 {
			if dropped := tick(made*ms, 553*ms+made); dropped != (made > 102) {
				t.Errorf("%s: tick of %d ms dropped: %v", name, made, dropped)
			}
		}
		if tick(602*ms, 603*ms) {
			t.Errorf("%s: the first tick after a queue is dropped", name)
		}
	}
}

// TestStalenessFollowsTheClock has the tickers' clock set back by a minute: the
// ticks count again after a while.
func TestStalenessFollowsTheClock(t *testing.T) {
	const ms = 1_000_000
	s, now, steps := newStaleness(), int64(0), 0
	for range 100 {
		now += 50 * ms
		s.drop(now, now)
	}
	for range 10 * leastOver {
		now += 50 * ms
		if !s.drop(now-60_000*ms, now) {
			steps++
		}
	}
	if steps < 8*leastOver {
		t.Errorf("%d steps in %d ticks after the clock was set back", steps, 10*leastOver)
	}
}

// TestStalenessNeverStops has a clock jump to and fro: there is a step a second.
func TestStalenessNeverStops(t *testing.T) {
	const ms = 1_000_000
	s, now, steps := newStaleness(), int64(0), 0
	for i := range int64(10_000) {
		now += 50 * ms
		if !s.drop(now+i%7*3_600_000*ms-i*50*ms, now) {
			steps++
		}
	}
	if steps < 10_000*50/1000 {
		t.Errorf("%d steps in %d s", steps, 10_000*50/1000)
	}
}

// TestStalenessOfTwoClocks has two tickers whose clocks differ: some ticks of
// one of them always count.
func TestStalenessOfTwoClocks(t *testing.T) {
	const ms = 1_000_000
	s, now, steps := newStaleness(), int64(0), 0
	for range 10 * leastOver {
		now += 25 * ms
		s.drop(now-5_000*ms, now)
		now += 25 * ms
		if !s.drop(now, now) {
			steps++
		}
	}
	if steps < 9*leastOver {
		t.Errorf("%d steps in %d ticks of the clock that is ahead", steps, 10*leastOver)
	}
}
