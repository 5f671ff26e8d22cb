package ftrl

import (
	"bytes"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/millrace/millrace/trainer/learn"
)

// small returns a model with few places that has learned rows.
func small(task learn.Task) *Model {
	m := New(task, 2, Params{HashBits: 6}.WithDefaults())
	r := rand.New(rand.NewPCG(4, 0))
	for range 20 {
		m.Learn(learn.Row{Dense: []float64{r.NormFloat64(), 1}, Hashed: []uint32{r.Uint32N(10), 63}}, float64(r.IntN(2)), 1)
	}
	return m
}

func encoded(m *Model) []byte {
	b, _ := m.AppendBinary(nil)
	return b
}

func TestBytesAreThoseOfTheFormat(t *testing.T) {
	m := New(learn.Regression, 1, Params{Alpha: 0.5, Beta: 2, L1: 3, L2: 4, HashBits: 9, Epochs: 7})
	m.labels = scale{weight: 5, mean: 6, squares: 7}
	m.bias = place{z: -8, root: 9}
	m.dense[0] = place{z: 10, root: 11}
	m.hashed[2] = place{z: 12, root: 13}
	m.hashed[300] = place{z: 14, root: 15}
	want := []byte{1, 1, 9, 0, 1}
	for _, f := range []float64{0.5, 2, 3, 4, 5, 6, 7, -8, 9, 10, 11} {
		want = appendFloat(want, f)
	}
	want = appendPlace(append(want, 2, 2), place{z: 12, root: 13})
	want = appendPlace(append(want, 297&0x7f|0x80, 297>>7), place{z: 14, root: 15})
	if got := encoded(m); !bytes.Equal(got, want) {
		t.Errorf("%x, want\n%x", got, want)
	}
}

func TestOtherModelsAreRefused(t *testing.T) {
	p := Params{HashBits: 6}.WithDefaults()
	with := func(change func(*Params)) *Model {
		q := p
		change(&q)
		return New(learn.Binary, 2, q)
	}
	saved := encoded(small(learn.Binary))
	for name, m := range map[string]*Model{
		"task":   New(learn.Regression, 2, p),
		"dense":  New(learn.Binary, 3, p),
		"alpha":  with(func(p *Params) { p.Alpha++ }),
		"beta":   with(func(p *Params) { p.Beta++ }),
		"l1":     with(func(p *Params) { p.L1++ }),
		"l2":     with(func(p *Params) { p.L2++ }),
		"bits":   with(func(p *Params) { p.HashBits++ }),
		"labels": with(func(p *Params) { p.RawLabels = true }),
		"none":   {},
	} {
		if err := m.UnmarshalBinary(saved); err == nil || !strings.HasPrefix(err.Error(), "ftrl: ") {
			t.Errorf("another %s: %v", name, err)
		}
	}
	if err := with(func(p *Params) { p.Epochs++ }).UnmarshalBinary(saved); err != nil {
		t.Errorf("other epochs: %v", err)
	}
}

// TestImpossibleStateIsRefused takes bytes that have the right form.
func TestImpossibleStateIsRefused(t *testing.T) {
	minus := math.Copysign(0, -1)
	for name, change := range map[string]func(*Model){
		"NaN":                 func(m *Model) { m.bias.z = math.NaN() },
		"infinite":            func(m *Model) { m.dense[1].root = math.Inf(1) },
		"infinite label":      func(m *Model) { m.labels.squares = math.Inf(1) },
		"negative root":       func(m *Model) { m.hashed[3] = place{z: 1, root: -1} },
		"z without root":      func(m *Model) { m.hashed[3] = place{z: 1} },
		"z beyond its root":   func(m *Model) { m.hashed[3] = place{z: 1e30, root: 1} },
		"minus zero":          func(m *Model) { m.bias = place{z: minus} },
		"root too large":      func(m *Model) { m.bias.root = 1e101 },
		"negative squares":    func(m *Model) { m.labels.squares = -1 },
		"labels of no weight": func(m *Model) { m.labels.weight = 0 },
		"mean too large":      func(m *Model) { m.labels.mean = 1e100 },
	} {
		m := small(learn.Regression)
		change(m)
		other := small(learn.Regression)
		before := encoded(other)
		if err := other.UnmarshalBinary(encoded(m)); err == nil || !bytes.Equal(encoded(other), before) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOneModelHasOneForm(t *testing.T) {
	saved := encoded(small(learn.Binary))
	at := len(New(learn.Binary, 2, Params{HashBits: 6}.WithDefaults()).appendHeader(nil)) + 3*8 + 3*16
	count := saved[at]
	for name, src := range map[string][]byte{
		"a count of two bytes":         append(append(bytes.Clone(saved[:at]), count|0x80, 0), saved[at+1:]...),
		"a place too many":             append(append(append(bytes.Clone(saved[:at]), count+1), saved[at+1:]...), make([]byte, 17)...),
		"a place too few":              append(append(bytes.Clone(saved[:at]), count-1), saved[at+1:]...),
		"a place that learned nothing": append(append(append(bytes.Clone(saved[:at]), count+1, 0), make([]byte, 16)...), saved[at+1:]...),
		"more than there are":          append(append(bytes.Clone(saved[:at]), 65), saved[at+1:]...),
	} {
		if err := small(learn.Binary).UnmarshalBinary(src); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func FuzzUnmarshalBinary(f *testing.F) {
	for _, task := range []learn.Task{learn.Binary, learn.Regression} {
		saved := encoded(small(task))
		f.Add(saved)
		f.Add(saved[:len(saved)/2])
		f.Add(encoded(New(task, 2, Params{HashBits: 6}.WithDefaults())))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		for _, task := range []learn.Task{learn.Binary, learn.Regression} {
			m := New(task, 2, Params{HashBits: 6}.WithDefaults())
			if m.UnmarshalBinary(src) != nil {
				continue
			}
			if got := encoded(m); !bytes.Equal(got, src) {
				t.Fatalf("%x became %x", src, got)
			}
			// What is read can be used: it predicts numbers and learns.
			for _, x := range []float64{0, 1, -math.MaxFloat64} {
				row := learn.Row{Dense: []float64{x, -x}, Hashed: []uint32{0, 1, 63}}
				m.Learn(row, 1, 1)
				if p := m.Predict(row); math.IsNaN(p) || math.IsInf(p, 0) {
					t.Fatalf("%x predicts %v", src, p)
				}
			}
		}
	})
}
