package whatif

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
)

// A Fault is what is wrong with a question.
type Fault struct {
	Field   string // as "model", "entity.symbol", "windows.daily.ret_std_30d", "values.daily.last_ret", "request.ret", "as_of", "past"
	Problem string // what is wrong and what to do
}

func (f *Fault) Error() string { return f.Field + ": " + f.Problem }

func faultf(field, format string, args ...any) *Fault {
	return &Fault{field, fmt.Sprintf(format, args...)}
}

// A change is a question that has been understood.
type change struct {
	entity  []features.Value // by Model.Entity
	keys    []string         // of the entity, by view
	asOf    int64            // microseconds; features.NoTime: the newest
	past    int
	all     bool
	plans   []*features.Plan         // by view, after the change
	resized []map[int]bool           // by view: outputs whose window is changed
	values  []map[int]features.Value // by view and output
	request [][]features.Value       // by view and place in Plan.Request
	notes   []string
}

// understand checks a question.
func (m *model) understand(c *Config, q *Question) (*change, error) {
	x := &change{asOf: features.NoTime, past: q.Past, all: q.All}
	switch {
	case q.Past == 0:
		x.past = DefaultPast
	case q.Past < 0:
		x.past = 0
	}
	if most := m.mostPast(); x.past > most {
		return nil, faultf("past", "%d examples; at most %d of this model's vectors are looked at at once", x.past, most)
	}
	if !q.AsOf.IsZero() {
		if y := q.AsOf.Year(); y < 1900 || y > 2200 {
			return nil, faultf("as_of", "%s: give a time between the years 1900 and 2200", q.AsOf.Format(time.RFC3339))
		}
		x.asOf = q.AsOf.UnixMicro()
	}
	for _, step := range []func(*change, *Question) error{m.readEntity, m.readValues, m.readRequest} {
		if err := step(x, q); err != nil {
			return nil, err
		}
	}
	return x, m.readWindows(x, c, q)
}

// maxCells bounds the values of past examples: some 40 MB of them, on either
// side of the comparison.
const maxCells = 4 << 20

func (m *model) mostPast() int { return min(MaxPast, maxCells/max(1, len(m.Inputs))) }

func (m *model) readEntity(x *change, q *Question) error {
	for _, name := range slices.Sorted(maps.Keys(q.Entity)) {
		if !slices.Contains(m.examples.Entity, name) {
			return faultf("entity."+name, "model %s is not about it, but about %s", m.Name, few(m.examples.Entity))
		}
	}
	var err error
	for _, f := range m.Entity {
		text, ok := q.Entity[f.Name]
		if !ok || text == "" {
			return faultf("entity."+f.Name, "missing; model %s is about %s", m.Name, few(m.examples.Entity))
		}
		v, err := parse(text, f.Kind)
		if err != nil {
			return faultf("entity."+f.Name, "%v", err)
		}
		x.entity = append(x.entity, v)
	}
	x.keys, err = m.keys(x.entity)
	if err != nil {
		return faultf("entity", "%v", err)
	}
	return nil
}

