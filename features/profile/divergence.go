package profile

import (
	"errors"
	"math"
	"slices"
)

// ErrEmpty is returned where one of two distributions has no mass: no data is
// not the same as no drift.
var ErrEmpty = errors.New("profile: a distribution without any values has no divergence from another")

// LInfinity returns the largest difference between the shares of one key in a
// and in b, which are counts or shares and are normalised first, and that key.
// Of equal differences that of the last key wins, as TFDV has it; two empty
// maps differ by 0 at no key.
func LInfinity(a, b map[string]float64) (distance float64, key string) {
	sumA, sumB := sum(a), sum(b)
	return largest(a, b, func(x, y float64) float64 { return math.Abs(share(x, sumA) - share(y, sumB)) })
}

// NormalizedDifference returns the largest difference between the counts of one
// key over the sum of both maps, and that key. Unlike LInfinity it sees that
// there is more of everything.
func NormalizedDifference(a, b map[string]float64) (distance float64, key string) {
	total := sum(a) + sum(b)
	return largest(a, b, func(x, y float64) float64 { return share(math.Abs(x-y), total) })
}

func largest(a, b map[string]float64, distance func(x, y float64) float64) (most float64, key string) {
	for _, k := range keys(a, b) {
		if d := distance(a[k], b[k]); d >= most {
			most, key = d, k
		}
	}
	return most, key
}

// keys returns the keys of both maps, sorted.
func keys(a, b map[string]float64) []string {
	all := make([]string, 0, len(a)+len(b))
	for k := range a {
		all = append(all, k)
	}
	for k := range b {
		all = append(all, k)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// sum adds up in the order of the keys, so that it is the same every time.
func sum(m map[string]float64) float64 {
	total := 0.0
	for _, k := range keys(m, nil) {
		total += m[k]
	}
	return total
}

func share(x, total float64) float64 {
	if total == 0 {
		return 0
	}
	return x / total
}

// JensenShannon returns the divergence of two distributions over the same
// cells, to the base 2: 0 for equal ones, 1 for those that share no cell. It is
// the divergence and not its square root, the distance. Masses are normalised
// first. ErrEmpty if either has none.
func JensenShannon(p, q []float64) (float64, error) {
	sumP, sumQ := 0.0, 0.0
	for i := range p {
		sumP += p[i]
		sumQ += q[i]
	}
	if sumP == 0 || sumQ == 0 {
		return 0, ErrEmpty
	}
	divergence := 0.0
	for i := range p {
		x, y := p[i]/sumP, q[i]/sumQ
		divergence += float64(half(x, y) + half(y, x))
	}
	return min(max(divergence, 0), 1), nil
}

// half returns the part of x in the divergence from the middle of x and y.
func half(x, y float64) float64 {
	if x == 0 {
		return 0
	}
	return float64(x/2) * math.Log2(2*x/(x+y))
}

// A Histogram is a distribution of numbers. Its buckets are sorted and do not
// overlap, but for the ends.
type Histogram struct {
	Buckets []Bucket
	Missing int64
}

// JensenShannonHistograms returns the divergence of two histograms, to the base
// 2. The mass of a bucket is spread evenly over its width; a bucket of no width
// meets only another at the same place. Missing values are a cell of their own.
// ErrEmpty if either has no mass.
func JensenShannonHistograms(a, b Histogram) (float64, error) {
	edges := edgesOf(a.Buckets, b.Buckets)
	return JensenShannon(a.over(edges), b.over(edges))
}

// edgesOf returns the ends of all buckets, sorted.
func edgesOf(a, b []Bucket) []float64 {
	edges := make([]float64, 0, 2*(len(a)+len(b)))
	for _, list := range [2][]Bucket{a, b} {
		for _, k := range list {
			edges = append(edges, k.Low, k.High)
		}
	}
	slices.Sort(edges)
	return slices.Compact(edges)
}

// over returns the masses at the edges, then those between each edge and the
// next, then the missing.
func (h *Histogram) over(edges []float64) []float64 {
	masses := make([]float64, 2*len(edges)+1)
	between := masses[len(edges):]
	for _, k := range h.Buckets {
		at, _ := slices.BinarySearch(edges, k.Low)
		if k.Low == k.High {
			masses[at] += float64(k.Count)
			continue
		}
		for ; edges[at] < k.High; at++ {
			between[at] += float64(float64(k.Count) * part(edges[at], edges[at+1], k.Low, k.High))
		}
	}
	masses[len(masses)-1] = float64(h.Missing)
	return masses
}

// part returns how much of the width from low to high is between from and to.
// The width may be beyond a double, and its half may be below one.
func part(from, to, low, high float64) float64 {
	if width := high - low; !math.IsInf(width, 0) {
		return (to - from) / width
	}
	return (to/2 - from/2) / (high/2 - low/2)
}
