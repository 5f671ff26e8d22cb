// Package gbdt grows ensembles of decision trees by gradient boosting, for
// binary, regression and multiclass tasks.
//
// Sources: Friedman, "Greedy Function Approximation: a Gradient Boosting
// Machine", Annals of Statistics 2001; Chen and Guestrin, "XGBoost: a Scalable
// Tree Boosting System", KDD 2016, for second derivatives, lambda and the side of
// missing values; Ke et al., "LightGBM: a Highly Efficient Gradient Boosting
// Decision Tree", NIPS 2017, for histograms, the subtraction of siblings and
// sorted categories; Shi et al., "Quantized Training of Gradient Boosting
// Decision Trees", NeurIPS 2022, for sums of whole numbers.
//
// Each round adds a tree for each margin: with the first and second derivatives
// g and h of the loss of each row, a leaf gets
//
//	value = -rate G / (H + lambda)
//
// where G and H are the sums over its rows, and a node is split where
//
//	Gl^2/(Hl + lambda) + Gr^2/(Hr + lambda) - G^2/(H + lambda)
//
// is greatest, down to a given depth. Of equal gains the first counts: lower
// columns first, then lower thresholds, then missing values on the right.
//
// What is promised: the same data, parameters and ensemble to continue give the
// same bytes, with any number of threads and on each kind of machine. A row of
// weight 0 is as if it were not there, to the byte. A row of weight 2 is as good
// as the row twice, to the rounding of float64 sums, with up to 65,535 rows and
// without samples of rows; beyond, gradients are rounded by chance, and bins are
// fitted on 200,000 rows.
package gbdt

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/millrace/millrace/trainer/learn"
	"github.com/millrace/millrace/trainer/learn/trees"
)

// A Report says how a training went.
type Report struct {
	Rounds   int       `json:"rounds"`           // that were added and kept
	Grown    int       `json:"grown"`            // that were grown; with early stopping, those after the best are not kept
	Stopped  bool      `json:"stopped"`          // the validation loss had stopped falling before the last round
	Complete bool      `json:"complete"`         // no split gained anything any more
	Losses   []float64 `json:"losses,omitempty"` // of the validation rows: before the first round, and after each that was grown
}

// Loss is the validation loss of the trees that were kept; NaN without
// validation rows.
func (r Report) Loss() float64 {
	if len(r.Losses) == 0 {
		return math.NaN()
	}
	return r.Losses[r.Rounds]
}

// Train grows an ensemble on the rows of d, with so many threads. With valid
// rows it ends when their loss does not fall for Params.Stop rounds, and keeps
// the rounds with the least loss. It calls progress, if not nil, after each
// round. It returns the context's error soon after the context ends.
func Train(ctx context.Context, p Params, task learn.Task, d, valid *Data, threads int, progress func(done, of int)) (*trees.Ensemble, Report, error) {
	classes, of, err := checkAll(p, task, d, valid, threads)
	if err != nil {
		return nil, Report{}, err
	}
	if of > classes {
		return nil, Report{}, fmt.Errorf("gbdt: validation rows have %d classes, training rows %d: keep rows of each class in both", of, classes)
	}
	s, err := d.weighted(classes)
	if err != nil {
		return nil, Report{}, err
	}
	e := &trees.Ensemble{Features: d.Features, Names: slices.Clone(d.Names), Link: linkOf(task), Base: base(task, s)}
	return boost(ctx, e, p, task, s, valid, threads, progress)
}

