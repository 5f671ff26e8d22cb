package ftrl

import (
	"math/rand/v2"
	"testing"

	"github.com/millrace/millrace/trainer/learn"
)

// rows are like those of loadtest/clicks: 13 dense values and 26 categories,
// few of which are common.
func rows(n int) []learn.Row {
	r := rand.New(rand.NewPCG(5, 0))
	common := rand.NewZipf(r, 1.2, 1, 100_000)
	rows := make([]learn.Row, n)
	for i := range rows {
		rows[i] = learn.Row{Dense: make([]float64, 13), Hashed: make([]uint32, 26)}
		for j := range rows[i].Dense {
			rows[i].Dense[j] = r.NormFloat64()
		}
		for j := range rows[i].Hashed {
			rows[i].Hashed[j] = uint32((common.Uint64()*26 + uint64(j)) * 0x9E3779B97F4A7C15 >> 40)
		}
	}
	return rows
}

func TestLearnAndPredictAllocateNothing(t *testing.T) {
	few := rows(100)
	m := New(learn.Binary, 13, Params{}.WithDefaults())
	m.Learn(few[0], 1, 1) // makes the buffer
	sum := 0.0
	if n := testing.AllocsPerRun(10, func() {
		for i, r := range few {
			sum += m.Predict(r)
			m.Learn(r, float64(i%2), 1)
		}
	}); n != 0 {
		t.Errorf("%v allocations in 100 rows", n)
	}
}

func BenchmarkLearn(b *testing.B) {
	many := rows(1 << 16)
	m := New(learn.Binary, 13, Params{}.WithDefaults())
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		m.Learn(many[i%len(many)], float64(i%4/3), 1)
	}
}

func BenchmarkPredict(b *testing.B) {
	many := rows(1 << 16)
	m := New(learn.Binary, 13, Params{}.WithDefaults())
	for i, r := range many {
		m.Learn(r, float64(i%4/3), 1)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		m.Predict(many[i%len(many)])
	}
}

func BenchmarkAppendBinary(b *testing.B) {
	m := New(learn.Binary, 13, Params{}.WithDefaults())
	for i, r := range rows(1 << 16) {
		m.Learn(r, float64(i%4/3), 1)
	}
	dst, _ := m.AppendBinary(nil)
	b.SetBytes(int64(len(dst)))
	b.ReportAllocs()
	for b.Loop() {
		dst, _ = m.AppendBinary(dst[:0])
	}
}

func BenchmarkUnmarshalBinary(b *testing.B) {
	m := New(learn.Binary, 13, Params{}.WithDefaults())
	for i, r := range rows(1 << 16) {
		m.Learn(r, float64(i%4/3), 1)
	}
	saved, _ := m.AppendBinary(nil)
	b.SetBytes(int64(len(saved)))
	b.ReportAllocs()
	for b.Loop() {
		if err := m.UnmarshalBinary(saved); err != nil {
			b.Fatal(err)
		}
	}
}