// keys returns whom the views are about, of an entity.
func (m *model) keys(entity []features.Value) ([]string, error) {
	keys := make([]string, len(m.views))
	for i, v := range m.views {
		var err error
		if keys[i], err = v.key(entity); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

func (m *model) readValues(x *change, q *Question) error {
	x.values = make([]map[int]features.Value, len(m.views))
	for i := range x.values {
		x.values[i] = map[int]features.Value{}
	}
	for _, name := range slices.Sorted(maps.Keys(q.Values)) {
		p, err := m.find(name)
		if err != nil {
			return faultf("values."+name, "%v", err)
		}
		v, err := parse(q.Values[name], m.views[p.view].Outputs()[p.output].Kind)
		if err != nil {
			return faultf("values."+name, "%v", err)
		}
		x.values[p.view][p.output] = v
	}
	return nil
}

func (m *model) readRequest(x *change, q *Question) error {
	given := map[string]features.Value{}
	for _, name := range slices.Sorted(maps.Keys(q.Request)) {
		v, err := parse(q.Request[name], expr.Float)
		if err != nil {
			return faultf("request."+name, "%v", err)
		}
		given[name] = v
	}
	var known []string
	x.request = make([][]features.Value, len(m.views))
	for i, v := range m.views {
		x.request[i] = make([]features.Value, len(v.Request()))
		for k, name := range v.Request() {
			x.request[i][k] = given[name]
			known = append(known, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(q.Request)) {
		if !slices.Contains(known, name) {
			return faultf("request."+name, "no feature on demand of the model's views uses it; they use %s", few(known))
		}
	}
	return nil
}

// maxText bounds a value, as a lookup would.
const maxText = 4096

// parse reads a value of a kind. An empty text is a missing value.
func parse(text string, kind features.Kind) (features.Value, error) {
	if len(text) > maxText {
		return features.Value{}, fmt.Errorf("%d bytes; at most %d", len(text), maxText)
	}
	if text == "" {
		return features.Value{}, nil
	}
	switch kind {
	case expr.Float:
		if x, err := strconv.ParseFloat(text, 64); err == nil && !math.IsNaN(x) && !math.IsInf(x, 0) {
			return expr.FloatValue(x), nil
		}
		return features.Value{}, fmt.Errorf("%q is not a number", text)
	case expr.Int:
		if x, err := strconv.ParseInt(text, 10, 64); err == nil {
			return expr.IntValue(x), nil
		}
		return features.Value{}, fmt.Errorf("%q is not a whole number", text)
	case expr.Bool:
		if text == "true" || text == "false" {
			return expr.BoolValue(text == "true"), nil
		}
		return features.Value{}, fmt.Errorf("%q: write true or false", text)
	case expr.Time:
		if t, err := time.Parse(time.RFC3339, text); err == nil {
			return expr.TimeValue(t.UnixMicro()), nil
		}
		return features.Value{}, fmt.Errorf("%q: write a time as 2026-03-01T09:30:00Z", text)
	}
	return expr.StringValue(text), nil
}

// readWindows compiles the views with their changed windows.
func (m *model) readWindows(x *change, c *Config, q *Question) error {
	changed := make([]features.View, len(m.views))
	x.resized = make([]map[int]bool, len(m.views))
	for i, v := range m.views {
		x.resized[i] = map[int]bool{}
		changed[i] = v.written
		changed[i].Features = slices.Clone(v.written.Features)
	}
	last := ""
	for _, name := range slices.Sorted(maps.Keys(q.Windows)) {
		p, err := m.find(name)
		if err != nil {
			return faultf("windows."+name, "%v", err)
		}
		v := m.views[p.view]
		if _, ok := x.values[p.view][p.output]; ok {
			return faultf("windows."+name, "it is set to a value, too; give one of both")
		}
		size, err := c.ParseLength(q.Windows[name])
		if err != nil {
			return faultf("windows."+name, "%v", err)
		}
		if err := v.resize(&changed[p.view], p.output, size); err != nil {
			return faultf("windows."+name, "%v", err)
		}
		x.resized[p.view][p.output], last = true, name
	}
	for i, v := range m.views {
		x.plans = append(x.plans, v.Plan)
		if len(x.resized[i]) == 0 {
			continue
		}
		plan, err := features.Compile(v.Clock, v.Source, changed[i])
		if err != nil {
			return faultf("windows."+last, "%s", strings.ReplaceAll(err.Error(), "\n", "; "))
		}
		x.plans[i] = plan
	}
	return nil
}

// resize gives an output's window another length.
func (v *view) resize(changed *features.View, output int, size time.Duration) error {
	if output >= v.windows {
		var of []string
		for _, i := range v.onDemand[output-v.windows].Uses() {
			if i < v.windows {
				of = append(of, v.name(i))
			}
		}
		return fmt.Errorf("it has no window, but is computed on demand of %s; change the windows of those", few(of))
	}
	w := &changed.Features[output].Window
	switch {
	case w.Kind == features.Lifetime:
		return fmt.Errorf("it has no window: it looks back over all events of the entity")
	case size > longest:
		return fmt.Errorf("%s: give at most ten years", lengthText(size))
	case w.Kind == features.Tumbling && size <= w.Offset:
		return fmt.Errorf("%s: give more than the window's offset of %s", lengthText(size), lengthText(w.Offset))
	case w.Kind == features.Tumbling || w.Exact:
	case w.Hop != 0 && size%w.Hop != 0:
		return fmt.Errorf("%s is not a multiple of its hop of %s in the project file; %s", lengthText(size), lengthText(w.Hop), around(size, w.Hop))
	case w.Hop == 0:
		hop, ok := features.DefaultHop(size)
		if !ok {
			return noHop(size)
		}
		if size/hop > maxTiles {
			return fmt.Errorf("%s would be cut into tiles of %s, too many of them; %s", lengthText(size), lengthText(hop), around(size, coarse(size)))
		}
	}
	w.Size = size
	return nil
}

// maxTiles is how many tiles Compile allows a window.
const maxTiles = 10_000

// coarse is a step whose multiples near size have no more tiles than are allowed.
func coarse(size time.Duration) time.Duration {
	for _, step := range []time.Duration{time.Minute, time.Hour} {
		if size/step < maxTiles {
			return step
		}
	}
	return 24 * time.Hour
}

// noHop says which lengths near size have a usual hop.
func noHop(size time.Duration) error {
	if size < shortest {
		return fmt.Errorf("%s: give at least %s, or give the window a hop in the project file", lengthText(size), lengthText(shortest))
	}
	return fmt.Errorf("%s has no usual hop; %s", lengthText(size), around(size, time.Second))
}

// around names the multiples of a step that are next to a size.
func around(size, step time.Duration) string {
	below := size - size%step
	if below == 0 {
		return fmt.Sprintf("%s fits", lengthText(step))
	}
	return fmt.Sprintf("%s and %s fit", lengthText(below), lengthText(below+step))
}

// lengthText writes a length as the project file does, as 60d or 1d12h.
func lengthText(d time.Duration) string {
	const day = 24 * time.Hour
	if d < day {
		return clockText(d)
	}
	days := strconv.FormatInt(int64(d/day), 10) + "d"
	if d %= day; d == 0 {
		return days
	}
	return days + clockText(d)
}

// clockText is Duration's text without its zeros at the end.
func clockText(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
