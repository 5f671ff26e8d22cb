//go:build race

package monitor

// stableWorlds is how many a test counts. The race detector, which has nothing to
// find where there is one goroutine, makes them ten times as slow.
const stableWorlds = 10

var trialDistances = []Distance{JensenShannon}
