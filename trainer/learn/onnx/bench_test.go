package onnx

import (
	"math/rand/v2"
	"testing"

	"github.com/millrace/millrace/trainer/learn"
)

// BenchmarkPredict scores one row after another, of the exports and of a forest as
// large as those that serve.
func BenchmarkPredict(b *testing.B) {
	exports := readExports(b)
	for _, name := range []string{"imputer_scaler_logistic", "mlp_relu", "random_forest", "xgboost", "columns_onehot_logistic", "columns_ordinal_forest", "quantile_logistic"} {
		b.Run(name, func(b *testing.B) {
			m := readModel(b, "testdata", "exports", name+".onnx")
			var rows []learn.Row
			for _, c := range exports.Cases {
				if c.Name != name {
					continue
				}
				var names []string
				var kinds []FeatureKind
				if rows, names, kinds = exports.rowsOf(c.Rows); names != nil {
					if err := m.Bind(names, kinds); err != nil {
						b.Fatal(err)
					}
				}
			}
			score(b, m, rows)
		})
	}
	b.Run("100 trees of depth 6, 28 columns", func(b *testing.B) {
		m, err := Read(forestFile(100, 6, 28, 1))
		if err != nil {
			b.Fatal(err)
		}
		r := rand.New(rand.NewPCG(1, 2))
		rows := make([]learn.Row, 1000)
		for i := range rows {
			rows[i].Dense = make([]float64, 28)
			for k := range rows[i].Dense {
				rows[i].Dense[k] = r.NormFloat64()
			}
		}
		score(b, m, rows)
	})
}

func score(b *testing.B, m *Model, rows []learn.Row) {
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		m.Predict(rows[i])
		if i++; i == len(rows) {
			i = 0
		}
	}
}

// BenchmarkRead reads a forest of 1,000 trees of depth 6.
func BenchmarkRead(b *testing.B) {
	data := forestFile(1000, 6, 28, 1)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Read(data); err != nil {
			b.Fatal(err)
		}
	}
}
