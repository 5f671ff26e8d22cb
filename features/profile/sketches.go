package profile

import (
	"cmp"
	"maps"
	"math"
	"math/bits"
	"slices"
	"strings"
)

// mix is the finalizer of MurmurHash3: each bit of x moves half of the result's.
func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// hashText is FNV-1a, mixed; unlike hash/maphash it is the same in every process.
func hashText(s string) uint64 {
	h := uint64(0xcbf29ce484222325)
	for i := range len(s) {
		h ^= uint64(s[i])
		h *= 0x100000001b3
	}
	return mix(h)
}

const (
	indexBits = 12 // 4096 registers: a standard error of 1.04/sqrt(4096)
	rankBits  = 64 - indexBits
)

// registers are those of HyperLogLog: by the first bits of a hash, the longest
// run of zeros that the others began with, plus one.
type registers [1 << indexBits]uint8

func (r *registers) add(hash uint64) {
	at, rank := hash>>rankBits, uint8(min(bits.LeadingZeros64(hash<<indexBits), rankBits)+1)
	r[at] = max(r[at], rank)
}

func (r *registers) merge(o *registers) {
	for i, rank := range o {
		r[i] = max(r[i], rank)
	}
}

// estimate returns the number of distinct hashes, by algorithm 6 of Ertl, "New
// cardinality estimation algorithms for HyperLogLog sketches" (2017), which
// needs no correction for few or for many.
func (r *registers) estimate() int64 {
	var counts [rankBits + 2]float64
	for _, rank := range r {
		counts[rank]++
	}
	const m = float64(len(r))
	z := m * tau(1-counts[rankBits+1]/m)
	for k := rankBits; k >= 1; k-- {
		z = 0.5 * (z + counts[k])
	}
	z += m * sigma(counts[0]/m)
	return int64(math.Round(m * m / (2 * math.Ln2) / z))
}

// sigma accounts for registers that nothing fell into. It is infinite at 1.
func sigma(x float64) float64 {
	if x == 1 {
		return math.Inf(1)
	}
	y, z := 1.0, x
	for before := -1.0; z != before; {
		before = z
		x *= x
		z += float64(x * y)
		y += y
	}
	return z
}

// tau accounts for registers that are full.
func tau(x float64) float64 {
	if x == 0 || x == 1 {
		return 0
	}
	y, z := 1.0, 1-x
	for before := -1.0; z != before; {
		before = z
		x = math.Sqrt(x)
		y *= 0.5
		z -= float64((1 - x) * (1 - x) * y)
	}
	return z / 3
}

const (
	maxTexts = 1024         // counted at a time
	keptFew  = maxTexts / 2 // that are kept when there are more
	maxTop   = 100          // of a profile: what people read, and what drift is measured on
)

// texts are a Misra-Gries summary: when there are too many texts, all counts
// are lowered by one amount, so that the rarer half falls out.
type texts struct {
	counts  map[string]int64
	removed int64 // what each count may be too low by
}

func newTexts() texts { return texts{counts: make(map[string]int64)} }

// add counts s. It does not keep the memory of s, which may be a whole record.
func (t *texts) add(s string, n int64) {
	if _, known := t.counts[s]; !known {
		s = strings.Clone(s)
	}
	t.counts[s] += n
	if len(t.counts) > maxTexts {
		t.shrink()
	}
}

// merge adds all counts first and then lowers them once, so that the order of
// the map does not show.
func (t *texts) merge(o *texts) {
	for s, n := range o.counts {
		t.counts[s] += n
	}
	t.removed += o.removed
	if len(t.counts) > maxTexts {
		t.shrink()
	}
}

func (t *texts) shrink() {
	counts := slices.Sorted(maps.Values(t.counts))
	least := counts[len(counts)-keptFew-1]
	t.removed += least
	maps.DeleteFunc(t.counts, func(_ string, n int64) bool { return n <= least })
	for s := range t.counts {
		t.counts[s] -= least
	}
}

// top returns the most frequent texts.
func (t *texts) top() []Top {
	all := make([]Top, 0, len(t.counts))
	for s, n := range t.counts {
		all = append(all, Top{s, n})
	}
	slices.SortFunc(all, func(a, b Top) int { return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Text, b.Text)) })
	return all[:min(len(all), maxTop)]
}
