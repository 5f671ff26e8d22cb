package gbdt

import (
	"sync"
	"sync/atomic"
)

// parallel calls f for tasks 0 to n-1 on so many threads at most, and returns
// when all calls have. Which thread has which task is left to chance: what a
// task computes must not depend on it.
func parallel(threads, n int, f func(task int)) {
	if threads = min(threads, n); threads <= 1 {
		for i := range n {
			f(i)
		}
		return
	}
	var next atomic.Int64
	work := func() {
		for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
			f(int(i))
		}
	}
	var group sync.WaitGroup
	for range threads - 1 {
		group.Go(work)
	}
	work()
	group.Wait()
}

// chunk is how many rows are a task of their own. It does not depend on the
// number of threads, so that sums of chunks do not either.
const chunk = 1 << 13

// chunks calls f for each chunk of n rows.
func chunks(threads, n int, f func(task, lo, hi int)) {
	parallel(threads, (n+chunk-1)/chunk, func(task int) {
		f(task, task*chunk, min(task*chunk+chunk, n))
	})
}
