package monitor

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"unique"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
)

// A row is a prediction that was kept of its unit.
type row struct {
	hash    uint64
	time    int64
	values  []float64 // by column, inputs and score; of texts and bools the code; NaN: missing
	texts   []string  // while the unit is open, by column; nil: there are none
	entity  unique.Handle[string]
	version int
}

// A sample keeps the rows with the least hashes of their ids, so that what it
// holds does not hang on the order in which rows came. It is sorted.
type sample []*row

// wants reports whether a row of that hash would be kept, and where.
func (s sample) wants(hash uint64, most int) (at int, ok bool) {
	if len(s) == most && hash >= s[most-1].hash {
		return 0, false
	}
	at, found := slices.BinarySearchFunc(s, hash, func(r *row, h uint64) int { return cmp.Compare(r.hash, h) })
	return at, !found
}

// keep puts r where wants has said, and drops the last beyond most.
func (s *sample) keep(r *row, at, most int) {
	if len(*s) == most {
		*s = (*s)[:most-1]
	}
	*s = slices.Insert(*s, at, r)
}

// hashOf returns the 64-bit FNV-1a hash of an id, mixed by the last step of
// SplitMix64 since FNV's upper bits hardly move with the last bytes. It is part of
// what decides which rows are kept, so it must stay the same.
func hashOf(id string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(id) {
		h = (h ^ uint64(id[i])) * 1099511628211
	}
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}

// maxText bounds what of a text is kept, in bytes.
const maxText = 64

// clip returns a copy of s that is short enough, and tells long texts apart.
func clip(s string) string {
	if len(s) <= maxText {
		return strings.Clone(s)
	}
	return fmt.Sprintf("%s… (%d bytes, %016x)", strings.ToValidUTF8(s[:maxText/2], ""), len(s), hashOf(s))
}

// entityOf returns an entity's values joined by slashes, in the order of names.
func entityOf(names []string, entity []features.Named) string {
	parts := make([]string, len(names))
	for i, name := range names {
		parts[i] = clip(named(entity, name))
	}
	return strings.Join(parts, "/")
}

func named(entity []features.Named, name string) string {
	for _, n := range entity {
		if n.Name == name {
			return n.Expr
		}
	}
	return ""
}

// isText reports whether a column's values are kept as codes.
func isText(k features.Kind) bool { return k == expr.String || k == expr.Bool }

// number returns the value that a column of numbers has; false: it is missing.
// What is not finite, or beyond any use, is missing.
func number(v features.Value) (float64, bool) {
	x, ok := v.Number()
	switch v.Kind {
	case expr.Time:
		x, ok = float64(v.Int()), true
	case expr.Bool:
		x, ok = 0, true
		if v.Bool() {
			x = 1
		}
	}
	return x, ok && isNumber(x)
}

// A dictionary gives the texts of a column their codes. It is full at maxCodes:
// texts that come later share one.
type dictionary struct {
	codes map[string]int
	texts []string // by code; that of 0 is othersText
}

const (
	maxCodes    = 1000
	othersText  = "(others)"
	missingText = "(missing)"
)

func newDictionary() *dictionary {
	return &dictionary{codes: map[string]int{}, texts: []string{othersText}}
}

// code returns that of a text, 0 if it has none.
func (d *dictionary) code(text string) float64 { return float64(d.codes[text]) }

// learn gives the texts of a unit's rows codes while there is room: the most
// frequent first, and of equal ones the least, so that the order of rows does not
// matter.
func (d *dictionary) learn(rows []*row, column int) {
	if len(d.texts) > maxCodes {
		return
	}
	counts := make(map[string]int)
	for _, r := range rows {
		if !math.IsNaN(r.values[column]) {
			counts[r.texts[column]]++
		}
	}
	for text := range counts {
		if _, known := d.codes[text]; known {
			delete(counts, text)
		}
	}
	for _, text := range byCount(counts) {
		if len(d.texts) > maxCodes {
			return
		}
		d.codes[text] = len(d.texts)
		d.texts = append(d.texts, text)
	}
}

// byCount returns the keys by falling count, and then by themselves.
func byCount[K cmp.Ordered](counts map[K]int) []K {
	keys := make([]K, 0, len(counts))
	for k := range counts {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b K) int { return cmp.Or(counts[b]-counts[a], cmp.Compare(a, b)) })
	return keys
}
