package monitor

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"github.com/millrace/millrace/features/expr"
)

// nonsense is what no alarm may say to people.
var nonsense = regexp.MustCompile(`Inf|NaN|e-3\d\d|0\.999999`)

// TestTextsAreForPeople makes alarms of columns that are constant, whole, rare or
// missing, and reads what they say, when they begin and when they are over.
func TestTextsAreForPeople(t *testing.T) {
	said, ends := 0, 0
	kinds := map[string]int{}
	for seed := range uint64(12) {
		w := &world{seed: seed, columns: 4, rows: 6, learned: 100}
		rng := rand.New(rand.NewPCG(seed, 11))
		w.change = func(hour, column int, x float64) float64 {
			after := hour >= 110 && hour < 125
			switch column {
			case 0: // nothing but 0, and then others
				if after {
					return float64(rng.IntN(3) - 1)
				}
				return 0
			case 1: // mostly 1
				if after == (rng.IntN(8) > 0) {
					return 0
				}
				return 1
			case 2:
				if after && rng.IntN(2) == 0 {
					return math.NaN()
				}
			case 3:
				if after {
					return x * 1e9
				}
			}
			return x
		}
		c := small()
		c.Distance = []Distance{JensenShannon, LInfinity, PSI, KS}[seed%4]
		f := newFleet(t, c, w.model())
		f.Hurry(150)
		for range 160 {
			for _, a := range w.feed(f, 1) {
				said++
				kinds[string(a.Kind)+" "+a.Column]++
				if a.Over != 0 {
					ends++
				}
				if nonsense.MatchString(a.Text) || math.IsInf(a.Threshold, 0) || math.IsNaN(a.Value) || math.IsNaN(a.Worst) {
					t.Errorf("seed %d: %s (value %v, worst %v, threshold %v)", seed, a.Text, a.Value, a.Worst, a.Threshold)
				}
			}
			if _, err := json.Marshal(f.Readings()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if said < 100 || ends < 20 || len(kinds) < 5 {
		t.Errorf("only %d texts, %d of alarms that are over, of %v", said, ends, kinds)
	}
}

func TestCellsInWords(t *testing.T) {
	inf, below0, below1 := math.Inf(1), math.Nextafter(0, -1), math.Nextafter(1, 0)
	for _, c := range []struct {
		cell Cell
		want string
	}{
		{Cell{Low: below0, High: 0}, "values of 0"}, {Cell{Low: -inf, High: below0}, "values below 0"}, {Cell{Low: below0, High: 2}, "values from 0 to 2"},
		{Cell{Low: below1, High: inf}, "values of 1 or more"}, {Cell{Low: below1, High: 1}, "values of 1"}, {Cell{Low: 1, High: 2}, "values from 1 to 2"},
		{Cell{Low: -inf, High: 0.5}, "values up to 0.5"}, {Cell{Low: 0.125, High: inf}, "values above 0.125"}, {Cell{Low: -inf, High: inf}, "values"},
		{Cell{Text: missingText}, "missing values"}, {Cell{Text: othersText}, "texts that are rare or new"}, {Cell{Text: "a\nb"}, `"a\nb"`},
	} {
		if got := c.cell.name(); got != c.want {
			t.Errorf("%+v: %q, want %q", c.cell, got, c.want)
		}
	}
	if got := threshold(inf); strings.Contains(got, "Inf") || got == "" {
		t.Error(got)
	}
}

// TestANewTextIsNamed: a column that says which entity a row is about moves when
// there is an entity that the version has not learned, and the alarm says which. It
// does not move before that, however many days are looked at.
func TestANewTextIsNamed(t *testing.T) {
	w := &world{columns: 1, rows: 4, learned: 100}
	c := small()
	f := newFleet(t, c, w.model())
	f.Hurry(300)
	var text string
	for at := range 200 {
		ps, _ := w.next()
		if at >= 150 {
			ps = append(ps, ps[0])
			ps[4].ID += "-new"
		}
		for i := range ps {
			ps[i].Vector[0] = expr.StringValue([]string{"AAPL", "IBM", "INTC", "MSFT", "GOOG"}[i])
			f.Predicted(&ps[i])
		}
		for _, a := range f.Tick(int64(w.hourly) * hour) {
			if a.Column == "a.text" {
				if at < 150 {
					t.Errorf("hour %d: %s", at, a.Text)
				}
				text = a.Text
			}
		}
	}
	if !strings.Contains(text, `most of all texts that are rare or new, as "GOOG" (20 % now, 0 % then)`) {
		t.Errorf("it says %q", text)
	}
}
