package profile

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A driftCase is a case of the known answers about drift, of which those in
// testdata are a part.
type driftCase struct {
	ID       string
	Method   string
	Input    driftInput
	Expected map[string]any
	raw      json.RawMessage
}

type driftInput struct {
	See            string // the case that has the samples
	X, Y           []float64
	XWeights       []float64   `json:"x_weights"`
	YWeights       []float64   `json:"y_weights"`
	Edges          []float64   `json:"inner_edges"`
	CountsX        []float64   `json:"counts_x"`
	CountsY        []float64   `json:"counts_y"`
	Table          [][]float64 `json:"table"`
	Observed       []float64   `json:"observed"`
	ExpectedCounts []float64   `json:"expected_counts"`
}

// TestKnownAnswersOfDrift runs every case by its name, those of testdata again.
func TestKnownAnswersOfDrift(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "shared", "known-answers", "drift.json")) // beside the checkout
	if os.IsNotExist(err) && os.Getenv("CI") == "" {
		t.Skip("the known answers are not there: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Cases []json.RawMessage }
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	checks := map[string]func(*testing.T, *driftCase){
		"ks_2samp": checkKS, "wasserstein": checkWasserstein, "psi": checkPSI,
		"chi2 homogeneity": checkHomogeneity, "chi2 goodness of fit": checkFit, "chi2 2x2": checkTwoByTwo,
	}
	samples := make(map[string]driftInput)
	ran := make(map[string]bool)
	for _, raw := range file.Cases {
		var head struct{ ID, Method string }
		if err := json.Unmarshal(raw, &head); err != nil {
			t.Fatal(err)
		}
		ran[head.ID] = true
		t.Run(head.ID, func(t *testing.T) {
			if old := checkDivergence[head.Method]; old != nil {
				var c answer
				if err := json.Unmarshal(raw, &c); err != nil {
					t.Fatal(err)
				}
				old(t, &c)
				return
			}
			check := checks[head.Method]
			if check == nil {
				t.Fatalf("nothing checks the method %q", head.Method)
			}
			c := driftCase{raw: raw}
			if err := json.Unmarshal(raw, &c); err != nil {
				t.Fatal(err)
			}
			samples[c.ID] = c.Input
			if c.Input.See != "" {
				c.Input.X, c.Input.Y = samples[c.Input.See].X, samples[c.Input.See].Y
			}
			check(t, &c)
		})
	}
	if len(file.Cases) != 27 || len(ran) != 27 {
		t.Errorf("%d cases of %d names, want 27", len(file.Cases), len(ran))
	}
}

// near compares with what the case expects under that name. A chance is compared
// relative to what it is to be.
func (c *driftCase) near(t *testing.T, key string, got float64) {
	t.Helper()
	want, ok := c.Expected[key].(float64)
	if !ok {
		t.Fatalf("the case expects no %s", key)
	}
	tolerance := c.tolerance(t, "statistic")
	if key == "p" || strings.HasPrefix(key, "p_") {
		tolerance = 1e-6 * want
	}
	if !(math.Abs(got-want) <= tolerance) {
		t.Errorf("%s is %v, want %v", key, got, want)
	}
}

// tolerance is one number, or one by name.
func (c *driftCase) tolerance(t *testing.T, key string) float64 {
	var one struct{ Tolerance float64 }
	var many struct{ Tolerance map[string]float64 }
	if json.Unmarshal(c.raw, &one) == nil {
		return one.Tolerance
	}
	if err := json.Unmarshal(c.raw, &many); err != nil || many.Tolerance[key] == 0 {
		t.Fatalf("no tolerance for %s, %v", key, err)
	}
	return many.Tolerance[key]
}

func checkKS(t *testing.T, c *driftCase) {
	ks, err := KolmogorovSmirnov(c.Input.X, c.Input.Y)
	if err != nil {
		t.Fatal(err)
	}
	exact, err := ks.Exact()
	if err != nil {
		t.Fatal(err)
	}
	c.near(t, "statistic", ks.Statistic)
	c.near(t, "p_exact", exact)
	c.near(t, "p_asymptotic", ks.Asymptotic())
}

func checkWasserstein(t *testing.T, c *driftCase) {
	distance, err := Wasserstein(c.Input.X, c.Input.Y, c.Input.XWeights, c.Input.YWeights)
	if err != nil {
		t.Fatal(err)
	}
	c.near(t, "w1", distance)
	if c.Input.XWeights != nil {
		return
	}
	normed, err := NormedWasserstein(c.Input.X, c.Input.Y)
	if err != nil {
		t.Fatal(err)
	}
	c.near(t, "w1_normed", normed)
	c.near(t, "std_ref_population", populationStd(c.Input.X))
}

func checkPSI(t *testing.T, c *driftCase) {
	x, y := c.Input.CountsX, c.Input.CountsY
	if c.Input.See != "" {
		edges, err := QuantileEdges(c.Input.X, len(c.Input.Edges)+1)
		if err != nil || !slices.EqualFunc(edges, c.Input.Edges, func(a, b float64) bool { return math.Abs(a-b) <= c.tolerance(t, "edges") }) {
			t.Fatalf("the edges are %v, %v, want %v", edges, err, c.Input.Edges)
		}
		x, y = mustCount(t, edges, c.Input.X), mustCount(t, edges, c.Input.Y)
		for key, got := range map[string][]float64{"counts_x": x, "counts_y": y} {
			for i, want := range c.Expected[key].([]any) {
				if got[i] != want.(float64) {
					t.Errorf("%s[%d] is %v, want %v", key, i, got[i], want)
				}
			}
		}
	}
	floors := map[string]float64{"psi_ln": PSIFloor, "psi_eps_1e-4": 1e-4, "psi_eps_1e-6": 1e-6}
	compared := 0
	for key, floor := range floors {
		if c.Expected[key] == nil {
			continue
		}
		got, err := PSI(x, y, floor)
		if err != nil {
			t.Fatal(err)
		}
		c.near(t, key, got)
		compared++
	}
	if compared == 0 {
		t.Error("the case expects no index")
	}
}

func mustCount(t *testing.T, edges, values []float64) []float64 {
	t.Helper()
	counts, err := CountCells(edges, values)
	if err != nil {
		t.Fatal(err)
	}
	return counts
}

func checkHomogeneity(t *testing.T, c *driftCase) {
	got, err := ChiSquareHomogeneity(c.Input.Table, false)
	c.chiSquare(t, got, err)
}

func checkFit(t *testing.T, c *driftCase) {
	got, err := ChiSquareFit(c.Input.Observed, c.Input.ExpectedCounts)
	c.chiSquare(t, got, err)
}

func (c *driftCase) chiSquare(t *testing.T, got ChiSquare, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	c.near(t, "statistic", got.Statistic)
	c.near(t, "dof", float64(got.Freedom))
	c.near(t, "p", got.P)
}

func checkTwoByTwo(t *testing.T, c *driftCase) {
	for key, yates := range map[string]bool{"p_yates": true, "p_plain": false} {
		got, err := ChiSquareHomogeneity(c.Input.Table, yates)
		if err != nil {
			t.Fatal(err)
		}
		c.near(t, key, got.P)
	}
	var table [2][2]int64
	for i, row := range c.Input.Table {
		table[i] = [2]int64{int64(row[0]), int64(row[1])}
	}
	fisher, err := FisherExact(table)
	if err != nil {
		t.Fatal(err)
	}
	c.near(t, "p_fisher_two_sided", fisher)
}
