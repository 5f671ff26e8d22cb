package learntest

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/millrace/millrace/trainer/learn"
)

// A Table is rows for a learner that learns from all rows at once.
type Table struct {
	Features   int
	Categories []int     // of each feature: how many categories, 0: a number
	X          []float64 // row after row; NaN is missing
	Label      []float64
	Weight     []float64 // nil: all 1
}

// Row returns the values of row i.
func (t *Table) Row(i int) []float64 { return t.X[i*t.Features:][:t.Features] }

// A Batch is a learner that learns from all rows at once, in rounds.
type Batch struct {
	Task learn.Task
	// Train learns in so many rounds, with so many threads.
	Train func(t *Table, rounds, threads int) (learn.Model, error)
	// Continue adds rounds to a model, which it does not change.
	Continue func(m learn.Model, t *Table, rounds, threads int) (learn.Model, error)
	// Fresh returns a model to load bytes into.
	Fresh func() learn.Model
}

// RunBatch runs the suite of batch learners as a subtest of that name.
func RunBatch(t *testing.T, name string, l Batch) {
	t.Run(name, func(t *testing.T) {
		for _, test := range []struct {
			name string
			run  func(*batch)
		}{
			{"the same rows give the same bytes", (*batch).testDeterminism},
			{"and with any number of threads", (*batch).testThreads},
			{"inputs are not changed", (*batch).testInputs},
			{"saved and loaded it is the same", (*batch).testSaved},
			{"cut bytes are refused and change nothing", (*batch).testCut},
			{"a warm start equals never stopping", (*batch).testWarmStart},
			{"weight 0 is a row left out", (*batch).testNoWeight},
			{"weight 2 is the row twice", (*batch).testWeight},
			{"predictions at once", (*batch).testConcurrent},
			{"it beats the constant", (*batch).testPlanted},
			{"what is missing can tell", (*batch).testMissing},
			{"so can a category", (*batch).testCategory},
			{"one label only", (*batch).testOneLabel},
			{"a column that says nothing changes nothing", (*batch).testEmptyColumn},
			{"all missing", (*batch).testAllMissing},
			{"extreme rows leave finite predictions", (*batch).testExtreme},
			{"bad rows are refused", (*batch).testBad},
		} {
			t.Run(test.name, func(t *testing.T) {
				test.run(&batch{suite: &suite{T: t, o: Options{Task: l.Task, Dense: 5}}, l: l})
			})
		}
	})
}

type batch struct {
	*suite
	l Batch
}

// table makes rows with five numbers, some of which are missing, and a category
// of eight, whose number moves the label up and down.
func (b *batch) table(seed uint64, n int) *Table {
	t := &Table{Features: 6, Categories: []int{0, 0, 0, 0, 0, 8}}
	r := rand.New(rand.NewPCG(seed, 7))
	for _, e := range b.plant(seed).take(n) {
		for j := range e.row.Dense {
			if r.IntN(10) == 0 {
				e.row.Dense[j] = math.NaN()
			}
		}
		category := r.IntN(8)
		if b.o.Task == learn.Regression {
			e.label += 30 * float64(category%2)
		}
		t.X = append(append(t.X, e.row.Dense...), float64(category))
		t.Label = append(t.Label, e.label)
	}
	return t
}

func (b *batch) train(t *Table, rounds int) learn.Model {
	b.Helper()
	m, err := b.l.Train(t, rounds, 1)
	if err != nil {
		b.Fatal(err)
	}
	return m
}

func (b *batch) bytes(m learn.Model) []byte {
	b.Helper()
	saved, err := m.AppendBinary(nil)
	if err != nil {
		b.Fatal(err)
	}
	return saved
}

func (b *batch) wantSameBytes(what string, got, want learn.Model) {
	b.Helper()
	if !bytes.Equal(b.bytes(got), b.bytes(want)) {
		b.Errorf("%s: the models' bytes differ", what)
	}
}

func (b *batch) predict(m learn.Model, x []float64) float64 {
	b.Helper()
	p := m.Predict(learn.Row{Dense: x})
	if math.IsNaN(p) || math.IsInf(p, 0) || b.o.Task == learn.Binary && (p < 0 || p > 1) {
		b.Fatalf("%v is predicted to be %v", x, p)
	}
	return p
}

func (b *batch) testDeterminism() {
	t := b.table(1, 500)
	m := b.train(t, 5)
	b.wantSameBytes("again", b.train(t, 5), m)
	for i := 2; i < len(t.Label); i += 3 { // of some rows
		t.Label[i] = 1 - t.Label[i]
	}
	if bytes.Equal(b.bytes(b.train(t, 5)), b.bytes(m)) {
		b.Error("other labels give the same bytes: they do not hold what was learned")
	}
	alone := b.bytes(m)
	after, err := m.AppendBinary([]byte("before"))
	if err != nil || string(after) != "before"+string(alone) {
		b.Errorf("%d bytes and %v, want those before and %d", len(after), err, len(alone))
	}
}

// testThreads has enough rows for each thread to have some.
func (b *batch) testThreads() {
	t := b.table(2, 10_000)
	want := b.train(t, 3)
	for _, threads := range []int{2, 3} {
		m, err := b.l.Train(t, 3, threads)
		if err != nil {
			b.Fatal(err)
		}
		b.wantSameBytes(fmt.Sprint(threads, " threads"), m, want)
	}
}

