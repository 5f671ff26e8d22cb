package collisions

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"runtime"
	"runtime/pprof"
	"time"

	"github.com/millrace/millrace/trainer/learn"
	"github.com/millrace/millrace/trainer/learn/gbdt"
	"github.com/millrace/millrace/trainer/learn/trees"
)

// The task that all learners have besides their defaults.
const (
	numTrees = 100
	depth    = 6
	bins     = 255 // besides that of missing values
	rate     = 0.1
)

// A Bench has our learner, and others if wanted, do the task with a set.
type Bench struct {
	Data    *Data
	Threads int          // that train
	Rounds  int          // of which the best figures count
	Peers   *Peers       // nil: ours only
	Prefix  string       // of the set's files, for peers
	Profile io.Writer    // gets a CPU profile of the first training; nil: none
	Step    func(string) // told what begins

	trees int // that ours grows, fewer in tests; 0: all
}

// A Result is what a Bench has measured.
type Result struct {
	Rows      int         `json:"rows"`
	TestRows  int         `json:"test_rows"`
	Threads   int         `json:"threads"`
	Params    gbdt.Params `json:"params"`     // ours
	BayesAUC  float64     `json:"bayes_auc"`  // of the true probabilities
	BayesLoss float64     `json:"bayes_loss"` // their log loss
	Figures   []Figures   `json:"figures"`    // the best of the rounds, ours first
	Ratios    []Ratio     `json:"ratios,omitempty"`
	Rounds    [][]Figures `json:"each_round"`
}

// params are what ours has the task with. There are no validation rows to stop
// early by.
func (b Bench) params() gbdt.Params {
	return gbdt.Params{Trees: cmp.Or(b.trees, numTrees), Depth: depth, Bins: bins, Rate: rate}.WithDefaults()
}

// Run measures. What is not deterministic is only how long things take: the
// rounds have the same models.
func (b Bench) Run(ctx context.Context) (*Result, error) {
	res := &Result{
		Rows: len(b.Data.Train), TestRows: len(b.Data.Test), Threads: b.Threads, Params: b.params(),
		BayesAUC: b.Data.BayesAUC, BayesLoss: b.Data.BayesLoss,
	}
	profile := b.Profile
	for round := range b.Rounds {
		figures, err := b.round(ctx, profile, fmt.Sprintf("round %d of %d: ", round+1, b.Rounds))
		profile = nil
		if err != nil {
			return nil, err
		}
		res.Rounds = append(res.Rounds, figures)
		if round == 0 {
			res.Figures = append(res.Figures, figures...)
			continue
		}
		for i, f := range figures {
			res.Figures[i] = best(res.Figures[i], f)
		}
	}
	for _, f := range res.Figures[1:] {
		res.Ratios = append(res.Ratios, ratio(res.Figures[0], f))
	}
	return res, nil
}

// round has each learner do the task once, one after another.
func (b Bench) round(ctx context.Context, profile io.Writer, prefix string) ([]Figures, error) {
	b.Step(prefix + "millrace")
	ours, err := b.ours(ctx, profile)
	if err != nil {
		return nil, err
	}
	figures := []Figures{ours}
	if b.Peers == nil {
		return figures, nil
	}
	for _, name := range names {
		b.Step(prefix + name)
		f, err := b.Peers.Figures(ctx, name, b.Prefix, b.Data, b.Threads)
		if err != nil {
			return nil, err
		}
		figures = append(figures, f)
	}
	return figures, nil
}

// ours has our learner do the task.
func (b Bench) ours(ctx context.Context, profile io.Writer) (Figures, error) {
	f := Figures{Learner: "millrace"}
	model, work, err := b.train(ctx, profile)
	if err != nil {
		return f, err
	}
	f.Train = &work
	x := flat(b.Data.Test)
	score := make([]float64, len(b.Data.Test))
	for pass := range passes {
		w, err := measure(func() error { model.PredictAll(score, x); return ctx.Err() })
		if err != nil {
			return f, err
		}
		if pass == 0 {
			f.Bulk = w
		}
		f.Bulk = cheaper(f.Bulk, w)
	}
	f.One = oneRow(times(model, x))
	f.AUC, f.LogLoss = b.Data.judge(score)
	return f, nil
}

// train grows trees on the training rows. The work is from numbers in memory to
// a model that predicts.
func (b Bench) train(ctx context.Context, profile io.Writer) (model *trees.Model, work Work, err error) {
	d := table(b.Data.Train)
	if profile != nil {
		if err := pprof.StartCPUProfile(profile); err != nil {
			return nil, work, err
		}
		defer pprof.StopCPUProfile()
	}
	work, err = measure(func() error {
		e, _, err := gbdt.Train(ctx, b.params(), learn.Binary, d, nil, b.Threads, nil)
		if err != nil {
			return err
		}
		model, err = trees.New(e, learn.Binary)
		return err
	})
	return model, work, err
}

// times returns how long calls took that predict one row.
func times(model *trees.Model, x []float64) []time.Duration {
	took := make([]time.Duration, 0, calls)
	rows := len(x) / Features
	for i := range warm + calls {
		k := i % rows * Features
		row := learn.Row{Dense: x[k : k+Features]}
		start := time.Now()
		p := model.Predict(row)
		d := time.Since(start)
		runtime.KeepAlive(p)
		if i >= warm {
			took = append(took, d)
		}
	}
	return took
}

// flat returns the rows' numbers, one row after another.
func flat(rows []Row) []float64 {
	x := make([]float64, 0, len(rows)*Features)
	for i := range rows {
		for _, v := range rows[i].X {
			x = append(x, float64(v))
		}
	}
	return x
}

// table returns rows as our learner takes them.
func table(rows []Row) *gbdt.Data {
	d := &gbdt.Data{Features: Features, X: flat(rows), Label: make([]float64, len(rows))}
	for i := range rows {
		d.Label[i] = float64(rows[i].Label)
	}
	return d
}
