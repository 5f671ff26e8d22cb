package feedback

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// FuzzDecode reads anything as a record. What is read is written in one way.
func FuzzDecode(f *testing.F) {
	for _, rec := range sampleRecords() {
		f.Add(appendRecord(nil, rec))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		rec, err := Decode(value)
		if err != nil {
			return
		}
		b := appendRecord(nil, rec)
		again, err := Decode(b)
		if err != nil || !bytes.Equal(b, appendRecord(nil, again)) {
			t.Errorf("%s\nis written as\n%s\nwhich reads as %+v, %v", value, b, again, err)
		}
	})
}

// FuzzDecodeExample does the same with examples.
func FuzzDecodeExample(f *testing.F) {
	for _, e := range sampleExamples() {
		f.Add(e.AppendJSON(nil))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		e, err := DecodeExample(value)
		if err != nil {
			return
		}
		b := e.AppendJSON(nil)
		again, err := DecodeExample(b)
		if err != nil || !bytes.Equal(b, again.AppendJSON(nil)) {
			t.Errorf("%s\nis written as\n%s\nwhich reads as %+v, %v", value, b, again, err)
		}
	})
}

// FuzzDecodeRow reads anything as a row. A row that is read gives its bytes
// again, and is one still after records and a tick.
func FuzzDecodeRow(f *testing.F) {
	w := newWorld(f, generatedRules)
	for _, rec := range generate(rand.New(rand.NewPCG(1, 7)), 80) {
		w.take(rec)
	}
	for _, row := range w.rows {
		f.Add(row.Append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		row, err := DecodeRow(b)
		due, damaged := RowDue(b)
		if err != nil {
			return
		}
		if damaged != nil || due != row.Due() {
			t.Fatalf("%x is due at %d, and RowDue says %d, %v", b, row.Due(), due, damaged)
		}
		if len(b) > 0 && !bytes.Equal(row.Append(nil), b) {
			t.Fatalf("%x reads as a row that is written as %x", b, row.Append(nil))
		}
		s, err := NewShard(generatedRules, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, rec := range []Record{{Outcome: &Outcome{ID: "x", Model: "next", Key: "k0", Time: 1005}}, {Prediction: samplePrediction("x", "next", "k0", 1001)}} {
			s.Fold(rec, row, func(*Example) {})
		}
		s.Tick(1020)
		s.Expire(row, "next", func(*Example) {})
		if _, err := DecodeRow(row.Append(nil)); err != nil {
			t.Fatalf("%x, and two records and a tick: %v", b, err)
		}
	})
}

// FuzzNewShard reads anything as a shard's state.
func FuzzNewShard(f *testing.F) {
	w := newWorld(f, generatedRules)
	for _, rec := range generate(rand.New(rand.NewPCG(1, 8)), 80) {
		w.take(rec)
	}
	f.Add(w.shard.AppendState(nil))
	f.Add(newWorld(f, generatedRules).shard.AppendState(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := NewShard(generatedRules, b)
		if err == nil && len(b) > 0 && !bytes.Equal(s.AppendState(nil), b) {
			t.Errorf("%x reads as a state that is written as %x", b, s.AppendState(nil))
		}
	})
}
