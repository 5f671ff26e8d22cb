// Package learntest is the suite that each learn.Learner passes.
package learntest

import (
	"bytes"
	"math"
	"slices"
	"sync"
	"testing"

	"github.com/millrace/millrace/trainer/learn"
)

// Options say what rows the learner under test takes.
type Options struct {
	Task   learn.Task
	Dense  int    // dense values of a row, 1 at least
	Places uint32 // hashed places are below; 0: rows have none
}

// Run runs the suite as a subtest of that name. It calls fresh for each model:
// all of them are made with the same parameters and have learned nothing.
func Run(t *testing.T, name string, fresh func() learn.Learner, o Options) {
	t.Run(name, func(t *testing.T) {
		for _, test := range []struct {
			name string
			run  func(*suite)
		}{
			{"a fresh model predicts 0.5 or 0", (*suite).testFresh},
			{"inputs are not changed", (*suite).testInputs},
			{"predicting changes nothing", (*suite).testPredict},
			{"the same rows give the same bytes", (*suite).testDeterminism},
			{"bytes are appended", (*suite).testAppend},
			{"saved and loaded it is the same", (*suite).testSaved},
			{"a warm start equals never stopping", (*suite).testWarmStart},
			{"cut bytes are refused and change nothing", (*suite).testCut},
			{"weight 0 changes nothing", (*suite).testNoWeight},
			{"twice the weight pulls further", (*suite).testWeight},
			{"predictions at once", (*suite).testConcurrent},
			{"it beats the constant", (*suite).testPlanted},
			{"one label only", (*suite).testOneLabel},
			{"a constant column", (*suite).testConstant},
			{"extreme rows leave finite predictions", (*suite).testExtreme},
		} {
			t.Run(test.name, func(t *testing.T) { test.run(&suite{T: t, fresh: fresh, o: o}) })
		}
	})
}

type suite struct {
	*testing.T
	fresh func() learn.Learner
	o     Options
}

// learned returns a model that has learned the examples.
func (s *suite) learned(examples []example) learn.Learner {
	m := s.fresh()
	teach(m, examples)
	return m
}

func teach(m learn.Learner, examples []example) {
	for _, e := range examples {
		m.Learn(e.row, e.label, e.weight)
	}
}

func (s *suite) save(m learn.Learner) []byte {
	s.Helper()
	b, err := m.AppendBinary(nil)
	if err != nil {
		s.Fatal(err)
	}
	return b
}

func (s *suite) load(b []byte) learn.Learner {
	s.Helper()
	m := s.fresh()
	if err := m.UnmarshalBinary(b); err != nil {
		s.Fatal(err)
	}
	return m
}

// wantSame compares two models by their bytes and by predictions.
func (s *suite) wantSame(got, want learn.Learner) {
	s.Helper()
	if !bytes.Equal(s.save(got), s.save(want)) {
		s.Error("the models' bytes differ")
	}
	for _, e := range s.plant(99).take(200) {
		if g, w := got.Predict(e.row), want.Predict(e.row); math.Float64bits(g) != math.Float64bits(w) {
			s.Fatalf("%+v is predicted to be %v, want %v", e.row, g, w)
		}
	}
}

func (s *suite) testFresh() {
	want := 0.0
	if s.o.Task == learn.Binary {
		want = 0.5
	}
	m := s.fresh()
	for _, e := range s.plant(1).take(20) {
		if p := m.Predict(e.row); p != want {
			s.Fatalf("%v, want %v", p, want)
		}
	}
	s.wantSame(s.load(s.save(m)), m)
}

func (s *suite) testInputs() {
	m := s.fresh()
	for _, e := range s.plant(2).take(200) {
		dense, hashed := slices.Clone(e.row.Dense), slices.Clone(e.row.Hashed)
		m.Predict(e.row)
		m.Learn(e.row, e.label, e.weight)
		if !slices.Equal(dense, e.row.Dense) || !slices.Equal(hashed, e.row.Hashed) {
			s.Fatalf("%v %v became %+v", dense, hashed, e.row)
		}
	}
	// Nothing may be kept of a row either: here all have the same memory.
	reused, kept := s.fresh(), s.learned(s.plant(3).take(200))
	var row learn.Row
	for _, e := range s.plant(3).take(200) {
		row.Dense, row.Hashed = append(row.Dense[:0], e.row.Dense...), append(row.Hashed[:0], e.row.Hashed...)
		reused.Learn(row, e.label, e.weight)
	}
	s.wantSame(reused, kept)
}

