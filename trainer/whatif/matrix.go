package whatif

import (
	"crypto/sha256"
	"encoding/hex"
	"math"
	"sync"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
)

// A matrix is vectors, of nine bytes a value. Different rows may be put at a time.
type matrix struct {
	width int
	bits  []uint64
	kinds []features.Kind

	mu    sync.Mutex
	texts texts
}

func newMatrix(rows, width int) *matrix {
	return &matrix{width: width, bits: make([]uint64, rows*width), kinds: make([]features.Kind, rows*width)}
}

func (m *matrix) bytes() int64 { return int64(9*len(m.bits) + 72*len(m.texts.all)) }

func (m *matrix) put(row int, vector []features.Value) {
	at := row * m.width
	for i, v := range vector {
		m.bits[at+i], m.kinds[at+i] = v.Bits, v.Kind
		if v.Kind == expr.String {
			m.mu.Lock()
			m.bits[at+i], _ = m.texts.place(v.Str)
			m.mu.Unlock()
		}
	}
}

// grow adds a row.
func (m *matrix) grow(vector []features.Value) {
	m.bits = append(m.bits, make([]uint64, m.width)...)
	m.kinds = append(m.kinds, make([]features.Kind, m.width)...)
	m.put(m.rows()-1, vector)
}

func (m *matrix) rows() int { return len(m.bits) / max(1, m.width) }

// row appends a row's vector to dst.
func (m *matrix) row(dst []features.Value, row int) []features.Value {
	for i := row * m.width; i < (row+1)*m.width; i++ {
		v := features.Value{Kind: m.kinds[i], Bits: m.bits[i]}
		if v.Kind == expr.String {
			v = expr.StringValue(m.texts.all[v.Bits])
		}
		dst = append(dst, v)
	}
	return dst
}

// same reports whether two values are the same to the bit. NaN is missing.
func same(a, b features.Value) bool {
	a, b = plain(a), plain(b)
	return a.Kind == b.Kind && (a.Kind == expr.String && a.Str == b.Str || a.Kind != expr.String && a.Bits == b.Bits)
}

func plain(v features.Value) features.Value {
	if v.Kind == expr.Missing || v.Kind == expr.Float && math.IsNaN(v.Float()) {
		return features.Value{}
	}
	return v
}

func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}
