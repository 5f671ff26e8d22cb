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
