package features

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/millrace/millrace/features/expr"
)

// Limits of one view. They bound the size of a row and the time of a compile.
const (
	maxFeatures = 256
	maxDerive   = 64
	maxFields   = 256
	maxInputs   = 64      // of one exact window: a bit of a word each
	maxRowBytes = 4 << 20 // with every tile there: a lookup reads it, and a commit may write it
	maxName     = 150     // of a source and its entity's fields together, which make the name of a topic
)

// stateVersion changes when the same view gives other rows than before.
const stateVersion = "1"

// Compile checks a view against its source and returns the plan to run it. It
// is the only way to a Plan. The error is a Faults with everything that is
// wrong; paths start at "sources", <name> and "views", <name>.
func Compile(clock Clock, src Source, v View) (*Plan, error) {
	c := compiler{plan: &Plan{Clock: clock, id: -1, ids: -1}}
	c.source(src)
	c.view(v)
	if len(c.faults) > 0 {
		return nil, c.faults
	}
	c.layout()
	c.sizes()
	if len(c.faults) > 0 {
		return nil, c.faults
	}
	c.fingerprints()
	return c.plan, nil
}

type compiler struct {
	plan   *Plan
	faults Faults
	vars   []expr.Variable // fields, then derivations
}

func (c *compiler) fault(path []string, format string, args ...any) {
	c.faults = append(c.faults, Fault{Path: path, Problem: fmt.Sprintf(format, args...)})
}

