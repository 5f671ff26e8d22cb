package whatif

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/trainer/bundle"
	"github.com/millrace/millrace/trainer/learn"
)

var errNoLake = errors.New(`whatif: the project has no lake, and features are computed from the events in it: remove "off" under lake in the project file, and let "millrace run" write it`)

// A scorer is what serves: a version, or the base rate.
type scorer struct {
	version int
	bundle  *bundle.Bundle // nil: the base rate
	base    float64
}

func (s *scorer) score(vector []features.Value) (Score, error) {
	if s.bundle == nil {
		return Score{0, s.base}, nil
	}
	value, err := s.bundle.Score(vector)
	return Score{s.version, value}, err
}

// serving opens what serves a model.
func (l *Lab) serving(ctx context.Context, m *model) (s *scorer, note string, err error) {
	var now registry.Serving
	if l.cfg.Registry != nil {
		if now, err = l.cfg.Registry.Serving(ctx, m.Name); err != nil {
			return nil, "", err
		}
	}
	s = &scorer{base: now.BaseRate.Value}
	if now.BaseRate.Count == 0 {
		s.base = 0
		if m.Task == learn.Binary {
			s.base = 0.5
		}
	}
	if now.Champion == registry.BaseRateVersion {
		return s, fmt.Sprintf("no version of model %s serves yet: the base rate answers whatever the features are", m.Name), nil
	}
	v, err := l.cfg.Registry.Version(ctx, m.Name, now.Champion)
	if err != nil {
		return nil, "", err
	}
	if l.bundle == nil || l.bundle.ID() != v.Bundle {
		keys, err := l.cfg.Trusted()
		if err != nil {
			return nil, "", err
		}
		if l.bundle, err = bundle.Open(l.cfg.Bundles, v.Bundle, keys); err != nil {
			return nil, "", fmt.Errorf("whatif: version %d of model %s, which serves: %w", v.Number, m.Name, err)
		}
	}
	if l.bundle.Manifest().Set != m.set {
		return s, fmt.Sprintf("version %d of model %s was trained on other features than the project has now: the base rate answers in its place", v.Number, m.Name), nil
	}
	s.version, s.bundle = v.Number, l.bundle
	return s, "", nil
}

// answer answers a question that has been understood.
func (l *Lab) answer(ctx context.Context, m *model, x *change, progress func(done, of int64)) (*Answer, error) {
	s, note, err := l.serving(ctx, m)
	if err != nil {
		return nil, err
	}
	if note != "" {
		x.note("%s", note)
	}
	var past *examples
	if x.past > 0 {
		if past, err = l.past(ctx, m, x.past); err != nil {
			return nil, err
		}
	}
	need := m.recomputed(x)
	streams, pastStreams, err := l.streams(ctx, m, x, past, need, progress)
	if err != nil {
		return nil, err
	}
	a := &Answer{Model: m.Name, Entity: map[string]string{}}
	for i, f := range m.Entity {
		a.Entity[f.Name] = x.entity[i].Text()
	}
	if err := m.moment(x, a, streams); err != nil {
		return nil, err
	}
	if err := m.one(ctx, x, a, streams, s); err != nil {
		return nil, err
	}
	if past != nil {
		c := &comparison{lab: l, model: m, change: x, past: past, streams: pastStreams, need: need, scorer: s}
		if a.Past, err = c.compare(ctx); err != nil {
			return nil, err
		}
	}
	a.Notes = x.notes
	return a, nil
}

func (x *change) note(format string, args ...any) {
	x.notes = append(x.notes, fmt.Sprintf(format, args...))
}

// recomputed says, by view, whether past examples need its features from the
// lake: a window is changed, or a feature on demand has to follow a value.
func (m *model) recomputed(x *change) []bool {
	need := make([]bool, len(m.views))
	for i, v := range m.views {
		need[i] = len(x.resized[i]) > 0
		if !x.all {
			continue
		}
		for set := range x.values[i] {
			for k, d := range v.onDemand {
				if v.columns[v.windows+k] >= 0 && !d.request && set < v.windows && slices.Contains(d.Uses(), set) {
					need[i] = true
				}
			}
		}
	}
	return need
}

// moment settles what time the question is about, and says what the lake has of
// it.
func (m *model) moment(x *change, a *Answer, streams []*stream) error {
	newest, lakeEnd, known := int64(features.NoTime), int64(features.NoTime), false
	first := int64(features.NoTime)
	for i, s := range streams {
		lakeEnd = max(lakeEnd, s.last)
		t := s.tracks[x.keys[i]]
		if len(t.words) == 0 {
			continue
		}
		known = true
		newest = max(newest, s.newest[t.shard])
		if began := s.oldest(t); first == features.NoTime || began < first {
			first = began
		}
	}
	if !known {
		return faultf("entity", "the lake has no events of %s; see that it is spelt as in the events", few(entityPairs(m, x)))
	}
	if x.asOf == features.NoTime {
		x.asOf = newest
	}
	if x.asOf < first {
		x.note("the lake has no event of the entity up to then: its first is of %s", utcText(first))
	}
	if x.asOf > lakeEnd {
		x.note("the lake ends at %s: what has happened since is not seen", utcText(lakeEnd))
	}
	for i, v := range m.views {
		if !v.Keyed() {
			x.note("view %s is applied from a topic of its own, re-keyed by %s, and the lake has the order of source %s: which events are late or repeats is judged by that",
				v.View.Name, strings.Join(v.View.Entity, ", "), v.Source.Name)
		}
		x.noteHops(v, x.plans[i])
	}
	a.AsOf, a.Lake = time.UnixMicro(x.asOf).UTC(), time.UnixMicro(lakeEnd).UTC()
	return nil
}

