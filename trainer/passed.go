package trainer

import (
	"math"
	"slices"
)

// Passed returns the time up to which the loop has read every label of a model
// that became known: microseconds since the Unix epoch, math.MinInt64 while a
// partition has passed nothing.
func (l *Loop) Passed(model string) int64 {
	i := slices.IndexFunc(l.books, func(b *book) bool { return b.model.Name == model })
	if i < 0 {
		return math.MinInt64
	}
	return slices.Min(l.books[i].passed)
}