func (b *batch) testInputs() {
	t := b.table(3, 500)
	t.Weight = slices.Repeat([]float64{1, 0, 2}, 167)[:500]
	x, label, weight, categories := slices.Clone(t.X), slices.Clone(t.Label), slices.Clone(t.Weight), slices.Clone(t.Categories)
	m := b.train(t, 5)
	for i := range t.Label {
		b.predict(m, t.Row(i))
	}
	same := func(a, b float64) bool { return math.Float64bits(a) == math.Float64bits(b) }
	if !slices.EqualFunc(x, t.X, same) || !slices.Equal(label, t.Label) || !slices.Equal(weight, t.Weight) || !slices.Equal(categories, t.Categories) {
		b.Error("the table has changed")
	}
	before := b.bytes(m)
	clear(t.X) // it may not be kept
	clear(t.Label)
	if !bytes.Equal(b.bytes(m), before) {
		b.Error("the model changed with its table")
	}
}

func (b *batch) testSaved() {
	t := b.table(4, 500)
	m, used := b.train(t, 5), b.train(b.table(5, 500), 5)
	for _, loaded := range []learn.Model{b.l.Fresh(), used} {
		saved := b.bytes(m)
		if err := loaded.UnmarshalBinary(saved); err != nil {
			b.Fatal(err)
		}
		clear(saved) // it may not be kept
		b.wantSameBytes("loaded", loaded, m)
		for i := range t.Label {
			if got, want := loaded.Predict(learn.Row{Dense: t.Row(i)}), b.predict(m, t.Row(i)); got != want {
				b.Fatalf("row %d is predicted to be %v, want %v", i, got, want)
			}
		}
	}
}

func (b *batch) testCut() {
	saved := b.bytes(b.train(b.table(6, 200), 3))
	other := b.train(b.table(7, 200), 3)
	before := b.bytes(other)
	for n := 0; n < len(saved); n += 1 + n/20 {
		if err := other.UnmarshalBinary(saved[:n]); err == nil {
			b.Fatalf("%d of %d bytes are taken", n, len(saved))
		}
	}
	if err := other.UnmarshalBinary(append(saved, 0)); err == nil {
		b.Fatal("a byte too many is taken")
	}
	if !bytes.Equal(b.bytes(other), before) {
		b.Error("refused bytes have changed the model")
	}
}

func (b *batch) testWarmStart() {
	t := b.table(8, 700)
	t.Weight = slices.Repeat([]float64{1, 0.5, 0, 3}, 175)
	want := b.train(t, 12)
	for _, first := range []int{1, 5, 11} {
		m := b.l.Fresh()
		if err := m.UnmarshalBinary(b.bytes(b.train(t, first))); err != nil {
			b.Fatal(err)
		}
		before := b.bytes(m)
		next, err := b.l.Continue(m, t, 12-first, 2)
		if err != nil {
			b.Fatal(err)
		}
		b.wantSameBytes(fmt.Sprint(first, " rounds first"), next, want)
		if !bytes.Equal(b.bytes(m), before) {
			b.Errorf("going on after %d rounds changed the model that it began with", first)
		}
	}
}

func (b *batch) testNoWeight() {
	t, others := b.table(9, 400), b.table(10, 400)
	more := &Table{Features: t.Features, Categories: t.Categories}
	for i, y := range t.Label {
		more.X = append(append(more.X, others.Row(i)...), t.Row(i)...)
		more.Label = append(more.Label, others.Label[i], y)
		more.Weight = append(more.Weight, 0, 1)
	}
	b.wantSameBytes("with rows of weight 0", b.train(more, 8), b.train(t, 8))
}

// testWeight allows for another rounding of sums.
func (b *batch) testWeight() {
	t := b.table(11, 400)
	twice := &Table{Features: t.Features, Categories: t.Categories, X: slices.Clone(t.X), Label: slices.Clone(t.Label)}
	for i := range t.Label {
		t.Weight = append(t.Weight, float64(1+i%3/2)) // each third
		if t.Weight[i] == 2 {
			twice.X = append(twice.X, t.Row(i)...)
			twice.Label = append(twice.Label, t.Label[i])
		}
	}
	one := b.train(t, 8)
	two := b.train(twice, 8)
	t.Weight = nil
	plain := b.train(t, 8)
	differ := false
	for i := range t.Label {
		p, q := b.predict(one, t.Row(i)), b.predict(two, t.Row(i))
		if math.Abs(p-q) > 1e-9*max(1, math.Abs(p)) {
			b.Fatalf("row %d: %v with weights, %v with rows twice", i, p, q)
		}
		differ = differ || p != b.predict(plain, t.Row(i))
	}
	if !differ {
		b.Error("weights change nothing")
	}
}

func (b *batch) testConcurrent() {
	t := b.table(12, 500)
	m := b.train(t, 10)
	want := make([]float64, len(t.Label))
	for i := range want {
		want[i] = b.predict(m, t.Row(i))
	}
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for i := range want {
				if p := m.Predict(learn.Row{Dense: t.Row(i)}); p != want[i] {
					b.Errorf("%v beside others, want %v", p, want[i])
					return
				}
			}
		})
	}
	group.Wait()
}
