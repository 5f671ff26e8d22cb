//go:build !race

package monitor

// stableWorlds is how many a test counts.
const stableWorlds = 200

var trialDistances = []Distance{JensenShannon, LInfinity, PSI, KS}
