package trainer

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/trainer/bundle"
	"github.com/millrace/millrace/trainer/learn"
)

// oddValues are what a column may hold that no one has planned for.
var oddValues = map[string]struct {
	kind features.Kind
	of   func(r *rand.Rand, i int) features.Value
}{
	"missing":  {expr.Float, func(*rand.Rand, int) features.Value { return features.Value{} }},
	"constant": {expr.Float, func(*rand.Rand, int) features.Value { return expr.FloatValue(0.1) }},
	"not finite": {expr.Float, func(r *rand.Rand, _ int) features.Value {
		return expr.FloatValue([]float64{math.NaN(), math.Inf(1), math.Inf(-1), 1}[r.IntN(4)])
	}},
	"huge": {expr.Float, func(r *rand.Rand, _ int) features.Value {
		return expr.FloatValue(r.NormFloat64() * math.MaxFloat64 / 10)
	}},
	"tiny":         {expr.Float, func(r *rand.Rand, _ int) features.Value { return expr.FloatValue(r.NormFloat64() * 5e-324) }},
	"beyond 2^53":  {expr.Int, func(r *rand.Rand, _ int) features.Value { return expr.IntValue(math.MaxInt64 - r.Int64N(5)) }},
	"bool":         {expr.Bool, func(r *rand.Rand, _ int) features.Value { return expr.BoolValue(r.IntN(2) == 1) }},
	"a text a row": {expr.String, func(_ *rand.Rand, i int) features.Value { return expr.StringValue(fmt.Sprint("id-", i)) }},
	"odd texts": {expr.String, func(r *rand.Rand, _ int) features.Value {
		return expr.StringValue([]string{"\uFFFD", "", "\u2028<", "a"}[r.IntN(4)])
	}},
	"missing texts": {expr.String, func(*rand.Rand, int) features.Value { return features.Value{} }},
}

// oddLabels by name, of a row.
var oddLabels = map[string]struct {
	task learn.Task
	of   func(r *rand.Rand, i int) float64
}{
	"one class":             {learn.Binary, func(*rand.Rand, int) float64 { return 1 }},
	"one class at the end":  {learn.Binary, func(_ *rand.Rand, i int) float64 { return float64(i / 350) }},
	"coin":                  {learn.Binary, func(r *rand.Rand, _ int) float64 { return float64(r.IntN(2)) }},
	"constant":              {learn.Regression, func(*rand.Rand, int) float64 { return -3 }},
	"within what is learnt": {learn.Regression, func(r *rand.Rand, _ int) float64 { return r.NormFloat64() * 1e89 }},
	"tiny":                  {learn.Regression, func(r *rand.Rand, _ int) float64 { return r.NormFloat64() * 1e-300 }},
}

// TestOddData has each learner of millrace learn from odd columns and labels: what
// it makes opens, scores and is explained, and contributions add up.
func TestOddData(t *testing.T) {
	for label, l := range oddLabels {
		for name, v := range oddValues {
			m := twoLearners()
			m.Task, m.Label.Binary = l.task, l.task == learn.Binary
			m.Inputs = []bundle.Input{{Name: "shop.odd", Kind: v.kind, KindName: v.kind.String(), Fingerprint: "f"}}
			r := rand.New(rand.NewPCG(1, 2))
			rows := make([]*row, 400)
			for i := range rows {
				rows[i] = &row{label: l.of(r, i), known: int64(i + 2), offset: int64(i), Prediction: feedback.Prediction{ID: fmt.Sprint(i), Time: int64(i + 1), Vector: []features.Value{v.of(r, i)}}}
			}
			for i := range m.Learners {
				if err := tryOut(t, &m, &m.Learners[i], rows); err != nil {
					t.Errorf("%s of %s, labels %s: %v", m.Learners[i].Name(), name, label, err)
				}
			}
		}
	}
}

// tryOut makes a bundle and scores and explains the rows with it.
func tryOut(t *testing.T, m *Model, l *Learner, rows []*row) error {
	t.Helper()
	dir := t.TempDir()
	cfg := Config{Project: project, Sign: key(), Trusted: trusted}
	s, err := specOf(&cfg, m, l, rangesOf(rows, 1), rows[len(rows)-1].known)
	if err != nil {
		return err
	}
	contents, _, err := fit(t.Context(), &cfg, m, l, s, rows, summarise(m, rows))
	if err != nil {
		return err
	}
	id, err := bundle.Write(dir, contents, cfg.Sign)
	if err != nil {
		return err
	}
	keys, _ := trusted()
	b, err := bundle.Open(dir, id, keys)
	if err != nil {
		return err
	}
	for _, r := range rows[:50] {
		score, err := b.Score(r.Vector)
		if err != nil {
			return err
		}
		e, err := b.Explain(r.Vector)
		if err != nil {
			return err
		}
		want := score
		if m.binary() {
			want = math.Log(score / (1 - score))
		}
		if m.binary() && math.Abs(e.Score) >= 30 {
			continue // held within learn.MaxScore
		}
		if !(math.Abs(e.Score-want) <= 1e-6*max(math.Abs(want), math.Abs(e.Base), 1e-290)) && math.Abs(e.Score-want) > 1e-9*math.Abs(want)+1e-12 {
			return fmt.Errorf("explained as %v, and the score is %v: %+v", e.Score, want, e)
		}
	}
	return nil
}

// TestManyProcessors wants trees on a machine with more processors than trees make
// use of.
func TestManyProcessors(t *testing.T) {
	m := twoLearners()
	b := newBook(&m, 1)
	feed(b, newWorld(t, &m, 65, 1, 120, planted), rand.New(rand.NewPCG(1, 9)), func() {})
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(300))
	if _, err := fitTrees(t.Context(), &m, m.Learners[1].GBDT, b.newest()); err != nil {
		t.Error(err)
	}
}
