package collisions

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strings"

	"github.com/millrace/millrace/trainer/eval"
)

// Data is a training set, the rows that a model is tested with, and how good
// predictions of these can be.
type Data struct {
	Train, Test []Row
	BayesAUC    float64 // of the true probabilities of the test rows
	BayesLoss   float64 // their log loss
}

// Limits of the rows to train with, and of the rows to test with. Each has 116
// bytes in memory, and 224 more where trees are grown.
const (
	MinRows = 100
	MaxRows = 10_000_000
)

// Generate makes so many rows to train with and a fifth as many for the test, of
// one generator.
func Generate(rows int, seed uint64) *Data {
	g := NewGenerator(seed)
	d := &Data{Train: make([]Row, rows), Test: make([]Row, max(1, rows/5))}
	for i := range d.Train {
		g.Next(&d.Train[i])
	}
	truth := make([]float64, len(d.Test))
	for i := range d.Test {
		truth[i] = g.Next(&d.Test[i])
	}
	d.BayesAUC, d.BayesLoss = d.judge(truth)
	return d
}

// judge returns the area under the curve of probabilities of the test rows, and
// their log loss.
func (d *Data) judge(score []float64) (auc, logLoss float64) {
	label := make([]float64, len(d.Test))
	for i, r := range d.Test {
		label[i] = float64(r.Label)
	}
	return float64(eval.AUC(label, score, nil).Value), float64(eval.LogLoss(label, score, nil).Value)
}

// A set is three files, as the benchmarks of other learners have them: rows to
// train with and test rows, each a label and 28 numbers as little-endian float32,
// and how many there are.
const (
	trainFile = "_train.f32"
	testFile  = "_test.f32"
	metaFile  = ".meta.json"

	rowSize = 4 * (1 + Features)
)

type meta struct {
	Train int          `json:"train"`
	Test  int          `json:"test"`
	AUC   *eval.Number `json:"bayes_auc"`
	Loss  *eval.Number `json:"bayes_logloss"`
}

// Write writes the set's three files, whose names begin with the prefix.
func (d *Data) Write(prefix string) error {
	auc, loss := eval.Number(d.BayesAUC), eval.Number(d.BayesLoss)
	text, err := json.Marshal(meta{len(d.Train), len(d.Test), &auc, &loss})
	if err != nil {
		return err
	}
	if err := os.WriteFile(prefix+metaFile, text, 0o666); err != nil {
		return err
	}
	if err := writeRows(prefix+trainFile, d.Train); err != nil {
		return err
	}
	return writeRows(prefix+testFile, d.Test)
}

func writeRows(name string, rows []Row) (err error) {
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	w := bufio.NewWriterSize(file, 1<<20)
	var b [rowSize]byte
	for i := range rows {
		rows[i].encode(&b)
		if _, err := w.Write(b[:]); err != nil {
			return err
		}
	}
	return w.Flush()
}

func (r *Row) encode(b *[rowSize]byte) {
	binary.LittleEndian.PutUint32(b[:], math.Float32bits(r.Label))
	for i, x := range r.X {
		binary.LittleEndian.PutUint32(b[4+4*i:], math.Float32bits(x))
	}
}

// Read reads a set by the name of the file that says how many rows there are.
func Read(name string) (*Data, error) {
	prefix, ok := strings.CutSuffix(name, metaFile)
	if !ok {
		return nil, fmt.Errorf("%s: give the file that ends with %s; those that end with %s and %s are beside it", name, metaFile, trainFile, testFile)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var m meta
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if m.Train < MinRows || m.Train > MaxRows || m.Test < 1 || m.Test > MaxRows {
		return nil, fmt.Errorf("%s: train %d and test %d: %d to %d rows to train with and 1 to %d to test with are possible", name, m.Train, m.Test, MinRows, MaxRows, MaxRows)
	}
	if m.AUC == nil || m.Loss == nil {
		return nil, fmt.Errorf("%s has no bayes_auc and bayes_logloss, which say how good predictions can be", name)
	}
	d := &Data{BayesAUC: float64(*m.AUC), BayesLoss: float64(*m.Loss)}
	if d.Train, err = readRows(prefix+trainFile, m.Train); err != nil {
		return nil, err
	}
	d.Test, err = readRows(prefix+testFile, m.Test)
	return d, err
}

func readRows(name string, n int) ([]Row, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if want := int64(n) * rowSize; info.Size() != want {
		return nil, fmt.Errorf("%s has %d bytes; %d rows have %d", name, info.Size(), n, want)
	}
	rows := make([]Row, n)
	r := bufio.NewReaderSize(file, 1<<20)
	var b [rowSize]byte
	for i := range rows {
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if err := rows[i].decode(&b); err != nil {
			return nil, fmt.Errorf("%s: row %d: %w", name, i, err)
		}
	}
	return rows, nil
}

func (r *Row) decode(b *[rowSize]byte) error {
	r.Label = math.Float32frombits(binary.LittleEndian.Uint32(b[:]))
	if r.Label != 0 && r.Label != 1 {
		return fmt.Errorf("label %v is neither 0 nor 1", r.Label)
	}
	for i := range r.X {
		x := math.Float32frombits(binary.LittleEndian.Uint32(b[4+4*i:]))
		if math.IsInf(float64(x), 0) {
			return fmt.Errorf("number %d is %v; it must be finite, or NaN where it is missing", i, x)
		}
		r.X[i] = x
	}
	return nil
}
