package offline

import (
	"encoding/binary"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
)

// appendEvent appends an event without its order, which is its place: its time,
// its arrival, and each value as its kind and its bits or its text.
func appendEvent(b []byte, e *features.Event) []byte {
	b = binary.AppendVarint(b, e.Time)
	b = binary.AppendVarint(b, e.Arrival-e.Time)
	for _, v := range e.Values {
		b = append(b, byte(v.Kind))
		switch v.Kind {
		case expr.Missing:
		case expr.String:
			b = appendText(b, v.Str)
		default:
			b = binary.LittleEndian.AppendUint64(b, v.Bits)
		}
	}
	return b
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// A wireReader takes what was appended from the front of b; bad says that b was
// too short.
type wireReader struct {
	b   []byte
	bad bool
}

func (r *wireReader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.b, r.bad = nil, true
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *wireReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.b, r.bad = nil, true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *wireReader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.b, r.bad = nil, true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *wireReader) text() string { return string(r.take(r.uvarint())) }

// event reads an event with its place into e, whose values are as many.
func (r *wireReader) event(e *features.Event) {
	e.Order = features.Order(r.uvarint())
	e.Time = r.varint()
	e.Arrival = e.Time + r.varint()
	for i := range e.Values {
		kind := r.take(1)
		if kind == nil {
			return
		}
		switch v := (features.Value{Kind: features.Kind(kind[0])}); v.Kind {
		case expr.Missing:
			e.Values[i] = v
		case expr.String:
			e.Values[i] = expr.StringValue(r.text())
		default:
			if bits := r.take(8); bits != nil {
				v.Bits = binary.LittleEndian.Uint64(bits)
			}
			e.Values[i] = v
		}
	}
}
