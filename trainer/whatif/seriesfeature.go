package whatif

import (
	"math"
	"slices"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
)

// featurePoints computes a feature as of the time of each event that is kept.
func (r *seriesReading) featurePoints(q *SeriesQuestion) error {
	short := r.newestEvents()
	plan, err := r.only(q.Name)
	if err != nil {
		return err
	}
	var whole int64
	if part := r.found.Cut || short; part {
		r.found.Endless = slices.ContainsFunc(plan.View.Features, func(f features.Feature) bool { return f.Window.Kind == features.Lifetime })
		if r.found.Endless || len(r.events) == 0 {
			return nil
		}
		whole = r.wholeFrom(plan, short)
		r.found.From = time.UnixMicro(whole).UTC()
	}
	times := r.times(q, whole)
	if len(times) == 0 {
		return nil
	}
	output := slices.IndexFunc(plan.Outputs(), func(o features.Output) bool { return o.Name == q.Name })
	h := plan.NewReplay().NewHistory(times[0], times[len(times)-1])
	var shard *features.Shard
	for i := range r.events {
		if shard == nil || shard.Newest != r.before[i] {
			shard = plan.NewShard(r.before[i], features.Counts{})
		}
		if ok, _ := shard.Admit(&r.events[i]); ok {
			shard.Keep(h, &r.events[i])
		}
	}
	var vector []features.Value
	for _, t := range times {
		vector = plan.Vector(vector[:0], h.Row(t, features.AnyArrival), features.At{AsOf: t}, nil)
		r.found.Points = append(r.found.Points, SeriesPoint{t, numberOf(vector[output])})
	}
	return r.ctx.Err()
}

// times are those of the newest events, each once, from the time on from which
// windows are whole.
func (r *seriesReading) times(q *SeriesQuestion, whole int64) []int64 {
	var times []int64
	for i := range r.events {
		if t := r.events[i].Time; q.within(t) && (r.found.From.IsZero() || t >= whole) {
			times = append(times, t)
		}
	}
	slices.Sort(times)
	times = slices.Compact(times)
	return times[max(0, len(times)-SeriesPoints):]
}

// only is the view with one feature, and those that it is computed of.
func (r *seriesReading) only(name string) (*features.Plan, error) {
	v := r.View
	v.Features, v.OnDemand = nil, nil
	uses := []int{slices.IndexFunc(r.Outputs(), func(o features.Output) bool { return o.Name == name })}
	if at := uses[0]; at >= r.windows {
		v.OnDemand = append(v.OnDemand, r.View.OnDemand[at-r.windows])
		uses = r.onDemand[at-r.windows].Uses()
	}
	for i, f := range r.View.Features {
		if slices.Contains(uses, i) {
			v.Features = append(v.Features, f)
		}
	}
	return features.Compile(r.Clock, r.Source, v)
}

// wholeFrom returns the time from which all windows of a plan lie within what was
// read, which is not all.
func (r *seriesReading) wholeFrom(plan *features.Plan, short bool) int64 {
	from := int64(math.MinInt64)
	for _, first := range r.first {
		from = max(from, first)
	}
	if short {
		from = max(from, r.events[0].Time)
	}
	longest := time.Duration(0)
	for _, f := range plan.View.Features {
		longest = max(longest, f.Window.Size+f.Window.Hop)
	}
	return from + longest.Microseconds()
}

// numberOf is a value in a chart.
func numberOf(v features.Value) float64 {
	if v.Kind == expr.Bool {
		if v.Bool() {
			return 1
		}
		return 0
	}
	x, ok := v.Number()
	if !ok || math.IsInf(x, 0) {
		return math.NaN()
	}
	return x
}