func (s *suite) testPredict() {
	m, asked := s.fresh(), s.fresh()
	other := s.plant(4)
	for _, e := range s.plant(5).take(300) {
		m.Learn(e.row, e.label, e.weight)
		asked.Predict(other.next().row)
		asked.Predict(e.row)
		asked.Learn(e.row, e.label, e.weight)
	}
	s.wantSame(asked, m)
}

func (s *suite) testDeterminism() {
	examples := s.plant(6).take(500)
	m := s.learned(examples)
	s.wantSame(s.learned(examples), m)
	examples[250].row.Dense[0]++
	if bytes.Equal(s.save(s.learned(examples)), s.save(m)) {
		s.Error("another row gives the same bytes: they do not hold what was learned")
	}
}

func (s *suite) testAppend() {
	m := s.learned(s.plant(7).take(100))
	alone := s.save(m)
	after, err := m.AppendBinary([]byte("before"))
	if err != nil || string(after) != "before"+string(alone) {
		s.Errorf("%d bytes and %v, want those before and %d", len(after), err, len(alone))
	}
}

func (s *suite) testSaved() {
	m := s.learned(s.plant(8).take(500))
	saved := s.save(m)
	loaded := s.load(saved)
	clear(saved) // it may not be kept
	s.wantSame(loaded, m)
	// A model that has learned something else holds none of it after a load.
	used := s.learned(s.plant(9).take(500))
	if err := used.UnmarshalBinary(s.save(m)); err != nil {
		s.Fatal(err)
	}
	s.wantSame(used, m)
}

func (s *suite) testWarmStart() {
	examples := s.plant(10).take(400)
	want := s.learned(examples)
	for _, cut := range []int{0, 1, 200, 399, 400} {
		m := s.load(s.save(s.learned(examples[:cut])))
		teach(m, examples[cut:])
		s.wantSame(m, want)
	}
}

func (s *suite) testCut() {
	m := s.learned(s.plant(11).take(30))
	saved := s.save(m)
	other := s.learned(s.plant(12).take(30))
	before := s.load(s.save(other))
	for n := 0; n < len(saved); n += 1 + n/20 {
		if err := other.UnmarshalBinary(saved[:n]); err == nil {
			s.Fatalf("%d of %d bytes are taken", n, len(saved))
		}
	}
	if err := other.UnmarshalBinary(append(saved, 0)); err == nil {
		s.Fatal("a byte too many is taken")
	}
	s.wantSame(other, before)
}

func (s *suite) testNoWeight() {
	examples := s.plant(13).take(300)
	var more []example
	other := s.plant(14)
	for _, e := range examples {
		ignored := other.next()
		ignored.weight = 0
		more = append(more, ignored, e)
	}
	s.wantSame(s.learned(more), s.learned(examples))
}

// testWeight wants an example to move its own prediction towards its label, and
// further with twice the weight: each example of a binary learner, and those of
// a regression on the whole, which may also learn from each label how large they
// are. Whether weight 2 is as good as learning twice is up to the learner. It
// begins with models that have learned: a first step may be as long with any
// weight.
func (s *suite) testWeight() {
	p := s.plant(15)
	once, twice := 0.0, 0.0
	for n := 10; n <= 1000; n += 20 {
		saved := s.save(s.learned(p.take(n)))
		e := p.next()
		was := s.load(saved).Predict(e.row)
		moved := func(weight float64) float64 {
			m := s.load(saved)
			m.Learn(e.row, e.label, weight)
			return (m.Predict(e.row) - was) * math.Copysign(1, e.label-was)
		}
		one, two := moved(1), moved(2)
		if s.o.Task == learn.Binary && !(one > 0 && two > one) {
			s.Fatalf("after %d examples, a label of %v moves %v by %v, with weight 2 by %v", n, e.label, was, one, two)
		}
		once, twice = once+one, twice+two
	}
	if !(once > 0 && twice > once) {
		s.Errorf("labels move predictions by %v in all, with weight 2 by %v", once, twice)
	}
}

func (s *suite) testConcurrent() {
	m := s.learned(s.plant(16).take(500))
	asked := s.plant(17).take(200)
	want := make([]float64, len(asked))
	for i, e := range asked {
		want[i] = m.Predict(e.row)
	}
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for i, e := range asked {
				if p := m.Predict(e.row); p != want[i] {
					s.Errorf("%v beside others, want %v", p, want[i])
					return
				}
			}
		})
	}
	group.Wait()
}
