package dataset

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/features/profile"
)

// Validate returns what is wrong with a data set, errors first: against the
// schema, and against the profile of the last accepted one, if accepted is not
// nil. Columns that the schema does not know are checked by its defaults.
func Validate(schema *Schema, now *Summary, accepted *profile.Profile) []Anomaly {
	if now.Profile.Rows == 0 {
		return []Anomaly{{Kind: Empty, Level: Error, Detail: "it has no rows"}}
	}
	if accepted == nil {
		accepted = new(profile.Profile)
	}
	v := &validation{schema: schema, now: now, accepted: accepted}
	v.rows()
	v.columns()
	v.drifts()
	v.label()
	slices.SortStableFunc(v.found, func(a, b Anomaly) int { return strings.Compare(a.Level, b.Level) })
	return v.found
}

// A validation is one run of Validate.
type validation struct {
	schema   *Schema
	now      *Summary
	accepted *profile.Profile
	found    []Anomaly
}

// add notes an anomaly; without a level there is none.
func (v *validation) add(column, kind, level, format string, args ...any) {
	if level != "" {
		v.found = append(v.found, Anomaly{column, kind, level, fmt.Sprintf(format, args...)})
	}
}

func (v *validation) rows() {
	if rows, least := v.now.Profile.Rows, v.schema.Rows.Min; rows < least {
		v.add("", TooFewRows, Error, "%d rows, and the schema asks for %d", rows, least)
	}
}

func (v *validation) columns() {
	for i := range v.schema.Columns {
		if c := &v.schema.Columns[i]; v.now.Profile.Column(c.Name) == nil {
			v.add(c.Name, MissingColumn, Error, "the schema has it, and the data set does not")
		}
	}
	for i := range v.now.Profile.Columns {
		s := &v.now.Profile.Columns[i]
		rule, known := v.rule(s)
		if !known {
			v.add(s.Name, NewColumn, Warning, "the schema does not have it; add it there")
		}
		v.values(&rule, s)
		v.leak(&rule, i)
	}
}

// rule returns what is expected of a column, and whether the schema says so.
func (v *validation) rule(s *profile.Stats) (rule Column, known bool) {
	for i := range v.schema.Columns {
		if v.schema.Columns[i].Name == s.Name {
			return v.schema.Columns[i], true
		}
	}
	return defaultColumn(s.Name, s.Kind), false
}

// values checks what the column says of itself.
func (v *validation) values(rule *Column, s *profile.Stats) {
	if s.Kind != rule.Type {
		v.add(s.Name, Type, Error, "it is %s, and the schema says %s", s.Kind, rule.Type)
	} else if s.Mistyped > 0 {
		v.add(s.Name, Type, Error, "%d of %d values are not %s", s.Mistyped, s.Rows(), s.Kind)
	}
	if present := s.Present(); present < rule.Presence {
		v.add(s.Name, Presence, Error, "%s of the rows have a value, and the schema asks for %s", percent(present), percent(rule.Presence))
	}
	if share := float64(s.Nonfinite) / float64(s.Rows()); share > rule.Nonfinite {
		v.add(s.Name, Nonfinite, Error, "%d of %d values are NaN or infinite", s.Nonfinite, s.Rows())
	}
	switch {
	case s.Missing == s.Rows():
		v.add(s.Name, Constant, Warning, "all its values are missing")
	case s.Rows() > 1 && s.Count == s.Rows() && constant(s):
		v.add(s.Name, Constant, Warning, "all %d values are equal", s.Count)
	}
	if n := s.Numbers; n != nil {
		if rule.Min != nil && n.Min < *rule.Min {
			v.add(s.Name, Range, Error, "its least value is %g, and the schema's min %g", n.Min, *rule.Min)
		}
		if rule.Max != nil && n.Max > *rule.Max {
			v.add(s.Name, Range, Error, "its largest value is %g, and the schema's max %g", n.Max, *rule.Max)
		}
	}
	v.domain(rule, s)
}

func constant(s *profile.Stats) bool {
	if s.Numbers != nil {
		return s.Numbers.Min == s.Numbers.Max
	}
	return s.Distinct == 1
}

// domain checks the texts that come often: those that the profile does not
// name count as outside.
func (v *validation) domain(rule *Column, s *profile.Stats) {
	if len(rule.Domain) == 0 || s.Kind != expr.String.String() || s.Count == 0 {
		return
	}
	inside := int64(0)
	example := profile.Other
	for _, t := range slices.Backward(s.Top) {
		if slices.Contains(rule.Domain, t.Text) {
			inside += t.Count
		} else {
			example = t.Text
		}
	}
	share := 1 - float64(inside)/float64(s.Count)
	v.add(s.Name, Domain, rule.Outside.level(share), "%s of the values are not in the schema's domain, as %q", percent(share), example)
}

// leak is an error where the label is 0 or 1. Another label may rightly be
// ordered as a column is: the price of tomorrow is nearly that of today.
func (v *validation) leak(rule *Column, i int) {
	if rule.Leak == nil {
		return
	}
	level := Warning
	what := "whether the label is above its median"
	if v.now.binary {
		level, what = Error, "the label"
	}
	if auc := v.now.leak(i); auc >= *rule.Leak {
		v.add(v.now.Profile.Columns[i].Name, Leak, level, "it alone tells %s with an AUC of %.4f, and the schema allows less than %g: was it known when the prediction was made?", what, auc, *rule.Leak)
	}
}

func (v *validation) label() {
	rule, s := v.schema.Label, v.now.Profile.Label
	switch {
	case rule == nil:
		return
	case s == nil:
		v.add(labelName, MissingColumn, Error, "the schema has a label, and no row does")
		return
	case s.Numbers.Min == s.Numbers.Max:
		v.add(labelName, LabelOneClass, Error, "all %d labels are %g: there is nothing to learn", s.Count, s.Numbers.Min)
	}
	if s.Nonfinite > 0 {
		v.add(labelName, Nonfinite, Error, "%d of %d labels are NaN or infinite", s.Nonfinite, s.Rows())
	}
	v.labelValues(rule, s)
	if mean, r := s.Numbers.Mean, rule.Rate; r != nil && (r.Min != nil && mean < *r.Min || r.Max != nil && mean > *r.Max) {
		v.add(labelName, LabelDrift, Warning, "its mean is %.4g, outside the rate that the schema gives", mean)
	}
	if before := v.accepted.Label; before != nil && before.Count > 0 && rule.Drift != nil {
		if d := between(s, before); d.excess() > *rule.Drift {
			v.add(labelName, LabelDrift, Warning, "%s from the last accepted data set; its mean was %.4g and is %.4g", d, before.Numbers.Mean, s.Numbers.Mean)
		}
	}
}

// labelValues finds labels outside the schema's: those of a few values are
// whole buckets of the histogram, and the ends are exact.
func (v *validation) labelValues(rule *Label, s *profile.Stats) {
	if len(rule.Values) == 0 {
		return
	}
	for _, end := range [2]float64{s.Numbers.Min, s.Numbers.Max} {
		if !slices.Contains(rule.Values, end) {
			v.add(labelName, Domain, Error, "there is a label %g, and the schema has %v", end, rule.Values)
			return
		}
	}
	for _, b := range s.Numbers.Histogram {
		if !slices.ContainsFunc(rule.Values, func(x float64) bool { return x >= b.Low && x <= b.High }) {
			v.add(labelName, Domain, Error, "there are labels between %g and %g, and the schema has %v", b.Low, b.High, rule.Values)
			return
		}
	}
}

func percent(share float64) string {
	return fmt.Sprintf("%.4g %%", 100*math.Round(share*1e4)/1e4)
}
