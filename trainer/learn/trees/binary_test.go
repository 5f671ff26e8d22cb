package trees

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/millrace/millrace/trainer/learn"
)

func encoded(t testing.TB, m *Model) []byte {
	t.Helper()
	b, err := m.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// summed returns the bytes with their sum behind them.
func summed(b []byte) []byte {
	b = bytes.Clone(b)
	return order.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func TestBytesAreThoseOfTheFormat(t *testing.T) {
	m, err := New(stump(), learn.Binary)
	if err != nil {
		t.Fatal(err)
	}
	f := func(b []byte, values ...float64) []byte {
		for _, v := range values {
			b = binary.LittleEndian.AppendUint64(b, math.Float64bits(v))
		}
		return b
	}
	want := []byte{1, 0, 1, 3, 1, 1, 'a', 1, 'b', 1, 'c', 1}
	want = append(f(want, 0.5), 2, 0, 5)
	want = f(append(want, 2|4, 1, 1, 2), 10, 2.5)
	want = f(append(want, 1), -1, 4)
	want = append(f(append(want, 8, 2, 3, 4), 6), 1, 5, 0, 0, 0, 0, 0, 0, 0)
	want = f(append(want, 1), 2, 5)
	want = f(append(want, 1), 3, 1)
	want = f(append(want, 0, 1, 1), 0.25, 0)
	want = summed(want)
	if got := encoded(t, m); !bytes.Equal(got, want) {
		t.Errorf("%x, want\n%x", got, want)
	}
}

func TestSavedAndLoadedItIsTheSame(t *testing.T) {
	for name, k := range kinds(2) {
		m := k.model(t)
		saved := encoded(t, m)
		if after, err := m.AppendBinary([]byte("before")); err != nil || string(after) != "before"+string(saved) {
			t.Errorf("%s: not appended: %v", name, err)
		}
		var other Model
		if err := other.UnmarshalBinary(saved); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !bytes.Equal(encoded(t, &other), saved) || !reflect.DeepEqual(other.Ensemble(), m.Ensemble()) || other.Task() != m.Task() {
			t.Errorf("%s: loaded it is another", name)
		}
		x := k.rows(30)
		for i := range 30 {
			row := x[i*k.features : (i+1)*k.features]
			for class, want := range m.Margins(nil, row) {
				if got := other.Margins(nil, row)[class]; got != want {
					t.Fatalf("%s: margin %v once it is loaded, and %v before", name, got, want)
				}
				near(t, name, other.ContributionsOf(class, nil, row), m.ContributionsOf(class, nil, row))
			}
		}
	}
}

func TestLoadingReplacesTheModel(t *testing.T) {
	m, err := New(&Ensemble{Features: 9, Link: Exp, Base: []float64{3}}, learn.Regression)
	if err != nil {
		t.Fatal(err)
	}
	other, err := New(stump(), learn.Binary)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.UnmarshalBinary(encoded(t, other)); err != nil || m.Features() != 3 || m.Task() != learn.Binary {
		t.Errorf("%d features, task %s, %v", m.Features(), m.Task(), err)
	}
	if got, want := m.Predict(learn.Row{Dense: []float64{0, 3, 2}}), other.Predict(learn.Row{Dense: []float64{0, 3, 2}}); got != want {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestDamagedBytesAreRefused(t *testing.T) {
	m, err := New(stump(), learn.Binary)
	if err != nil {
		t.Fatal(err)
	}
	saved := encoded(t, m)
	refused := func(what string, b []byte) {
		t.Helper()
		if err := m.UnmarshalBinary(b); err == nil || !strings.HasPrefix(err.Error(), "trees: ") {
			t.Errorf("%s: %v", what, err)
		}
		if !bytes.Equal(encoded(t, m), saved) {
			t.Fatalf("%s: the model has changed", what)
		}
	}
	for n := range saved {
		refused("cut off", saved[:n])
		for bit := range 8 {
			changed := bytes.Clone(saved)
			changed[n] ^= 1 << bit
			refused("changed", changed)
		}
		if n >= 4 {
			refused("cut off with a new sum", summed(saved[:n-4]))
		}
	}
	refused("longer", append(bytes.Clone(saved), 0))
	refused("longer with a new sum", summed(append(bytes.Clone(saved[:len(saved)-4]), 0)))
	if b, err := new(Model).AppendBinary([]byte("x")); err == nil || string(b) != "x" {
		t.Errorf("a model that was not made: %q, %v", b, err)
	}
}

// TestImpossibleBytesAreRefused takes bytes whose sum is right.
func TestImpossibleBytesAreRefused(t *testing.T) {
	m, err := New(stump(), learn.Binary)
	if err != nil {
		t.Fatal(err)
	}
	saved := encoded(t, m)
	saved = saved[:len(saved)-4]
	at := bytes.Index(saved, []byte{2, 0, 5, 6}) // the trees
	huge := binary.AppendUvarint(nil, 1<<40)
	splice := func(from, to int, with ...byte) []byte {
		return append(append(bytes.Clone(saved[:from]), with...), saved[to:]...)
	}
	for want, b := range map[string][]byte{
		"version":                            splice(0, 1, 2),
		"stands for none of [binary":         splice(1, 2, 3),
		"stands for none of [identity":       splice(2, 3, 4),
		`for task "binary"`:                  splice(1, 2, 1),
		"a count is cut off or":              splice(3, 4, huge...),
		"not within 0 to 65536":              splice(3, 4, 0x83, 0x00), // 3 in two bytes
		"it has names or has none":           splice(4, 5, 2),
		"not within 0 to 1024":               splice(5, 6, binary.AppendUvarint(nil, 1025)...),
		"not within 0 to 7":                  splice(at, at+1, huge...),
		"not within 0 to 1023":               splice(at+1, at+2, binary.AppendUvarint(nil, 1024)...),
		"class 1 of 1":                       splice(at+1, at+2, 1),
		"not within 0 to 9":                  splice(at+2, at+3, huge...),
		"flags 0x16":                         splice(at+3, at+4, 0x16),
		"flags 0x3":                          splice(at+3, at+4, 3),
		"feature 3 of 3":                     splice(at+4, at+5, 3),
		"child 0: children come":             splice(at+5, at+6, 0),
		"node 1: no node before it has it":   splice(at+5, at+6, 3),
		"not within 0 to 8388608":            splice(at+5, at+6, huge...),
		"child 2 is the child of two nodes":  splice(at+5, at+6, 2),
		"cover NaN":                          splice(at+7, at+15, 0, 0, 0, 0, 0, 0, 0xf8, 0x7f),
		"threshold NaN":                      splice(at+15, at+23, 0, 0, 0, 0, 0, 0, 0xf8, 0x7f),
		"it has a set, and a threshold":      splice(at+40, at+41, 8|4),
		"8 bytes follow its end":             append(bytes.Clone(saved), make([]byte, 8)...),
		"the base of class 0 is NaN":         splice(at-8, at, 1, 0, 0, 0, 0, 0, 0xf0, 0x7f),
		"0 bases with link":                  splice(at-9, at, 0),
		"it has no nodes":                    splice(len(saved)-18, len(saved), 0),
		"a count is cut off or not within 0": splice(at-9, at-8, binary.AppendUvarint(nil, 1<<63)...),
	} {
		if err := m.UnmarshalBinary(summed(b)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want one with %q", err, want)
		}
	}
}

// TestCountsAllocateNothing claims more than the bytes can hold.
func TestCountsAllocateNothing(t *testing.T) {
	head := []byte{version, 0, 1}
	head = binary.AppendUvarint(head, maxFeatures)
	claims := map[string][]byte{
		"names": append(bytes.Clone(head), 1),
		"bases": binary.AppendUvarint(append(bytes.Clone(head), 0), maxClasses),
	}
	head = append(appendFloat(append(head, 0, 1), 0), 0)[:len(head)+10]
	claims["trees"] = binary.AppendUvarint(bytes.Clone(head), maxTrees)
	head = append(head, 1, 0)
	claims["nodes"] = binary.AppendUvarint(bytes.Clone(head), maxNodes)
	head = append(head, 1, flagSet, 0, 1, 2)
	claims["set"] = binary.AppendUvarint(appendFloat(bytes.Clone(head), 1), maxWords)
	for name, b := range claims {
		b = summed(b)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := new(Model).UnmarshalBinary(b)
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; err == nil || used > 1<<16 {
			t.Errorf("%s: %d bytes allocated, %v", name, used, err)
		}
	}
}
