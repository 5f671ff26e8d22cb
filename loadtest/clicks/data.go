package clicks

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
)

// Data is a training set, and the rows after it that a model is tested with.
type Data struct {
	Train, Test []Row
	Bayes       float64 // log loss of the true probabilities of the test rows
}

// MaxRows bounds the rows to learn: 160 bytes each are in memory, and a fifth as
// many for the test.
const MaxRows = 10_000_000

// Generate makes so many rows to learn and a fifth as many for the test, of one
// generator.
func Generate(rows int, seed uint64) *Data {
	g := NewGenerator(seed)
	d := &Data{Train: make([]Row, rows), Test: make([]Row, max(1, rows/5))}
	for i := range d.Train {
		g.Next(&d.Train[i])
	}
	for i := range d.Test {
		truth := g.Next(&d.Test[i])
		d.Bayes += logLoss(d.Test[i].Label, truth) / float64(len(d.Test))
	}
	return d
}

// Trivial is the log loss of predicting the base rate of the test rows for each.
// It is 0 where they have one label only.
func (d *Data) Trivial() float64 {
	rate := 0.0
	for _, r := range d.Test {
		rate += float64(r.Label) / float64(len(d.Test))
	}
	sum := 0.0
	for _, p := range [...]float64{rate, 1 - rate} {
		if p > 0 {
			sum -= p * math.Log(p)
		}
	}
	return sum
}

func logLoss(label uint8, p float64) float64 {
	if label == 0 {
		p = 1 - p
	}
	return -math.Log(p)
}

// rowSize is the size of a row in a file, in bytes: the label, the numbers and
// the categories, in the order of their columns and little-endian.
const rowSize = 1 + 4*Numbers + 4*Categories

// Read reads a file as the benchmarks of other learners have it: rows to learn,
// then the test rows. How many of each, and the true log loss, is in a file
// beside it: w4.meta.json for w4.bin.
func Read(name string) (*Data, error) {
	beside := strings.TrimSuffix(name, ".bin") + ".meta.json"
	text, err := os.ReadFile(beside)
	if err != nil {
		return nil, fmt.Errorf("the numbers of rows of %s: %w", name, err)
	}
	var meta struct {
		Train int
		Test  int
		Bayes float64 `json:"bayes_logloss"`
	}
	if err := json.Unmarshal(text, &meta); err != nil {
		return nil, fmt.Errorf("%s: %w", beside, err)
	}
	if meta.Train < 1 || meta.Train > MaxRows || meta.Test < 1 || meta.Test > MaxRows {
		return nil, fmt.Errorf("%s: train %d and test %d: 1 to %d rows are possible", beside, meta.Train, meta.Test, MaxRows)
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if want := int64(meta.Train+meta.Test) * rowSize; info.Size() != want {
		return nil, fmt.Errorf("%s has %d bytes; the %d rows that %s names have %d", name, info.Size(), meta.Train+meta.Test, beside, want)
	}
	d := &Data{Train: make([]Row, meta.Train), Test: make([]Row, meta.Test), Bayes: meta.Bayes}
	r := bufio.NewReaderSize(file, 1<<20)
	for _, rows := range [][]Row{d.Train, d.Test} {
		if err := readRows(r, rows); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return d, nil
}

func readRows(r io.Reader, rows []Row) error {
	var b [rowSize]byte
	for i := range rows {
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return err
		}
		if err := rows[i].decode(&b); err != nil {
			return fmt.Errorf("row %d: %w", i, err)
		}
	}
	return nil
}

func (r *Row) decode(b *[rowSize]byte) error {
	r.Label = b[0]
	if r.Label > 1 {
		return fmt.Errorf("label %d is neither 0 nor 1", r.Label)
	}
	for i := range r.Numbers {
		x := math.Float32frombits(binary.LittleEndian.Uint32(b[1+4*i:]))
		if !(x >= 0 && x <= math.MaxFloat32) {
			return fmt.Errorf("number %d is %v; it must be finite and not negative", i, x)
		}
		r.Numbers[i] = x
	}
	for j := range r.Categories {
		r.Categories[j] = binary.LittleEndian.Uint32(b[1+4*Numbers+4*j:])
	}
	return nil
}
