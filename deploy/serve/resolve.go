package serve

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/features/online"
	"github.com/millrace/millrace/streams"
)

// resolve checks a query and finds its views, columns and keys.
func (l *Lookup) resolve(q *Query, v *Vectors) error {
	v.Names, v.Keys, v.columns = v.Names[:0], v.Keys[:0], v.columns[:0]
	v.parts = v.parts[:0]
	v.kinds = append(v.kinds[:0], make([]features.Kind, len(q.Entities))...)
	if err := l.columns(q, v); err != nil {
		return err
	}
	if err := v.countRows(q); err != nil {
		return err
	}
	for _, p := range v.parts {
		if err := p.entities(q, v); err != nil {
			return err
		}
		if err := p.findInputs(q); err != nil {
			return err
		}
	}
	slices.Sort(v.Keys) // in the order of the request, as Feast has them
	if err := v.checkInputs(q); err != nil {
		return err
	}
	return v.checkNames(q)
}

// columns finds the views and features that are asked for.
func (l *Lookup) columns(q *Query, v *Vectors) error {
	switch {
	case q.View == "" && len(q.Features) == 0:
		return badRequest("no features are asked for; list them as \"view:feature\", or name a view; there are the views %s", few(l.names()))
	case q.View != "" && len(q.Features) > 0:
		return badRequest("features and view are both given; give one: view stands for all features of a view")
	case q.View != "":
		p, err := l.part(v, q.View)
		if err != nil {
			return err
		}
		for i, o := range p.Outputs() {
			v.add(q, p, o.Name, i)
		}
		return nil
	}
	for _, ref := range q.Features {
		name, feature, ok := strings.Cut(ref, ":")
		if !ok {
			return badRequest("feature %s has no view; write it as \"view:feature\"", short(ref))
		}
		p, err := l.part(v, name)
		if err != nil {
			return err
		}
		i, ok := p.outputs[feature]
		if !ok {
			return problem(http.StatusNotFound, "view %q has no feature %s; it has %s", name, short(feature), few(p.outputNames()))
		}
		v.add(q, p, feature, i)
	}
	return nil
}

func (v *Vectors) add(q *Query, p *part, feature string, output int) {
	if q.FullNames {
		feature = p.name + "__" + feature
	}
	v.Names = append(v.Names, feature)
	v.columns = append(v.columns, place{p, output})
}

// part finds or adds the part of a view.
func (l *Lookup) part(v *Vectors, name string) (*part, error) {
	for _, p := range v.parts {
		if p.name == name {
			return p, nil
		}
	}
	w := l.views[name]
	if w == nil {
		return nil, problem(http.StatusNotFound, "there is no view %s; there are %s", short(name), few(l.names()))
	}
	if n := len(v.parts); n < cap(v.parts) { // one of an earlier read
		v.parts = v.parts[:n+1]
	} else {
		v.parts = append(v.parts, nil)
	}
	p := &v.parts[len(v.parts)-1]
	if *p == nil {
		*p = &part{}
	}
	(*p).view = w
	return *p, nil
}

func (l *Lookup) names() []string { return slices.Sorted(maps.Keys(l.views)) }

func (v *view) outputNames() []string {
	var names []string
	for _, o := range v.Outputs() {
		names = append(names, o.Name)
	}
	return names
}

func (v *Vectors) countRows(q *Query) error {
	if len(q.Entities) == 0 {
		return badRequest("entities is missing or empty; give {\"%s\": [...]}", v.parts[0].View.Entity[0])
	}
	first := &q.Entities[0]
	v.Rows = len(first.Cells)
	for _, columns := range [][]Column{q.Entities, q.Inputs} {
		for i := range columns {
			if c := &columns[i]; len(c.Cells) != v.Rows {
				return badRequest("all columns must have one value for each row: %s has %d, %s has %d", short(first.Name), v.Rows, short(c.Name), len(c.Cells))
			}
		}
	}
	if v.Rows == 0 {
		return badRequest("no entities are asked for: %s is empty", short(first.Name))
	}
	each := 0
	for _, p := range v.parts {
		each += len(p.outputs)
	}
	if v.Rows*each > MaxValues {
		return badRequest("%d rows of views with %d features in all are %d values; at most %d are computed for one request: ask for at most %d rows at a time", v.Rows, each, v.Rows*each, MaxValues, MaxValues/each)
	}
	return nil
}

