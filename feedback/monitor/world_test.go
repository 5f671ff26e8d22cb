package monitor

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/feedback"
)

const hour = int64(3_600_000_000)

// A world makes predictions and their labels, hour by hour, from a seed.
type world struct {
	seed    uint64
	columns int     // numbers, named a.x0 and so on; before them a text and a bool
	rows    int     // an hour
	phi     float64 // of the columns' levels from hour to hour
	season  float64 // amplitude over 24 hours
	learned int     // hours after which version 1 answers
	change  func(hour, column int, x float64) float64
	levels  []float64
	rng     *rand.Rand
	hourly  int
	silence func(hour int) bool
}

func (w *world) model() Model {
	m := Model{
		Name: "m", Binary: true, Set: "set", Entity: []string{"who"}, Slices: []string{"a.text"},
		Horizon: 2 * time.Hour, Grace: time.Hour,
		Inputs:  []features.Field{{Name: "a.text", Kind: expr.String}, {Name: "a.bool", Kind: expr.Bool}},
		Version: func(int) (int64, bool) { return int64(w.learned) * hour, true },
	}
	for i := range w.columns {
		m.Inputs = append(m.Inputs, features.Field{Name: fmt.Sprintf("a.x%d", i), Kind: expr.Float})
	}
	return m
}

// small is a config whose thresholds are found in a moment.
func small() Config {
	return Config{
		Every: time.Hour, Window: 6 * time.Hour, Reference: 60 * time.Hour, Block: 6 * time.Hour,
		Per: 600 * time.Hour, False: 1, Factor: 1, Distance: JensenShannon, Std: []string{"a.x0", "a.bool"},
	}
}

// next returns the predictions of the next hour, and their labels.
func (w *world) next() (ps []feedback.Prediction, es []feedback.Example) {
	if w.rng == nil {
		w.rng = rand.New(rand.NewPCG(w.seed, 1))
		w.levels = make([]float64, w.columns+1)
		for i := range w.levels {
			w.levels[i] = w.rng.NormFloat64()
		}
	}
	for i := range w.levels {
		w.levels[i] = w.phi*w.levels[i] + math.Sqrt(1-w.phi*w.phi)*w.rng.NormFloat64()
	}
	at := w.hourly
	w.hourly++
	for i := range w.rows {
		p := w.prediction(at, i)
		label := 0.0
		if w.rng.Float64() < p.Score.Value {
			label = 1
		}
		e := feedback.Example{Kind: feedback.Labelled, Seq: int64(at*w.rows+i) * 10, Prediction: p, Label: label, Happened: p.Time + 1, Known: p.Time + hour}
		if w.silence == nil || !w.silence(at) {
			ps, es = append(ps, p), append(es, e)
		}
	}
	return ps, es
}

func (w *world) prediction(at, i int) feedback.Prediction {
	p := feedback.Prediction{
		ID: fmt.Sprintf("%d-%d", at, i), Model: "m", Set: "set", Time: int64(at)*hour + int64(i)*hour/int64(w.rows),
		Entity: []features.Named{{Name: "who", Expr: fmt.Sprintf("w%d", i%3)}},
		Vector: []features.Value{
			expr.StringValue([]string{"red", "green", "blue"}[w.rng.IntN(3)]),
			expr.BoolValue(w.rng.Float64() < 0.5+0.2*math.Tanh(w.levels[w.columns])),
		},
	}
	total := 0.0
	for c := range w.columns {
		x := (w.levels[0]+w.levels[c])/2 + w.rng.NormFloat64() + w.season*math.Sin(2*math.Pi*float64(at)/24)
		if w.change != nil {
			x = w.change(at, c, x)
		}
		v := expr.FloatValue(x)
		if x != x {
			v = features.Value{}
		} else {
			total += x
		}
		p.Vector = append(p.Vector, v)
	}
	p.Score.Value = 1 / (1 + math.Exp(-total/4))
	if at >= w.learned {
		p.Score.Version = 1
	}
	return p
}

// feed runs hours of the world through a fleet and returns the alarms by id, as
// they were last told.
func (w *world) feed(f *Fleet, hours int) map[string]Alarm {
	all := make(map[string]Alarm)
	for range hours {
		ps, es := w.next()
		for i := range ps {
			f.Predicted(&ps[i])
		}
		for i := range es {
			f.Known(&es[i])
		}
		now := int64(w.hourly) * hour
		for _, list := range [][]Alarm{f.Tick(now), f.Passed(now)} {
			for _, a := range list {
				all[a.ID] = a
			}
		}
	}
	return all
}

func newFleet(t testing.TB, c Config, m Model) *Fleet {
	t.Helper()
	f, err := New(c, m)
	if err != nil {
		t.Fatal(err)
	}
	return f
}