// Continue adds up to Params.Trees rounds to what e has, which is not changed.
// On the same data, with the same parameters but for the trees and without
// early stopping, a+b rounds and b rounds after a give the same bytes.
func Continue(ctx context.Context, e *trees.Ensemble, p Params, task learn.Task, d, valid *Data, threads int, progress func(done, of int)) (*trees.Ensemble, Report, error) {
	if err := e.Check(); err != nil {
		return nil, Report{}, err
	}
	classes, of, err := checkAll(p, task, d, valid, threads)
	if err != nil {
		return nil, Report{}, err
	}
	classes = max(classes, of)
	if e.Features != d.Features || e.Link != linkOf(task) || classes > len(e.Base) {
		return nil, Report{}, fmt.Errorf("gbdt: an ensemble of %d features with link %q and %d margins cannot go on with %d features, task %q and %d margins: train anew",
			e.Features, e.Link, len(e.Base), d.Features, task, classes)
	}
	if e.Names != nil && d.Names != nil && !slices.Equal(e.Names, d.Names) {
		return nil, Report{}, errors.New("gbdt: the ensemble has other names of features, or another order: train anew")
	}
	s, err := d.weighted(len(e.Base))
	if err != nil {
		return nil, Report{}, err
	}
	next := *e
	next.Trees = slices.Clone(e.Trees)
	if next.Names == nil {
		next.Names = slices.Clone(d.Names)
	}
	return boost(ctx, &next, p, task, s, valid, threads, progress)
}

// checkAll looks at all that Train and Continue are given. It returns how many
// classes there are in the training and in the validation rows.
func checkAll(p Params, task learn.Task, d, valid *Data, threads int) (classes, of int, err error) {
	if err := p.Check(); err != nil {
		return 0, 0, err
	}
	if task != learn.Binary && task != learn.Regression && task != learn.Multiclass {
		return 0, 0, fmt.Errorf("gbdt: task %q: give %s, %s or %s", task, learn.Binary, learn.Regression, learn.Multiclass)
	}
	if threads < 1 || threads > maxThreads {
		return 0, 0, fmt.Errorf("gbdt: %d threads: give 1 to %d", threads, maxThreads)
	}
	if classes, err = d.check(task, "training"); err != nil || valid == nil {
		return classes, classes, err
	}
	if of, err = valid.check(task, "validation"); err == nil && valid.Features != d.Features {
		err = fmt.Errorf("gbdt: validation rows have %d features, training rows %d", valid.Features, d.Features)
	}
	return classes, of, err
}

// A fitter has what lasts from round to round.
type fitter struct {
	ctx       context.Context
	p         Params
	task      learn.Task
	link      trees.Link
	threads   int
	s         *sample
	t         *table
	chance    float64 // see there
	floor     float64 // of a gain
	margins   [][]float64
	chances   [][]float64 // of classes, at the beginning of the round
	gradients []gradient
	words     []int64
	parts     []scale
	totals    []sums
	m         measure
	draw      uint64 // of the round
	columns   []bool
	rows      []uint32
	spare     []uint32
	lefts     []int
	leaves    []region
	gatherers []gatherer // one a thread
	finders   []*finder  // one a block
	found     [][2]split
	pool      []histogram
}

func newFitter(ctx context.Context, e *trees.Ensemble, p Params, task learn.Task, s *sample, threads int) (*fitter, error) {
	t, err := newTable(ctx, s, p, threads)
	if err != nil {
		return nil, err
	}
	m, err := margins(e, task, s, threads)
	if err != nil {
		return nil, err
	}
	n := len(s.label)
	parts := (n + chunk - 1) / chunk
	f := &fitter{
		ctx: ctx, p: p, task: task, link: e.Link, threads: threads, s: s, t: t,
		chance:    chance(task, s),
		margins:   m,
		gradients: make([]gradient, n), words: make([]int64, n),
		parts: make([]scale, parts), totals: make([]sums, parts), lefts: make([]int, parts),
		columns: make([]bool, len(t.columns)),
		rows:    make([]uint32, n), spare: make([]uint32, n),
		found: make([][2]split, t.blocks), gatherers: make([]gatherer, threads),
	}
	// A gain of less is what rounding makes of rows that are the same.
	f.floor = p.MinGain + float64(1e-12*float64(f.chance*s.total))
	for range t.blocks {
		f.finders = append(f.finders, new(finder))
	}
	if task == learn.Multiclass {
		for range e.Base {
			f.chances = append(f.chances, make([]float64, n))
		}
	}
	return f, nil
}

// samples reports whether a round does not see all rows and columns.
func (f *fitter) samples() bool { return f.p.SampleRows < 1 || f.p.SampleColumns < 1 }