// entities makes the keys of a part's rows.
func (p *part) entities(q *Query, v *Vectors) error {
	p.fields = append(p.fields[:0], make([]features.Value, len(p.Fields()))...)
	p.keys = slices.Grow(p.keys[:0], v.Rows)[:v.Rows]
	var columns [8]*Column // Compile takes no more fields in an entity
	for k, field := range p.entity {
		f := &p.Fields()[field]
		at := slices.IndexFunc(q.Entities, func(c Column) bool { return c.Name == f.Name })
		if at < 0 {
			return badRequest("entities has no %q, which view %q is about", f.Name, p.name)
		}
		if !slices.Contains(v.Keys, at) {
			v.Keys = append(v.Keys, at)
			v.kinds[at] = f.Kind
		}
		columns[k] = &q.Entities[at]
	}
	var buf []byte
	for row := range p.keys {
		var err error
		for k, field := range p.entity {
			if p.fields[field], err = columns[k].cell(row, p.Fields()[field].Kind); err != nil {
				return err
			}
		}
		if buf, err = p.AppendEntity(buf[:0], p.fields); err != nil {
			return badRequest("entities, row %d: %v", row, err)
		}
		shard := streams.PartitionOf(buf, p.Source.Partitions)
		p.keys[row] = online.Key{Shard: online.Shard{Space: p.space, Index: shard}, Entity: string(buf)}
	}
	return nil
}

// cell is the cell of an entity column as the kind of a view's field. As Feast
// does it takes a whole number for a text and the other way round. The column
// stays as it is: a field of another view may have the name and another kind.
func (c *Column) cell(row int, kind features.Kind) (features.Value, error) {
	x, ok := asKind(c.Cells[row], kind)
	if !ok {
		return x, badRequest("entities: %q, row %d: want %s, got %s", c.Name, row, wanted(kind), shown(x))
	}
	return x, nil
}

// asKind returns an entity's value as the kind of its field, which is a string
// or an int, or as it is where it cannot be.
func asKind(x features.Value, kind features.Kind) (features.Value, bool) {
	switch {
	case x.Kind == kind:
		return x, true
	case x.Kind == expr.Int && kind == expr.String:
		return expr.StringValue(strconv.FormatInt(x.Int(), 10)), true
	case x.Kind == expr.String && kind == expr.Int:
		if i, err := strconv.ParseInt(x.Str, 10, 64); err == nil {
			return expr.IntValue(i), true
		}
	}
	return x, false
}

func wanted(kind features.Kind) string {
	if kind == expr.Int {
		return "a whole number of 64 bits"
	}
	return "a text"
}

// shown is a cell as a caller would recognise it.
func shown(x features.Value) string {
	switch x.Kind {
	case expr.Missing:
		return "null"
	case expr.String:
		return short(x.Str)
	}
	return x.Text()
}

// findInputs finds the columns of the part's request.* values.
func (p *part) findInputs(q *Query) error {
	p.inputs = p.inputs[:0]
	for _, name := range p.Request() {
		var found *Column
		for _, columns := range [][]Column{q.Inputs, q.Entities} {
			for i := range columns {
				if found == nil && columns[i].Name == name {
					found = &columns[i]
				}
			}
		}
		if found != nil {
			for row, x := range found.Cells {
				if _, ok := x.Number(); !ok && x.Kind != expr.Missing {
					return badRequest("request: %q, row %d: want a number or null, got %s", name, row, shown(x))
				}
			}
		}
		p.inputs = append(p.inputs, found)
	}
	return nil
}

// checkInputs refuses inputs that nothing uses, which are misspelt ones.
func (v *Vectors) checkInputs(q *Query) error {
	for i := range q.Inputs {
		name, known := q.Inputs[i].Name, []string(nil)
		for _, p := range v.parts {
			known = append(known, p.Request()...)
		}
		if !slices.Contains(known, name) {
			return badRequest("request: %s is not used by any feature on demand; used are: %s", short(name), few(known))
		}
	}
	return nil
}

// checkNames makes sure that each column of the answer has a name of its own.
func (v *Vectors) checkNames(q *Query) error {
	seen := make(map[string]struct{}, len(v.Names)+len(v.Keys))
	for _, k := range v.Keys {
		seen[q.Entities[k].Name] = struct{}{}
	}
	for _, name := range v.Names {
		if _, twice := seen[name]; twice {
			return badRequest("two columns of the answer would be called %q; ask for each feature once, or set full_feature_names where several views have it", name)
		}
		seen[name] = struct{}{}
	}
	return nil
}
