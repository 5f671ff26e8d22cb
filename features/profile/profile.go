// Package profile describes the columns of a data set by what one pass over its
// rows leaves: counts, moments, a histogram, the number of distinct values and
// the most frequent texts. Its memory does not grow with the rows. Profiles of
// parts can be merged, and divergences say how far two of them are apart.
//
// The sketches are our own, as what is needed of them is small. Numbers are
// counted by the first bits of their representation, which gives exact counts,
// whatever the order, of buckets that are less than 1.6 % wide. Distinct values
// are estimated by HyperLogLog with 4096 registers (Flajolet et al. 2007, with
// the estimator of Ertl 2017), which is the same whatever the order and has a
// standard error of 1.6 %. Frequent texts are a Misra-Gries summary (mergeable
// as in Agarwal et al. 2012), which is exact up to 1024 texts. Only beyond that,
// and in the last bits of mean and std, does the order of rows or of merges
// matter.
package profile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/millrace/millrace/features"
)

// A Column is what a Builder has to know of a column.
type Column struct {
	Name string
	Kind features.Kind
}

// A Profile is the statistics of a data set. As JSON it is the same, byte for
// byte, for the same rows in the same order, and reads back as it was.
type Profile struct {
	Rows    int64   `json:"rows"`
	Columns []Stats `json:"columns"`
	Label   *Stats  `json:"label,omitempty"` // what is to be predicted, where there is one
}

// Column returns the statistics of the column of that name, or nil.
func (p *Profile) Column(name string) *Stats {
	for i := range p.Columns {
		if p.Columns[i].Name == name {
			return &p.Columns[i]
		}
	}
	return nil
}

// Stats are the statistics of one column.
type Stats struct {
	Name      string `json:"name"`
	Kind      string `json:"kind"`      // of a Column: bool, int, float, string or time
	Count     int64  `json:"count"`     // values of that kind, which the rest is about
	Missing   int64  `json:"missing"`   // values that are not there
	Nonfinite int64  `json:"nonfinite"` // NaN and infinities, which are in no other count
	Mistyped  int64  `json:"mistyped"`  // values of another kind; an int is a float as well

	// Distinct is exact for bools and for up to 1024 texts, else an estimate.
	Distinct int64 `json:"distinct"`

	Numbers   *Numbers `json:"numbers,omitempty"`    // of ints, floats and times (in microseconds), if Count > 0
	TrueShare *float64 `json:"true_share,omitempty"` // of bools, if Count > 0

	// Top are the most frequent texts (of a bool: true and false), by falling
	// count and then by text. Their counts may be too low by TopError.
	Top      []Top `json:"top,omitempty"`
	TopError int64 `json:"top_error,omitempty"`
}

// Rows returns how many rows the statistics are of.
func (s *Stats) Rows() int64 { return s.Count + s.Missing + s.Nonfinite + s.Mistyped }

// Present returns the share of rows that have a value, of whatever kind; 0
// where there are no rows.
func (s *Stats) Present() float64 {
	if s.Rows() == 0 {
		return 0
	}
	return 1 - float64(s.Missing)/float64(s.Rows())
}

// Numbers are the statistics of a column of numbers. An int beyond 2^53 is
// rounded to a double. A mean or a deviation that no double can hold is the
// largest double.
type Numbers struct {
	Mean      float64  `json:"mean"`
	Std       float64  `json:"std"` // of the population: divided by the count
	Min       float64  `json:"min"`
	Max       float64  `json:"max"`
	Zeros     int64    `json:"zeros"`
	Histogram []Bucket `json:"histogram"`
}

// A Top is a text and how often it came.
type Top struct {
	Text  string `json:"text"`
	Count int64  `json:"count"`
}

// maxText bounds what of a text is kept: what is longer is not a category.
const maxText = 128

// clip returns the text as which s is counted: s itself, or what tells a long
// text from others.
func clip(s string) string {
	if len(s) <= maxText {
		return s
	}
	return fmt.Sprintf("%s… (%d bytes, %016x)", bytes.ToValidUTF8([]byte(s[:maxText/2]), nil), len(s), hashText(s))
}

// Other is the text under which Shares counts all texts that are not in Top. A
// text that is spelled like it is counted with them.
const Other = "(other texts)"

// Shares returns the counts of texts, or of bools, by text, for LInfinity.
func (s *Stats) Shares() map[string]float64 {
	shares := make(map[string]float64, len(s.Top)+1)
	rest := s.Count
	for _, t := range s.Top {
		shares[t.Text] += float64(t.Count)
		rest -= t.Count
	}
	if rest > 0 {
		shares[Other] += float64(rest)
	}
	return shares
}

// Histogram returns the column's numbers and its missing values, for
// JensenShannonHistograms.
func (s *Stats) Histogram() Histogram {
	h := Histogram{Missing: s.Missing}
	if s.Numbers != nil {
		h.Buckets = s.Numbers.Histogram
	}
	return h
}

// maxProfile bounds the JSON that Parse takes, in bytes: 1024 columns with
// hundreds of buckets or texts each are less.
const maxProfile = 64 << 20

// Parse reads a profile from its JSON. Unknown keys are errors, and so are
// numbers that no data set has.
func Parse(text []byte) (*Profile, error) {
	if len(text) > maxProfile {
		return nil, fmt.Errorf("profile: %d bytes of JSON: at most %d are read", len(text), maxProfile)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	p := new(Profile)
	if err := d.Decode(p); err != nil {
		return nil, fmt.Errorf("profile: not the JSON of a profile: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("profile: not the JSON of a profile: something follows it")
	}
	return p, p.check()
}

func (p *Profile) check() error {
	all := p.Columns
	if p.Label != nil {
		all = append(all[:len(all):len(all)], *p.Label)
	}
	seen := make(map[string]bool, len(p.Columns))
	for i := range all {
		s := &all[i]
		if i < len(p.Columns) && seen[s.Name] {
			return fmt.Errorf("profile: column %q is there twice", s.Name)
		}
		seen[s.Name] = true
		if err := s.check(p.Rows); err != nil {
			return fmt.Errorf("profile: column %q: %w", s.Name, err)
		}
	}
	return nil
}

func (s *Stats) check(rows int64) error {
	if min(s.Count, s.Missing, s.Nonfinite, s.Mistyped, s.Distinct) < 0 || s.Rows() != rows {
		return fmt.Errorf("its values are %d, missing ones included, and the rows are %d", s.Rows(), rows)
	}
	if (s.Numbers != nil) != (s.Count > 0 && (s.Kind == "int" || s.Kind == "float" || s.Kind == "time")) {
		return fmt.Errorf("%d values of kind %q, and numbers: %t", s.Count, s.Kind, s.Numbers != nil)
	}
	top := int64(0)
	for _, t := range s.Top {
		if t.Count < 0 || t.Count > s.Count-top {
			return fmt.Errorf("text %q has a count of %d of %d", t.Text, t.Count, s.Count)
		}
		top += t.Count
	}
	if s.Numbers == nil {
		return nil
	}
	mass, last := int64(0), math.Inf(-1)
	for _, b := range s.Numbers.Histogram {
		if !(b.Low >= last && b.High >= b.Low) || b.Count < 0 || b.Count > s.Count-mass {
			return fmt.Errorf("bucket [%g, %g] with count %d does not fit", b.Low, b.High, b.Count)
		}
		mass, last = mass+b.Count, b.High
	}
	if mass != s.Count {
		return fmt.Errorf("its histogram counts %d of %d values", mass, s.Count)
	}
	return nil
}
