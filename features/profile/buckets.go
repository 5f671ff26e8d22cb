package profile

import (
	"maps"
	"math"
	"slices"
)

// A Bucket counts the numbers from Low up to High. Low itself belongs to it, or
// High itself where both are negative; only zeros have a bucket of no width.
type Bucket struct {
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
	Count int64   `json:"count"`
}

// bucketBits says how many bits of the mantissa tell buckets apart: with 6 a
// power of two has 64 buckets, each at most 1/64 of its low end wide.
const bucketBits = 6

// buckets count numbers by sign, exponent and the first bits of the mantissa,
// which is a histogram on a scale that is nearly logarithmic. It takes no
// logarithm, so that it is the same on every machine, and has at most 262,144
// buckets: all doubles fall into one.
type buckets struct {
	zeros  int64
	counts map[int32]int64
}

func newBuckets() buckets { return buckets{counts: make(map[int32]int64)} }

func (b *buckets) add(x float64) {
	if x == 0 {
		b.zeros++
		return
	}
	b.counts[keyOf(x)]++
}

func (b *buckets) merge(o *buckets) {
	b.zeros += o.zeros
	for key, n := range o.counts {
		b.counts[key] += n
	}
}

// keyOf returns the bucket of a number that is not 0. Keys sort as numbers do;
// those of negative numbers are negative.
func keyOf(x float64) int32 {
	key := int32(math.Float64bits(math.Abs(x)) >> (52 - bucketBits))
	if x < 0 {
		return -1 - key
	}
	return key
}

// bounds returns the ends of a bucket.
func bounds(key int32) (low, high float64) {
	if key < 0 {
		low, high = bounds(-1 - key)
		return -high, -low
	}
	low = math.Float64frombits(uint64(key) << (52 - bucketBits))
	high = math.Float64frombits(uint64(key+1) << (52 - bucketBits))
	return low, min(high, math.MaxFloat64)
}

// maxShare is the part of all numbers that a bucket of a histogram holds, about:
// with fewer numbers in each the buckets say more of chance than of the
// distribution, and with more the divergence of neighbours is too small.
const maxShare = 1.0 / 20

// histogram returns n numbers in buckets that hold about maxShare of them each,
// by joining neighbours. Zeros stay by themselves, and so does a bucket with
// maxShare or more, which is likely a value that comes often.
func (b *buckets) histogram(n int64) []Bucket {
	full := max(int64(math.Ceil(maxShare*float64(n))), 1)
	var out []Bucket
	open := false // whether the last bucket takes more
	add := func(low, high float64, count int64) {
		if open && count < full {
			last := &out[len(out)-1]
			last.High = high
			last.Count += count
		} else {
			out = append(out, Bucket{low, high, count})
		}
		open = out[len(out)-1].Count < full
	}
	zeros := func() {
		if b.zeros > 0 {
			out = append(out, Bucket{0, 0, b.zeros})
		}
		open = false
	}
	positive := false
	for _, key := range slices.Sorted(maps.Keys(b.counts)) {
		if key >= 0 && !positive {
			positive = true
			zeros()
		}
		low, high := bounds(key)
		add(low, high, b.counts[key])
	}
	if !positive {
		zeros()
	}
	return out
}

// Quantile returns the number below which a share q of the numbers lies, by
// interpolation within a bucket of the histogram.
func (n *Numbers) Quantile(q float64) float64 {
	total := int64(0)
	for _, b := range n.Histogram {
		total += b.Count
	}
	rank := min(max(q, 0), 1) * float64(total)
	for _, b := range n.Histogram {
		count := float64(b.Count)
		if rank <= count {
			part := rank / max(count, 1)
			return min(max(float64(b.Low*(1-part))+float64(b.High*part), n.Min), n.Max)
		}
		rank -= count
	}
	return n.Max
}
