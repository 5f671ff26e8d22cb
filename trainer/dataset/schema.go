package dataset

import (
	"fmt"
	"math"

	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/features/profile"
)

// A Schema is what people expect of a data set. What it leaves out is not
// checked.
type Schema struct {
	Rows    Rows     `yaml:"rows"`
	Label   *Label   `yaml:"label,omitempty"` // nil: there is none
	Columns []Column `yaml:"columns"`
}

// Rows bounds the number of rows.
type Rows struct {
	Min int64 `yaml:"min"`
}

// A Label is what is expected of the label.
type Label struct {
	Values []float64 `yaml:"values,omitempty,flow"` // empty: any finite number
	Rate   *Between  `yaml:"rate,omitempty,flow"`   // of the mean; of labels 0 and 1, the base rate
	Drift  *float64  `yaml:"drift,omitempty"`       // divergence beyond which there is a warning
}

// Between are two ends, which belong to it. A nil one is not there.
type Between struct {
	Min *float64 `yaml:"min,omitempty"`
	Max *float64 `yaml:"max,omitempty"`
}

// A Column is what is expected of one column.
type Column struct {
	Name      string   `yaml:"name"`
	Type      string   `yaml:"type"` // bool, int, float, string or time
	Presence  float64  `yaml:"presence"`
	Nonfinite float64  `yaml:"nonfinite,omitempty"`
	Domain    []string `yaml:"domain,omitempty,flow"`
	Outside   *Levels  `yaml:"outside,omitempty,flow"`
	Min       *float64 `yaml:"min,omitempty"`
	Max       *float64 `yaml:"max,omitempty"`
	Drift     *Levels  `yaml:"drift,omitempty,flow"`
	Leak      *float64 `yaml:"leak,omitempty"`
}

// Levels say beyond which value, from 0 to 1, there is a warning, and beyond
// which an error.
type Levels struct {
	Warn  float64 `yaml:"warn"`
	Error float64 `yaml:"error"`
}

// level returns the level that x is beyond, or nothing.
func (l *Levels) level(x float64) string {
	switch {
	case l == nil:
		return ""
	case x > l.Error:
		return Error
	case x > l.Warn:
		return Warning
	}
	return ""
}

const (
	// Half of what was seen at first is no longer the same data set.
	inferredRows = 0.5

	// A column with a tenth less than it had at first has lost a source, if the
	// first ones were not more by chance: by three standard deviations.
	inferredPresence   = 0.9
	presenceDeviations = 3

	// Texts are a category, which has a domain, if there are few of them and each
	// comes often enough that the next data set has no others.
	maxDomain    = 50
	minPerDomain = 10

	// One column that orders 98 of 100 pairs is too good to be known in time.
	leakAUC = 0.98

	// For labels of 0 and 1 it is a base rate of one half that falls to one tenth.
	labelDrift = 0.15
)

// defaultDrift returns the default levels of drift. The divergence of numbers
// is at most 0.33 between one training set of the demo, which has two crashes
// in it, and the next, and at least 0.79 if a column is a hundred times as large
// or moved by five standard deviations (TestShiftedColumnIsStopped). A text or a
// bool of which half of the rows have become another is no longer the same.
func defaultDrift(kind string) Levels {
	if kind == expr.String.String() || kind == expr.Bool.String() {
		return Levels{Warn: 0.1, Error: 0.5}
	}
	return Levels{Warn: 0.2, Error: 0.7}
}

// defaultOutside lets new texts come, as a stock that goes public does, until
// most are new. No text outside the domain goes without a warning.
var defaultOutside = Levels{Warn: 0, Error: 0.5}

// Infer returns a schema that s satisfies: types, how often values are present,
// small sets of texts, and the default thresholds. It infers no ranges, as the
// next data set may rightly exceed those of the first.
func Infer(s *Summary) *Schema {
	schema := &Schema{Rows: Rows{Min: max(int64(inferredRows*float64(s.Profile.Rows)), 1)}}
	if s.Profile.Label != nil {
		schema.Label = &Label{Drift: new(labelDrift)}
		if s.binary {
			schema.Label.Values = []float64{0, 1}
		}
	}
	for i := range s.Profile.Columns {
		schema.Columns = append(schema.Columns, inferColumn(&s.Profile.Columns[i]))
	}
	return schema
}