// NamePattern is what names of projects, sources, views, fields and features
// look like. It keeps them usable as columns, topics and CEL identifiers.
var NamePattern = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]{0,63}$`)

func (c *compiler) name(path []string, name string) {
	if !NamePattern.MatchString(name) {
		c.fault(path, "name %q: use a letter or _, then letters, digits and _, at most 64 in all", name)
	}
}

func (c *compiler) source(s Source) {
	s = s.WithDefaults()
	s.Fields = s.EventFields()
	path := func(keys ...string) []string { return append([]string{"sources", s.Name}, keys...) }
	c.name(path(), s.Name)
	if s.EventTime == "" {
		c.fault(path("event_time"), "missing; name the field that holds the time at which the event happened")
	}
	c.sourceFields(s, path)
	if s.Format != "json" && s.Format != "csv" {
		c.fault(path("format"), "%q is not known; use json or csv", s.Format)
	}
	if s.Topic == "" || len(s.Topic) > 200 || strings.Trim(s.Topic, topicRunes) != "" {
		c.fault(path("topic"), "%q is not a topic name; use letters, digits, '.', '_' and '-', at most 200", s.Topic)
	}
	if s.Partitions < 1 || s.Partitions > 1024 {
		c.fault(path("partitions"), "%d: give 1 to 1024", s.Partitions)
	}
	c.sourceTimes(s, path)
	c.plan.Source = s
	c.plan.lateness = s.Lateness.Microseconds()
	c.plan.maxAhead = s.MaxAhead.Microseconds()
	c.plan.maxJump = s.MaxJump.Microseconds()
}

const topicRunes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

func (c *compiler) sourceFields(s Source, path func(...string) []string) {
	p := c.plan
	p.fields = s.Fields
	if len(s.Fields) > maxFields {
		c.fault(path("fields"), "%d fields; at most %d", len(s.Fields), maxFields)
	}
	for i, f := range s.Fields {
		if f.Name == "" && s.EventTime == "" {
			continue // the missing event time, already reported
		}
		c.name(path("fields", f.Name), f.Name)
		if f.Kind == expr.Missing || f.Kind > expr.Time || f.Unit > EpochMicros {
			c.fault(path("fields", f.Name), "has no type; use string, int, float, bool or a time")
		}
		if f.Name == "request" {
			c.fault(path("fields", f.Name), "request is what on_demand calls the caller's values; use another name")
		}
		if c.field(f.Name) != i {
			c.fault(path("fields", f.Name), "listed twice")
		}
		c.vars = append(c.vars, expr.Variable{Name: f.Name, Kind: f.Kind})
	}
	if i := c.field(s.EventTime); i >= 0 && p.fields[i].Kind != expr.Time {
		c.fault(path("event_time"), "%s is a %v; use a time, time_s, time_ms or time_us", s.EventTime, p.fields[i].Kind)
	} else if i >= 0 && p.fields[i].Optional {
		c.fault(path("event_time"), "%s may be absent; the event time must not have the ?", s.EventTime)
	}
	c.keyFields(path("keyed_by"), s.KeyedBy)
	if s.ID != "" {
		p.id = c.keyFields(path("id"), []string{s.ID})[0]
	}
	if s.Dedup != 0 && s.ID == "" {
		c.fault(path("dedup"), "needs id: the field that identifies an event")
	}
	if s.Dedup != 0 && s.Dedup < s.Lateness {
		c.fault(path("dedup"), "%v is shorter than lateness, %v: an event as late as that could not be told from its copy; give at least the lateness", s.Dedup, s.Lateness)
	}
}

// keyFields finds fields that make a key, which are strings or ints.
func (c *compiler) keyFields(path []string, names []string) []int {
	at := make([]int, len(names))
	for i, name := range names {
		at[i] = c.field(name)
		switch {
		case at[i] < 0:
			c.fault(path, "%q is not a field of the source%s", name, c.known())
		case slices.Contains(names[:i], name):
			c.fault(path, "%q is listed twice", name)
		case c.plan.fields[at[i]].Kind != expr.String && c.plan.fields[at[i]].Kind != expr.Int:
			c.fault(path, "%q is a %v; keys are strings or ints", name, c.plan.fields[at[i]].Kind)
		}
	}
	return at
}

func (c *compiler) field(name string) int {
	return slices.IndexFunc(c.plan.fields, func(f Field) bool { return f.Name == name })
}

// known lists the names that there are.
func (c *compiler) known() string {
	names := make([]string, 0, len(c.vars))
	for _, v := range c.vars {
		names = append(names, v.Name)
	}
	if len(names) == 0 {
		return ""
	}
	if len(names) > 12 {
		names = append(names[:12], "...")
	}
	return "; there are " + strings.Join(names, ", ")
}

func (c *compiler) sourceTimes(s Source, path func(...string) []string) {
	for _, t := range []struct {
		key string
		d   time.Duration
		min time.Duration
	}{{"dedup", s.Dedup, 0}, {"lateness", s.Lateness, 0}, {"max_ahead", s.MaxAhead, time.Millisecond}, {"max_jump", s.MaxJump, time.Millisecond}} {
		if t.d < t.min || t.d > maxLength || t.d%time.Microsecond != 0 {
			c.fault(path(t.key), "%v: give %v to %v", t.d, t.min, maxLength)
		}
	}
}

func (c *compiler) view(v View) {
	path := func(keys ...string) []string { return append([]string{"views", v.Name}, keys...) }
	c.name(path(), v.Name)
	if v.Source != c.plan.Source.Name {
		c.fault(path("source"), "%q is not the source that the view is compiled with, %q", v.Source, c.plan.Source.Name)
	}
	if n := len(v.Source) + len(strings.Join(v.Entity, ".")); n > maxName {
		c.fault(path("entity"), "the names of the source and of the entity's fields have %d characters together; at most %d", n, maxName)
	}
	v.Features = slices.Clone(v.Features)
	if len(v.Entity) == 0 || len(v.Entity) > 8 {
		c.fault(path("entity"), "give one to eight fields that name what the features are about")
	}
	c.plan.entity = c.keyFields(path("entity"), v.Entity)
	for _, i := range c.plan.entity {
		if i >= 0 && c.plan.fields[i].Optional {
			c.fault(path("entity"), "%q may be absent; an entity's field must not have the ?", c.plan.fields[i].Name)
		}
	}
	if v.Where != "" {
		c.plan.where = c.program(path("where"), Named{"where", v.Where}, c.vars)
		if c.plan.where != nil && c.plan.where.Kind() != expr.Bool {
			c.fault(path("where"), "is a %v; write a condition, as volume > 0", c.plan.where.Kind())
		}
	}
	c.derive(v, path)
	if len(v.Features) == 0 || len(v.Features) > maxFeatures {
		c.fault(path("features"), "give 1 to %d features; there are %d", maxFeatures, len(v.Features))
	}
	outs := c.features(v, path)
	c.onDemand(v, path, outs)
	c.plan.View = v
}

func (c *compiler) program(path []string, n Named, vars []expr.Variable) *program {
	p, err := expr.Compile(n.Expr, vars)
	if err != nil {
		c.fault(path, "%v", err)
		return nil
	}
	return &program{n.Name, p}
}

func (c *compiler) derive(v View, path func(...string) []string) {
	if len(v.Derive) > maxDerive {
		c.fault(path("derive"), "%d derivations; at most %d", len(v.Derive), maxDerive)
	}
	for _, d := range v.Derive {
		c.name(path("derive", d.Name), d.Name)
		if slices.ContainsFunc(c.vars, func(x expr.Variable) bool { return x.Name == d.Name }) {
			c.fault(path("derive", d.Name), "the name is taken by a field or an earlier derivation")
			continue
		}
		if p := c.program(path("derive", d.Name), d, c.vars); p != nil {
			c.plan.derived = append(c.plan.derived, p)
			c.vars = append(c.vars, expr.Variable{Name: d.Name, Kind: p.Kind()})
		}
	}
}

// features checks the features over windows and returns them as variables.
func (c *compiler) features(v View, path func(...string) []string) []expr.Variable {
	outs := make([]expr.Variable, 0, len(v.Features))
	for i, f := range v.Features {
		at := path("features", f.Name)
		c.name(at, f.Name)
		if slices.ContainsFunc(outs, func(x expr.Variable) bool { return x.Name == f.Name }) {
			c.fault(at, "the name is taken by an earlier feature")
		}
		w, err := f.Window.withDefaults()
		if err != nil {
			c.fault(at, "%v", err)
		}
		v.Features[i].Window = w
		kind, problem := c.aggregate(f)
		if problem != "" {
			c.fault(at, "%s", problem)
			kind = expr.Float // so that what uses it is not at fault as well
		}
		outs = append(outs, expr.Variable{Name: f.Name, Kind: kind})
	}
	return outs
}

// aggregate returns the kind of a feature's value, or what is wrong with it.
func (c *compiler) aggregate(f Feature) (Kind, string) {
	i := slices.IndexFunc(aggregations, func(a aggregation) bool { return a.name == f.Agg })
	if i < 0 {
		return expr.Missing, fmt.Sprintf("aggregation %q is not known; there are %s", f.Agg, strings.Join(Aggregations(), ", "))
	}
	agg := &aggregations[i]
	if f.Of == "*" {
		if f.Agg != "count" {
			return expr.Missing, fmt.Sprintf("%s of \"*\": only count takes it; name a field or derivation", f.Agg)
		}
		return expr.Int, ""
	}
	in := slices.IndexFunc(c.vars, func(x expr.Variable) bool { return x.Name == f.Of })
	if in < 0 {
		return expr.Missing, fmt.Sprintf("%q is neither a field nor a derivation%s", f.Of, c.known())
	}
	if k := c.vars[in].Kind; !agg.inputs(k) {
		return expr.Missing, fmt.Sprintf("%s of %s: it is a %v, which has no %s", f.Agg, f.Of, k, f.Agg)
	}
	return agg.result(c.vars[in].Kind), ""
}

func (c *compiler) onDemand(v View, path func(...string) []string, outs []expr.Variable) {
	if len(v.OnDemand) > maxDerive {
		c.fault(path("on_demand"), "%d features; at most %d", len(v.OnDemand), maxDerive)
	}
	p := c.plan
	p.features = len(outs)
	for _, d := range v.OnDemand {
		fields, err := expr.RequestFields(d.Expr)
		if err != nil {
			continue // Compile says it again, with its place
		}
		p.request = append(p.request, fields...)
	}
	slices.Sort(p.request)
	p.request = slices.Compact(p.request)
	vars := slices.Clone(outs)
	for _, r := range p.request {
		vars = append(vars, expr.Variable{Name: "request." + r, Kind: expr.Float})
	}
	for _, o := range outs {
		p.outputs = append(p.outputs, Output{Name: o.Name, Kind: o.Kind})
	}
	for _, d := range v.OnDemand {
		at := path("on_demand", d.Name)
		c.name(at, d.Name)
		if slices.ContainsFunc(p.outputs, func(o Output) bool { return o.Name == d.Name }) {
			c.fault(at, "the name is taken by another feature")
		}
		if prog := c.program(at, d, vars); prog != nil {
			p.onDemand = append(p.onDemand, prog)
			p.outputs = append(p.outputs, Output{Name: d.Name, Kind: prog.Kind()})
		}
	}
}

// hash returns 16 hex digits for the lines.
func hash(lines ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(lines, "\n")))
	return hex.EncodeToString(sum[:8])
}

// fingerprints hashes what determines each value. Names of features do not:
// the same feature under another name is the same feature.
func (c *compiler) fingerprints() {
	p := c.plan
	s, v := &p.Source, &p.View
	base := []string{
		"state " + stateVersion, s.Topic, s.Format, strings.Join(v.Entity, ","), v.Where,
		fmt.Sprint(p.fields[c.field(s.EventTime)], s.Dedup, s.Lateness, s.MaxAhead, s.AllowNonfinite, p.Clock),
	}
	if s.ID != "" {
		base = append(base, fmt.Sprint(p.fields[p.id]))
	}
	if p.Clock == EventClock {
		base = append(base, fmt.Sprint(s.MaxJump))
	}
	if s.Format == "csv" { // the place of a column decides which it is
		base = append(base, fmt.Sprint(s.Fields))
	}
	if p.where != nil {
		for _, u := range p.where.Uses() {
			base = append(base, fmt.Sprint(p.fields[u]))
		}
	}
	state := append(slices.Clone(base), fmt.Sprint(s.Partitions, s.KeyedBy, s.Fields, v.Derive))
	for i, f := range v.Features {
		line := fmt.Sprint(f.Agg, " ", c.definition(f.Of), " ", f.Window)
		p.outputs[i].Fingerprint = hash(append(slices.Clone(base), line)...)
		state = append(state, line)
	}
	all := []string{}
	for i, d := range p.onDemand {
		o := &p.outputs[p.features+i]
		lines := []string{v.OnDemand[i].Expr}
		for _, u := range d.Uses() {
			if u < p.features {
				lines = append(lines, p.outputs[u].Name+" "+p.outputs[u].Fingerprint)
			}
		}
		o.Fingerprint = hash(lines...)
	}
	for _, o := range p.outputs {
		all = append(all, o.Name+" "+o.Fingerprint)
	}
	p.stateID = hash(state...)
	p.ID = hash(append(all, p.stateID)...)
}

// definition spells out what a name stands for, derivations in full.
func (c *compiler) definition(name string) string {
	i := slices.IndexFunc(c.plan.derived, func(p *program) bool { return p.name == name })
	if i < 0 {
		if at := c.field(name); at >= 0 {
			return fmt.Sprint(c.plan.fields[at])
		}
		return name
	}
	text := name + " = " + c.plan.View.Derive[i].Expr
	for _, u := range c.plan.derived[i].Uses() {
		text += "; " + c.definition(c.vars[u].Name)
	}
	return text
}
