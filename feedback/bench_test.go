package feedback

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/millrace/millrace/features/expr"
)

// BenchmarkFold folds a prediction with 20 features and its outcome, of 500
// entities in turn, and a tick that closes what is old once in 1000 pairs.
func BenchmarkFold(b *testing.B) {
	for _, join := range []JoinKind{ByPrediction, NextEvent} {
		b.Run(string(join), func(b *testing.B) {
			s, err := NewShard(map[string]Rules{"m": {join, 5 * time.Second, 0}}, nil)
			if err != nil {
				b.Fatal(err)
			}
			rows := map[string]*Row{}
			p, o := samplePrediction("", "m", "", 0), &Outcome{Model: "m", At: &Position{Topic: "prices"}, Label: 1}
			p.Vector = nil
			for i := range 20 {
				p.Vector = append(p.Vector, expr.FloatValue(1/float64(i+3)))
			}
			examples := 0
			emit := func(*Example) { examples++ }
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				p.ID, p.Time, o.Time, o.At.Offset = fmt.Sprint("p", i), int64(i)*1000, int64(i)*1000+10, int64(i)
				if p.Key = p.ID; join != ByPrediction {
					p.Key = fmt.Sprint("k", i%500)
				}
				o.Key = p.Key
				row := rows[p.Key]
				if row == nil {
					row = NewRow()
					rows[p.Key] = row
				}
				for _, rec := range []Record{{Prediction: p}, {Outcome: o}} {
					if _, rejected := s.Fold(rec, row, emit); rejected != nil {
						b.Fatal(rejected)
					}
				}
				if i++; i%1000 == 0 {
					expireAll(s, int64(i)*1000, rows, emit)
				}
			}
			if examples < i {
				b.Fatalf("%d examples of %d predictions", examples, i)
			}
			b.ReportMetric(2*float64(i)/b.Elapsed().Seconds(), "records/s")
		})
	}
}

func expireAll(s *Shard, t int64, rows map[string]*Row, emit func(*Example)) {
	s.Tick(t)
	for key, row := range rows {
		if row.Due() <= t {
			s.Expire(row, "m", emit)
		}
		if row.Empty() {
			delete(rows, key)
		}
	}
}

// BenchmarkDecode reads a prediction with 20 features.
func BenchmarkDecode(b *testing.B) {
	p := samplePrediction("p1", "m", "k", 1700000000000000)
	p.Vector = nil
	for i := range 20 {
		p.Vector = append(p.Vector, expr.FloatValue(1/float64(i+3)))
	}
	value := p.AppendJSON(nil)
	b.ReportAllocs()
	b.SetBytes(int64(len(value)))
	for b.Loop() {
		if _, err := Decode(value); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRow writes and reads a row with 20 open predictions.
func BenchmarkRow(b *testing.B) {
	row := openRow(b, 20, 2)
	bytes := row.Append(nil)
	b.ReportAllocs()
	for b.Loop() {
		bytes = row.Append(bytes[:0])
		if _, err := DecodeRow(bytes); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRowDue reads when a row is due, as a restart does of each row: with
// some open predictions of 20 features.
func BenchmarkRowDue(b *testing.B) {
	for _, predictions := range []int{1, 5} {
		b.Run(fmt.Sprint(predictions, "_open"), func(b *testing.B) {
			bytes := openRow(b, predictions, 20).Append(nil)
			b.ReportAllocs()
			for b.Loop() {
				if due, err := RowDue(bytes); err != nil || due == math.MaxInt64 {
					b.Fatal(err)
				}
			}
		})
	}
}

// openRow returns a row with open predictions of so many features.
func openRow(b *testing.B, predictions, features int) *Row {
	s, err := NewShard(map[string]Rules{"m": {NextEvent, time.Hour, 0}}, nil)
	if err != nil {
		b.Fatal(err)
	}
	row := NewRow()
	for i := range predictions {
		p := samplePrediction(fmt.Sprint("p", i), "m", "k", int64(i))
		p.Vector = nil
		for n := range features {
			p.Vector = append(p.Vector, expr.FloatValue(1/float64(n+3)))
		}
		if _, rejected := s.Fold(Record{Prediction: p}, row, func(*Example) {}); rejected != nil {
			b.Fatal(rejected)
		}
	}
	return row
}
