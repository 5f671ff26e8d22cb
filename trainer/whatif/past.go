package whatif

import (
	"context"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/trainer/eval"
)

// A comparison is of the losses on past examples, before and after a change.
type comparison struct {
	lab     *Lab
	model   *model
	change  *change
	past    *examples
	streams []*stream
	need    []bool // by view: its features are computed from the lake
	scorer  *scorer

	before, after []*matrix // by view, where need says so
	times         []int64
	labels        []float64
	scores        [2][]float64 // before, after
	equal         int
	older         int   // rows from before the lake
	unscored      int   // rows of which the model has no score
	why           error // of the last
}

// compare returns nil where there are no past examples.
func (c *comparison) compare(ctx context.Context) (*Past, error) {
	x, m := c.change, c.model
	if c.past.foreign > 0 {
		x.note("%d past examples of other features than the project has now are left out", c.past.foreign)
	}
	if c.past.rows() == 0 {
		x.note("the lake has no labelled examples of model %s yet, so nothing is scored anew: they are predictions whose outcome is known", m.Name)
		return nil, nil
	}
	if err := c.recompute(ctx); err != nil {
		return nil, err
	}
	c.explain()
	if err := c.score(ctx); err != nil {
		return nil, err
	}
	if c.older > 0 {
		x.note("%d past examples are from before the first event in the lake and are left out", c.older)
	}
	if c.unscored > 0 {
		x.note("%d past examples have no score and are left out: %v", c.unscored, c.why)
	}
	if len(c.times) == 0 {
		return nil, nil
	}
	return c.measure(), nil
}

// recompute computes the features of the views that need it, under the windows of
// before and of after.
func (c *comparison) recompute(ctx context.Context) error {
	c.before, c.after = make([]*matrix, len(c.need)), make([]*matrix, len(c.need))
	for i, v := range c.model.views {
		if !c.need[i] {
			continue
		}
		var err error
		if c.before[i], err = c.vectors(ctx, i, v.Plan); err != nil {
			return err
		}
		if c.after[i], err = c.vectors(ctx, i, c.change.plans[i]); err != nil {
			return err
		}
	}
	return nil
}

// vectors computes a plan's vectors of all past examples, unless they are in
// memory.
func (c *comparison) vectors(ctx context.Context, view int, plan *features.Plan) (*matrix, error) {
	s := c.streams[view]
	id := plan.View.Name + " " + plan.ID + ", " + c.past.id + ", " + s.id
	if m, ok := byKey[*matrix](&c.lab.cache, id); ok {
		return m, nil
	}
	probes := map[string][]probe{}
	for row, t := range c.past.times {
		p := probe{asOf: t, knownBy: features.AnyArrival, row: row}
		if plan.Clock == features.WallClock {
			p.knownBy = t // an event clock's times are not those of arrivals
		}
		key := c.past.keys[view][row]
		probes[key] = append(probes[key], p)
	}
	var entities []string
	for key, p := range probes {
		slices.SortStableFunc(p, byMoment)
		entities = append(entities, key)
	}
	m := newMatrix(len(c.past.times), len(plan.Outputs()))
	rp := plan.NewReplay()
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(entities)) {
		workers.Go(func() {
			for failed.Load() == nil {
				i := next.Add(1) - 1
				if i >= int64(len(entities)) {
					return
				}
				key := entities[i]
				if err := s.replay(ctx, plan, rp, s.tracks[key], probes[key], m.put); err != nil {
					failed.Store(&err)
				}
			}
		})
	}
	workers.Wait()
	if err := failed.Load(); err != nil {
		return nil, *err
	}
	c.lab.cache.put(id, m.bytes(), m)
	return m, nil
}

// explain says what of the past is not changed.
func (c *comparison) explain() {
	x, set := c.change, 0
	var kept []string
	for i, v := range c.model.views {
		set += len(x.values[i])
		for k, d := range v.onDemand {
			if d.request && v.columns[v.windows+k] >= 0 && x.wouldMove(i, v.windows+k, d) {
				kept = append(kept, v.name(v.windows+k))
			}
		}
	}
	if len(kept) > 0 {
		x.note("%s: in past examples as served, since the request that it is computed of is not kept", few(kept))
	}
	if set > 0 && !x.all {
		x.note("values are set for the entity alone; ask for all to set them in the past examples, too")
	}
}

