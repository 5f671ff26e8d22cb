package eval

import (
	"cmp"
	"math"
	"slices"
)

// An Importance is how much each input moves a model's scores in a slice: the
// mean, over its rows, of how far the input's contribution takes the score (the
// mean absolute Shapley value of Lundberg et al. 2020, where contributions are
// Shapley values), on the scale of contributions.
type Importance struct {
	Column string    `json:"column,omitempty"` // empty: all rows
	Value  string    `json:"value,omitempty"`
	Rows   int       `json:"rows"`
	Inputs []float64 `json:"inputs"` // in the order of the contributions
}

// maxImportances bounds the slices that importance is told of.
const maxImportances = 20

// Importances returns the importance over all rows, and that of each slice of at
// least minRows rows, those with the most rows first. Contributions are of one
// row each; slices hold, by column, each row's value, and columns are their order
// among slices of equal size.
func Importances(contributions [][]float64, columns []string, values map[string][]string, minRows int) []Importance {
	all := make([]int, len(contributions))
	for i := range all {
		all[i] = i
	}
	parts := []part{{rows: all}}
	c := Cohort{Slices: values}
	of, _ := c.parts(Gate{Slices: columns})
	for _, p := range of {
		if len(p.rows) >= minRows {
			parts = append(parts, p)
		}
	}
	parts = parts[:min(len(parts), maxImportances+1)]
	out := make([]Importance, len(parts))
	for i, p := range parts {
		out[i] = Importance{p.column, p.value, len(p.rows), meanMagnitudes(contributions, p.rows)}
	}
	return out
}

func meanMagnitudes(contributions [][]float64, rows []int) []float64 {
	var sums []float64
	for _, i := range rows {
		if sums == nil {
			sums = make([]float64, len(contributions[i]))
		}
		for k, c := range contributions[i] {
			sums[k] += math.Abs(c) / float64(len(rows))
		}
	}
	return sums
}

// Ranked returns the places of the inputs, the most important first, and among
// equals in their order.
func (i *Importance) Ranked() []int {
	places := make([]int, len(i.Inputs))
	for k := range places {
		places[k] = k
	}
	slices.SortStableFunc(places, func(a, b int) int { return cmp.Compare(i.Inputs[b], i.Inputs[a]) })
	return places
}
