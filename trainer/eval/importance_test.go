package eval

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestImportances compares means with their definition, by slice.
func TestImportances(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 0x696d70))
	var parts [][]float64
	var city []string
	for range 500 {
		parts = append(parts, []float64{r.NormFloat64(), 3 * r.NormFloat64(), 0})
		city = append(city, []string{"Oslo", "Rome", "Rome", "Bern"}[r.IntN(4)])
	}
	city[7] = "Ulm"
	got := Importances(parts, []string{"city"}, map[string][]string{"city": city}, 2)
	if len(got) != 4 || got[0].Column != "" || got[0].Rows != 500 || got[1].Value != "Rome" {
		t.Fatalf("%+v", got)
	}
	for _, g := range got {
		sums, n := make([]float64, 3), 0
		for i, p := range parts {
			if g.Column == "" || city[i] == g.Value {
				n++
				for k, c := range p {
					sums[k] += math.Abs(c)
				}
			}
		}
		for k := range sums {
			if math.Abs(sums[k]/float64(n)-g.Inputs[k]) > 1e-12*(1+sums[k]) || n != g.Rows {
				t.Errorf("%s: input %d is %v over %d rows, want %v over %d", g.Value, k, g.Inputs[k], g.Rows, sums[k]/float64(n), n)
			}
		}
		if !slices.Equal(g.Ranked(), []int{1, 0, 2}) {
			t.Errorf("%s: %v", g.Value, g.Ranked())
		}
	}
	if none := Importances(nil, nil, nil, 1); len(none) != 1 || none[0].Rows != 0 || len(none[0].Ranked()) != 0 {
		t.Errorf("of no rows %+v", none)
	}
}
