package bundle

import (
	"cmp"
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/trainer/learn"
)

// A Form is what a transform makes of a vector.
type Form string

// The forms.
const (
	// Scaled is for online learners: see Transform.
	Scaled Form = ""
	// Categories is for trees: a dense value for each input. A number stays as it is,
	// because scaling would move it across the thresholds of a tree by its rounding.
	// A bool is 0 or 1, and a text the number of its category. NaN is missing.
	Categories Form = "categories"
	// Plain is for models of other programs: numbers as they are, NaN where missing,
	// as dense values, and texts as texts, each in the order of the inputs.
	Plain Form = "plain"
)

// MaxCategories is how many texts of a column have a category of their own. All
// others share one more, so that an identifier of millions of values costs no
// more than any column.
const MaxCategories = 250

// FitCategories returns a transform of form Categories of rows, each of which is
// a vector of the inputs. The categories of a text column are its MaxCategories
// most frequent texts, the most frequent first and among equals by their bytes.
// It panics where inputs fail CheckInputs or a row fails CheckVector.
func FitCategories(inputs []Input, rows iter.Seq[[]features.Value]) *Transform {
	t := newTransform(Categories, inputs)
	counts := make([]map[string]int, len(inputs))
	for x := range rows {
		if err := t.Check(x); err != nil {
			panic(err)
		}
		for i, v := range x {
			if v.Kind != expr.String {
				continue
			}
			if counts[i] == nil {
				counts[i] = map[string]int{}
			}
			counts[i][validText(v.Str)]++
		}
	}
	for i := range t.columns {
		t.columns[i].setCategories(frequent(counts[i], MaxCategories))
	}
	return t
}

// frequent returns the n most frequent keys.
func frequent(counts map[string]int, n int) []string {
	type text struct {
		text  string
		count int
	}
	all := make([]text, 0, len(counts))
	for s, c := range counts {
		all = append(all, text{s, c})
	}
	slices.SortFunc(all, func(a, b text) int { return cmp.Or(cmp.Compare(b.count, a.count), strings.Compare(a.text, b.text)) })
	var out []string
	for _, s := range all[:min(n, len(all))] {
		out = append(out, s.text)
	}
	return out
}

// NewPlain returns the transform of form Plain, which nothing is fitted of. It
// panics where inputs fail CheckInputs.
func NewPlain(inputs []Input) *Transform { return newTransform(Plain, inputs) }

func newTransform(form Form, inputs []Input) *Transform {
	if err := CheckInputs(inputs); err != nil {
		panic(err)
	}
	t := &Transform{form: form}
	for _, in := range inputs {
		t.add(column{name: in.Name, kind: in.Kind})
	}
	return t
}

// Form returns what the transform makes of a vector.
func (t *Transform) Form() Form { return t.form }

// Categories returns how many categories each input has, the one of all other
// texts included: 0 of what is no text.
func (t *Transform) Categories() []int {
	counts := make([]int, len(t.columns))
	for i := range t.columns {
		if c := &t.columns[i]; c.kind == expr.String {
			counts[i] = len(c.categories) + 1
		}
	}
	return counts
}

func (c *column) setCategories(texts []string) {
	c.categories, c.category = texts, make(map[string]int, len(texts))
	for i, s := range texts {
		c.category[s] = i
	}
}

// checkCategories reports what is wrong with a column's categories in a file.
func checkCategories(form Form, c *columnFile, kind features.Kind) error {
	if len(c.Categories) > 0 && (form != Categories || kind != expr.String) || len(c.Categories) > MaxCategories {
		return fmt.Errorf("column %q of kind %s has %d categories", c.Name, c.Kind, len(c.Categories))
	}
	seen := map[string]bool{}
	for _, s := range c.Categories {
		if seen[s] {
			return fmt.Errorf("column %q has the category %q twice", c.Name, s)
		}
		seen[s] = true
	}
	return nil
}

// raw sets dst to the row of a vector in the form Categories or Plain.
func (t *Transform) raw(dst *learn.Row, x []features.Value) {
	for i := range t.columns {
		c, v := &t.columns[i], x[i]
		switch n, ok := number(v); {
		case c.kind != expr.String && ok:
			dst.Dense = append(dst.Dense, n)
		case c.kind == expr.String && t.form == Plain:
			dst.Texts = append(dst.Texts, validText(v.Str)) // "" where it is missing
		case c.kind == expr.String && v.Kind == expr.String:
			dst.Dense = append(dst.Dense, float64(c.categoryOf(v.Str)))
		default:
			dst.Dense = append(dst.Dense, math.NaN())
		}
	}
}

func (c *column) categoryOf(text string) int {
	if i, ok := c.category[validText(text)]; ok {
		return i
	}
	return len(c.categories)
}

// validText is what is kept of a text with the prediction, and so is learned
// from: each byte that is none of a character is U+FFFD.
func validText(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return string([]rune(s))
}

// ByInput adds up what the values of a row have contributed by input: parts are
// learn.Explainer's of the row, and all but the last of them are used. It returns
// a number for each input.
func (t *Transform) byInput(parts []float64) []float64 {
	dense, hashed := 0, t.dense
	sums := make([]float64, len(t.columns))
	for i := range t.columns {
		switch {
		case t.form == Scaled && t.columns[i].kind == expr.String:
			sums[i] = parts[hashed]
			hashed++
		case t.form == Scaled:
			sums[i] = parts[dense] + parts[dense+1] // the value, and that it is missing
			dense += 2
		default:
			sums[i] = parts[i]
		}
	}
	return sums
}
