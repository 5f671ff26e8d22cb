package features

import (
	"fmt"

	"github.com/millrace/millrace/features/expr"
)

// At is the moment that a vector is about.
type At struct {
	AsOf           int64 // microseconds since the Unix epoch
	ExcludeCurrent bool  // leave out what happened at AsOf itself
}

// CheckAt reports whether rows of a shard whose newest event time is newest
// can answer for the moment at. Tiles have already dropped what a window
// ending earlier would need, and mix the events of one hop: before the newest
// event, or without those at the moment itself, only exact windows answer, and
// only as far back as the source's lateness.
func (p *Plan) CheckAt(at At, newest int64) error {
	if newest == NoTime || at.AsOf > newest || at.AsOf == newest && !at.ExcludeCurrent {
		return nil
	}
	for i := range p.View.Features {
		if f := &p.View.Features[i]; !f.Window.Exact {
			return fmt.Errorf("as_of %s is not after the newest event applied, %s: feature %q has no exact window; ask for now, or set exact: true", utc(at.AsOf), utc(newest), f.Name)
		}
	}
	if at.AsOf < newest-p.lateness {
		return fmt.Errorf("as_of %s is more than the source's lateness of %v before the newest event applied, %s", utc(at.AsOf), p.Source.Lateness, utc(newest))
	}
	return nil
}

// Vector appends the values of p.Outputs for a row at a moment. A nil row is
// that of an entity that no event has been about. Request holds the values of
// p.Request, missing where the caller gave none.
func (p *Plan) Vector(dst []Value, r *Row, at At, request []Value) []Value {
	if r == nil {
		r = p.NewRow()
	}
	n := len(dst)
	dst = append(dst, make([]Value, len(p.outputs))...)
	out := dst[n:]
	acc := make([]uint64, p.accWidth)
	for i := range p.reads {
		clear(acc)
		p.read(out, acc, r, &p.reads[i], at)
	}
	if len(p.onDemand) == 0 {
		return dst
	}
	row := append(append(make([]Value, 0, p.features+len(p.request)), out[:p.features]...), request[:min(len(request), len(p.request))]...)
	row = append(row, make([]Value, p.features+len(p.request)-len(row))...)
	for i, d := range p.onDemand {
		out[p.features+i], _ = d.Eval(row)
	}
	return dst
}

// read computes the features that share one window; acc is all zeros.
func (p *Plan) read(out []Value, acc []uint64, r *Row, rd *read, at At) {
	l := &p.levels[rd.level]
	switch l.kind {
	case values:
		p.mergeValues(acc, r, l, rd, at)
	case lifetime:
		if r.head[l.head] != noTile {
			l.mergeTile(acc, r.head[l.head:l.head+l.width])
		}
	default:
		from, to := rd.tiles(l, at.AsOf)
		closed := r.lists[l.list].words()
		first, _ := searchTiles(closed, l.width, from)
		for closed = closed[first:]; len(closed) > 0 && int64(closed[0]) <= to; closed = closed[l.width:] {
			l.mergeTile(acc, closed)
		}
		if open := r.head[l.head : l.head+l.width]; open[0] != noTile && int64(open[0]) >= from && int64(open[0]) <= to {
			l.mergeTile(acc, open)
		}
	}
	for _, u := range rd.uses {
		g := &l.groups[u.group]
		if acc[g.n] == 0 && u.agg.name != "count" {
			continue // missing
		}
		v := u.agg.value(g, acc)
		if v.Kind == expr.String {
			v = expr.StringValue(r.strings[v.Bits])
		}
		out[u.output] = v
	}
}

// tiles returns the first and the last start of the tiles that a window ending
// at asOf sees.
func (rd *read) tiles(l *level, asOf int64) (from, to int64) {
	if l.kind == sliding {
		return floorTo(asOf-rd.size, l.hop, 0), asOf
	}
	end := floorTo(asOf, l.hop, l.offset)
	if rd.window.Open {
		return end, end
	}
	return end - l.hop, end - l.hop
}

func (l *level) mergeTile(acc, tile []uint64) {
	for i := range l.groups {
		l.groups[i].merge(acc, tile)
	}
}

// mergeValues folds the entries of an exact window, in order.
func (p *Plan) mergeValues(acc []uint64, r *Row, l *level, rd *read, at At) {
	from, to := at.AsOf-rd.size, at.AsOf
	if at.ExcludeCurrent {
		to--
	}
	for _, words := range [2][]uint64{r.lists[l.list].words(), r.lists[l.list+1].words()} {
		for ; len(words) > 0; words = words[l.width:] {
			t := int64(words[0])
			if t <= from {
				continue
			}
			if t > to {
				return
			}
			for i := range l.groups {
				if g := &l.groups[i]; g.input == rowsInput {
					acc[g.n]++
				} else if words[2]>>i&1 == 1 {
					g.add(acc, words[entryKey+i], t, words[1])
				}
			}
		}
	}
}
