package clicks

import (
	"context"
	"time"

	"github.com/millrace/millrace/loadtest"
	"github.com/millrace/millrace/trainer/learn"
	"github.com/millrace/millrace/trainer/learn/ftrl"
)

// A Result is what Bench has measured.
type Result struct {
	Params  ftrl.Params `json:"params"`
	Learn   Work        `json:"learn"`
	Predict Work        `json:"predict"`
	LogLoss float64     `json:"log_loss"` // of the test rows' predictions
	Bayes   float64     `json:"bayes"`    // of their true probabilities
	Trivial float64     `json:"trivial"`  // of their base rate
}

// Work is what some rows took, from their columns in memory, logarithms and
// hashing included. CPU seconds are those of the whole process.
type Work struct {
	Rows         int     `json:"rows"`
	Seconds      float64 `json:"seconds"`
	CPUSeconds   float64 `json:"cpu_s"`
	PerCPUSecond float64 `json:"rows_per_cpu_s"`
}

// Bench learns the training rows once, in their order, with FTRL's defaults, and
// then predicts the test rows.
func Bench(ctx context.Context, d *Data) (*Result, error) {
	res := &Result{Params: ftrl.Params{}.WithDefaults(), Bayes: d.Bayes, Trivial: d.Trivial()}
	m := ftrl.New(learn.Binary, Numbers, res.Params)
	var err error
	res.Learn, err = measure(ctx, d.Train, func(r *Row, x learn.Row) { m.Learn(x, float64(r.Label), 1) })
	if err != nil {
		return nil, err
	}
	sum := 0.0
	res.Predict, err = measure(ctx, d.Test, func(r *Row, x learn.Row) { sum += logLoss(r.Label, m.Predict(x)) })
	if err != nil {
		return nil, err
	}
	res.LogLoss = sum / float64(len(d.Test))
	return res, nil
}

// measure calls do with each row and its encoding.
func measure(ctx context.Context, rows []Row, do func(*Row, learn.Row)) (Work, error) {
	var x learn.Row
	start, cpu := time.Now(), loadtest.CPUTime()
	for i := range rows {
		if i%65_536 == 0 && ctx.Err() != nil {
			return Work{}, ctx.Err()
		}
		rows[i].Encode(&x)
		do(&rows[i], x)
	}
	used := max((loadtest.CPUTime() - cpu).Seconds(), 1e-6) // the clock's step
	return Work{
		Rows: len(rows), Seconds: time.Since(start).Seconds(),
		CPUSeconds: used, PerCPUSecond: float64(len(rows)) / used,
	}, nil
}