func inferColumn(s *profile.Stats) Column {
	c := defaultColumn(s.Name, s.Kind)
	c.Presence = s.Present()
	if p := c.Presence; s.Missing > 0 {
		deviation := math.Sqrt(p * (1 - p) / float64(s.Rows()))
		c.Presence = max(inferredPresence*(p-presenceDeviations*deviation), 0)
	}
	if s.Rows() > 0 {
		c.Nonfinite = float64(s.Nonfinite) / float64(s.Rows())
	}
	if n := int64(len(s.Top)); s.Kind == expr.String.String() && n > 0 && n == s.Distinct && n <= min(maxDomain, s.Count/minPerDomain) {
		for _, t := range s.Top {
			c.Domain = append(c.Domain, t.Text)
		}
		c.Outside = new(defaultOutside)
	}
	return c
}

// defaultColumn is what is expected of a column of which nothing is known. Time
// always moves on: it has no drift.
func defaultColumn(name, kind string) Column {
	c := Column{Name: name, Type: kind, Leak: new(leakAUC)}
	if kind != expr.Time.String() {
		c.Drift = new(defaultDrift(kind))
	}
	return c
}

// check returns the path of the first value that makes no sense, and why.
func (s *Schema) check() (path string, err error) {
	if s.Rows.Min < 0 {
		return "$.rows.min", fmt.Errorf("rows.min is %d: give 0 or more", s.Rows.Min)
	}
	if l := s.Label; l != nil && l.Drift != nil && !isShare(*l.Drift) {
		return "$.label.drift", fmt.Errorf("drift is %g: give 0 to 1", *l.Drift)
	}
	if l := s.Label; l != nil && l.Rate != nil && !ordered(l.Rate.Min, l.Rate.Max) {
		return "$.label.rate", fmt.Errorf("rate has a min above its max, or one that is no number")
	}
	seen := make(map[string]bool, len(s.Columns))
	for i := range s.Columns {
		key, err := s.Columns[i].check()
		if err == nil && seen[s.Columns[i].Name] {
			key, err = "name", fmt.Errorf("it is there twice")
		}
		if err != nil {
			return fmt.Sprintf("$.columns[%d].%s", i, key), fmt.Errorf("column %q: %w", s.Columns[i].Name, err)
		}
		seen[s.Columns[i].Name] = true
	}
	return "", nil
}

// check returns the key of the first value that makes no sense, and why.
func (c *Column) check() (key string, err error) {
	known := map[string]bool{"bool": true, "int": true, "float": true, "string": true, "time": true}
	numeric := c.Type == "int" || c.Type == "float" || c.Type == "time"
	switch {
	case c.Name == "":
		return "name", fmt.Errorf("give it a name")
	case !known[c.Type]:
		return "type", fmt.Errorf("type is %q: give bool, int, float, string or time", c.Type)
	case !isShare(c.Presence):
		return "presence", fmt.Errorf("presence is %g: give 0 to 1, the least share of rows with a value", c.Presence)
	case !isShare(c.Nonfinite):
		return "nonfinite", fmt.Errorf("nonfinite is %g: give 0 to 1, the largest share of NaN and infinities", c.Nonfinite)
	case len(c.Domain) > 0 && c.Type != "string":
		return "domain", fmt.Errorf("a domain is of texts, and its type is %s", c.Type)
	case len(c.Domain) == 0 && c.Outside != nil:
		return "outside", fmt.Errorf("outside needs a domain")
	case !numeric && (c.Min != nil || c.Max != nil):
		return c.end(), fmt.Errorf("min and max are of numbers, and its type is %s", c.Type)
	case !ordered(c.Min, c.Max):
		return c.end(), fmt.Errorf("min is above max, or one is no number")
	case !c.Outside.ordered():
		return "outside", fmt.Errorf("outside is {warn: %g, error: %g}: give 0 <= warn <= error <= 1", c.Outside.Warn, c.Outside.Error)
	case !c.Drift.ordered():
		return "drift", fmt.Errorf("drift is {warn: %g, error: %g}: give 0 <= warn <= error <= 1", c.Drift.Warn, c.Drift.Error)
	case c.Leak != nil && !(*c.Leak > 0.5 && *c.Leak <= 1):
		return "leak", fmt.Errorf("leak is %g: give an AUC above 0.5, at most 1, or remove it", *c.Leak)
	}
	return "", nil
}

// end returns which of min and max is there, min if both are.
func (c *Column) end() string {
	if c.Min == nil {
		return "max"
	}
	return "min"
}

func isShare(x float64) bool { return x >= 0 && x <= 1 }

// ordered reports whether two ends are finite and in their order, if there.
func ordered(low, high *float64) bool {
	for _, end := range [2]*float64{low, high} {
		if end != nil && !finite(*end) {
			return false
		}
	}
	return low == nil || high == nil || *low <= *high
}

func (l *Levels) ordered() bool {
	return l == nil || isShare(l.Warn) && isShare(l.Error) && l.Warn <= l.Error
}