// wouldMove reports whether something that a feature on demand is computed of is
// changed in the past, and it is not set itself.
func (x *change) wouldMove(view, output int, d demand) bool {
	if _, given := x.values[view][output]; given && x.all {
		return false
	}
	return slices.ContainsFunc(d.Uses(), func(i int) bool {
		_, given := x.values[view][i]
		return x.resized[view][i] || given && x.all
	})
}

// score assembles the vectors before and after and scores them.
func (c *comparison) score(ctx context.Context) error {
	first := int64(features.NoTime)
	for i, need := range c.need {
		if need {
			first = max(first, c.streams[i].first)
		}
	}
	var before, after []features.Value
	for row, t := range c.past.times {
		if row%reportEvery == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if t < first {
			c.older++
			continue
		}
		before = c.past.served.row(before[:0], row)
		after = append(after[:0], before...)
		equal := true
		for i := range c.model.views {
			equal = c.assemble(i, row, before, after) && equal
		}
		b, err := c.scorer.score(before)
		var a Score
		if err == nil {
			a, err = c.scorer.score(after)
		}
		if err != nil {
			c.unscored, c.why = c.unscored+1, err
			continue
		}
		if equal {
			c.equal++
		}
		c.times, c.labels = append(c.times, t), append(c.labels, c.past.labels[row])
		c.scores[0], c.scores[1] = append(c.scores[0], b.Value), append(c.scores[1], a.Value)
	}
	return nil
}

// assemble puts a view's features into the vectors of a row, which have what was
// served. It reports whether what it put into before is the same.
func (c *comparison) assemble(view, row int, before, after []features.Value) (equal bool) {
	v, x := c.model.views[view], c.change
	equal = true
	if c.need[view] {
		b, a := c.before[view].row(nil, row), c.after[view].row(nil, row)
		if x.all {
			x.set(v, view, a, nil)
		}
		for o, input := range v.columns {
			if input < 0 || o >= v.windows && v.onDemand[o-v.windows].request {
				continue
			}
			equal = equal && same(before[input], b[o])
			before[input], after[input] = b[o], a[o]
		}
	}
	if x.all {
		for o, value := range x.values[view] {
			if input := v.columns[o]; input >= 0 {
				after[input] = value
			}
		}
	}
	return equal
}

// measure compares the scores.
func (c *comparison) measure() *Past {
	m, g, n := c.model, c.model.Gate, len(c.times)
	task := string(m.Task)
	before, after := eval.Measured(task, c.labels, c.scores[0]), eval.Measured(task, c.labels, c.scores[1])
	p := &Past{
		Rows: n, LossBefore: before.Loss, LossAfter: after.Loss, AUCBefore: before.AUC, AUCAfter: after.AUC,
		From: time.UnixMicro(c.times[0]).UTC(), To: time.UnixMicro(c.times[n-1]).UTC(),
	}
	if slices.Contains(c.need, true) {
		p.Recomputed, p.Equal = n, c.equal
	}
	diffs := make([]float64, n)
	for i := range diffs {
		diffs[i] = eval.RowLoss(task, c.labels[i], c.scores[0][i]) - eval.RowLoss(task, c.labels[i], c.scores[1][i])
	}
	p.Gain, p.Confidence = c.gain(diffs), eval.Bootstrap{Confidence: g.Confidence}.WithDefaults().Confidence
	return p
}

// gain is the mean of differences of losses with its bounds, as the gate has them.
func (c *comparison) gain(diffs []float64) eval.Bounds {
	if !slices.ContainsFunc(diffs, func(d float64) bool { return d != 0 }) {
		return eval.Bounds{} // exactly, of however few
	}
	m, g := c.model, c.model.Gate
	lo, mean, hi, err := eval.Interval(c.times, diffs, eval.Bootstrap{
		Confidence: g.Confidence, Block: max(g.Block, m.Label.Horizon), Periods: g.Periods, Replicates: g.Replicates, Seed: g.Seed,
	})
	if err != nil {
		lo, hi = math.NaN(), math.NaN()
		c.change.note("the gain has no bounds: %v", err)
	}
	return eval.Bounds{Lo: eval.Number(lo), Mean: eval.Number(mean), Hi: eval.Number(hi)}
}