func entityPairs(m *model, x *change) (pairs []string) {
	for i, f := range m.Entity {
		pairs = append(pairs, f.Name+" "+x.entity[i].Text())
	}
	return pairs
}

func utcText(us int64) string { return time.UnixMicro(us).UTC().Format(time.RFC3339) }

// noteHops says which windows are cut otherwise than before.
func (x *change) noteHops(v *view, plan *features.Plan) {
	for i, f := range plan.View.Features {
		if before := v.View.Features[i].Window; before.Hop != f.Window.Hop {
			x.note("%s.%s is cut into tiles of %s, no longer of %s, as a window of %s is where the project file gives no hop",
				v.View.Name, f.Name, lengthText(f.Window.Hop), lengthText(before.Hop), lengthText(f.Window.Size))
		}
	}
}

// one answers for the question's entity.
func (m *model) one(ctx context.Context, x *change, a *Answer, streams []*stream, s *scorer) error {
	var before, after [][]features.Value // by view
	for i, v := range m.views {
		t := streams[i].tracks[x.keys[i]]
		var vectors [2][]features.Value
		for side, plan := range []*features.Plan{v.Plan, x.plans[i]} {
			p := []probe{{asOf: x.asOf, knownBy: features.AnyArrival, request: x.request[i]}}
			put := func(_ int, vector []features.Value) { vectors[side] = slices.Clone(vector) }
			if err := streams[i].replay(ctx, plan, plan.NewReplay(), t, p, put); err != nil {
				return err
			}
		}
		x.set(v, i, vectors[1], x.request[i])
		before, after = append(before, vectors[0]), append(after, vectors[1])
		x.noteRequest(v, i)
	}
	for _, p := range m.relevant() {
		v, b, c := m.views[p.view], before[p.view][p.output], after[p.view][p.output]
		change := Change{Name: v.name(p.output), Input: v.columns[p.output] >= 0, Before: Value{b}, After: Value{c}, Changed: !same(b, c)}
		if p.output < v.windows {
			if w := x.plans[p.view].View.Features[p.output].Window; w.Size > 0 {
				change.Window = lengthText(w.Size)
			}
		}
		a.Features = append(a.Features, change)
	}
	var err error
	was, is := m.vector(before), m.vector(after)
	if a.Before, err = s.score(was); err == nil {
		a.After, err = s.score(is)
	}
	if err == nil {
		err = m.explain(a, s, was, is)
	}
	if err != nil {
		return fmt.Errorf("whatif: version %d of model %s has no score: %w", s.version, m.Name, err)
	}
	return nil
}

// explain says what each input adds to the scores, where the model can.
func (m *model) explain(a *Answer, s *scorer, before, after []features.Value) error {
	if s.bundle == nil {
		return nil
	}
	was, err := s.bundle.Explain(before)
	if errors.Is(err, bundle.ErrNoExplanation) {
		return nil
	}
	if err != nil {
		return err
	}
	is, err := s.bundle.Explain(after)
	if err != nil {
		return err
	}
	a.Base = &is.Base
	for i, p := range m.inputs {
		name := m.views[p.view].name(p.output)
		for k := range a.Features {
			if f := &a.Features[k]; f.Input && f.Name == name {
				f.Adds = &Adds{was.ByInput[i], is.ByInput[i]}
			}
		}
	}
	return nil
}

// vector is the model's, of those of its views.
func (m *model) vector(views [][]features.Value) []features.Value {
	vector := make([]features.Value, len(m.inputs))
	for i, p := range m.inputs {
		vector[i] = views[p.view][p.output]
	}
	return vector
}

// set sets the question's values in a view's vector, and has the features on
// demand follow.
func (x *change) set(v *view, i int, vector, request []features.Value) {
	for output, value := range x.values[i] {
		if output < v.windows {
			vector[output] = value
		}
	}
	if len(x.values[i]) > 0 {
		v.follow(vector, request)
	}
	for output, value := range x.values[i] {
		vector[output] = value
	}
}

// noteRequest says which values of a request are missing.
func (x *change) noteRequest(v *view, i int) {
	var missing []string
	for k, name := range v.Request() {
		if x.request[i][k].Kind == 0 && v.asks(k) {
			missing = append(missing, "request."+name)
		}
	}
	if len(missing) > 0 {
		x.note("%s is not given: what is computed on demand of it has no value", strings.Join(missing, ", "))
	}
}

// asks reports whether an input is computed of that value of a request.
func (v *view) asks(k int) bool {
	for i, d := range v.onDemand {
		if v.columns[v.windows+i] >= 0 && slices.Contains(d.Uses(), v.windows+k) {
			return true
		}
	}
	return false
}
