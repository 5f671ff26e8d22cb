package profile

import (
	"math/rand/v2"
	"testing"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
)

// BenchmarkAdd profiles rows of ten columns: seven doubles, two ints and a text
// of a hundred values.
func BenchmarkAdd(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	cols := make([]Column, 10)
	rows := make([][]features.Value, 10_000)
	for i := range cols {
		cols[i] = Column{Name: string(rune('a' + i)), Kind: [10]features.Kind{expr.String, expr.Int, expr.Int}[i]}
		if i > 2 {
			cols[i].Kind = expr.Float
		}
	}
	for i := range rows {
		rows[i] = []features.Value{expr.StringValue(string(rune('A' + r.IntN(100)))), expr.IntValue(r.Int64N(1000)), expr.IntValue(r.Int64())}
		for range 7 {
			rows[i] = append(rows[i], expr.FloatValue(r.NormFloat64()))
		}
	}
	builder := New(cols)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		builder.Add(rows[i%len(rows)])
	}
}

// BenchmarkTwoSamples compares two samples of a thousand numbers.
func BenchmarkTwoSamples(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	x, y := drawn(r, 1000, 0), drawn(r, 1000, 0)
	ks, err := KolmogorovSmirnov(x, y)
	if err != nil {
		b.Fatal(err)
	}
	for name, do := range map[string]func() error{
		"KS":           func() error { _, err := KolmogorovSmirnov(x, y); return err },
		"KSExact":      func() error { _, err := ks.Exact(); return err },
		"KSAsymptotic": func() error { ks.Asymptotic(); return nil },
		"Wasserstein":  func() error { _, err := Wasserstein(x, y, nil, nil); return err },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := do(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