// round appends a tree for each margin to e. It reports whether there was
// anything to split.
func (f *fitter) round(e *trees.Ensemble) bool {
	n := len(f.s.label)
	if f.task == learn.Multiclass {
		chunks(f.threads, n, func(_, lo, hi int) { softmax(f.chances, f.margins, lo, hi) })
	}
	number, any := len(e.Trees)/len(e.Base), false
	for class := range e.Base {
		t := f.grow(class, number)
		if any = any || t != nil; t == nil {
			t = &trees.Tree{Class: class, Nodes: []trees.Node{{Feature: -1, Cover: f.s.total}}}
		}
		e.Trees = append(e.Trees, *t)
	}
	return any
}

func boost(ctx context.Context, e *trees.Ensemble, p Params, task learn.Task, s *sample, valid *Data, threads int, progress func(done, of int)) (*trees.Ensemble, Report, error) {
	var r Report
	f, err := newFitter(ctx, e, p, task, s, threads)
	if err != nil {
		return nil, r, err
	}
	v, err := newJudge(e, task, valid, threads)
	if err != nil {
		return nil, r, err
	}
	kept, nodes := len(e.Trees), countNodes(e.Trees)
	for r.Grown < p.Trees && !r.Stopped {
		was := len(e.Trees)
		any := f.round(e)
		if err := ctx.Err(); err != nil {
			return nil, r, err
		}
		if !any {
			e.Trees, r.Complete = e.Trees[:was], true
			break
		}
		r.Grown++
		nodes += countNodes(e.Trees[was:])
		if err := checkSize(len(e.Trees), nodes); err != nil {
			return nil, r, err
		}
		better := v == nil
		if v != nil {
			if better, err = v.better(e.Trees[was:]); err != nil {
				return nil, r, err
			}
		}
		if better {
			kept, r.Rounds = len(e.Trees), r.Grown
		} else {
			r.Stopped = r.Grown-r.Rounds >= p.Stop
		}
		if progress != nil {
			progress(r.Grown, p.Trees)
		}
	}
	if v != nil {
		r.Losses = v.losses
	}
	e.Trees = slices.Clip(e.Trees[:kept])
	return e, r, e.Check()
}

func countNodes(all []trees.Tree) int {
	n := 0
	for i := range all {
		n += len(all[i].Nodes)
	}
	return n
}

// checkSize keeps an ensemble within what can be scored and saved.
func checkSize(count, nodes int) error {
	if count > maxAllTrees || nodes > maxAllNodes {
		return fmt.Errorf("gbdt: the ensemble has grown to %d trees and %d nodes: at most %d and %d, give fewer trees or less depth", count, nodes, maxAllTrees, maxAllNodes)
	}
	return nil
}

// A judge follows the loss of the validation rows.
type judge struct {
	task    learn.Task
	link    trees.Link
	s       *sample
	margins [][]float64
	threads int
	losses  []float64
	least   float64
}

func newJudge(e *trees.Ensemble, task learn.Task, valid *Data, threads int) (*judge, error) {
	if valid == nil {
		return nil, nil
	}
	s, err := valid.weighted(len(e.Base))
	if err != nil {
		return nil, err
	}
	m, err := margins(e, task, s, threads)
	if err != nil {
		return nil, err
	}
	j := &judge{task: task, link: e.Link, s: s, margins: m, threads: threads}
	j.least = loss(task, s, j.margins)
	j.losses = []float64{j.least}
	return j, nil
}

// better adds the trees of a round and reports whether the loss is the least so
// far.
func (j *judge) better(round []trees.Tree) (bool, error) {
	alone := &trees.Ensemble{Features: j.s.d.Features, Link: j.link, Base: make([]float64, len(j.margins)), Trees: round}
	if err := addMargins(j.margins, alone, j.task, j.s, j.threads); err != nil {
		return false, err
	}
	now := loss(j.task, j.s, j.margins)
	j.losses = append(j.losses, now)
	if now < j.least {
		j.least = now
		return true, nil
	}
	return false, nil
}
