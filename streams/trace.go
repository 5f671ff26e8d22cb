package streams

import "encoding/hex"

// The headers of W3C's Trace Context, as a record has them. They say which work
// a record comes from and nothing about what it is: they take no part in states,
// checksums and dead letters.
const (
	TraceParent = "traceparent"
	TraceState  = "tracestate"
)

// maxTraceState is the length up to which a tracestate is passed on, in bytes:
// what W3C asks for at least.
const maxTraceState = 512

// A TraceContext is the span from which a record comes. The zero value is none.
type TraceContext struct {
	Trace [16]byte
	Span  [8]byte
}

// Traced returns the span from which the record comes, where it has a header
// that says so, and that span is sampled. It does not allocate.
func (r *Record) Traced() (TraceContext, bool) {
	for i := range r.Headers {
		if h := &r.Headers[i]; h.Key == TraceParent {
			c, sampled := parseTraceParent(h.Value)
			return c, sampled
		}
	}
	return TraceContext{}, false
}

// TraceHeaders returns the headers that a record which is made of r has of it:
// its trace context, where it is sampled, else nil. They share r's memory.
func (r *Record) TraceHeaders() (out []Header) {
	if len(r.Headers) == 0 {
		return nil
	}
	if _, ok := r.Traced(); !ok {
		return nil
	}
	for _, h := range r.Headers {
		if h.Key == TraceParent && len(out) == 0 || h.Key == TraceState && len(out) == 1 && len(h.Value) <= maxTraceState {
			out = append(out, h)
		}
	}
	return out
}

// traceParentLen is the length of version 00: 00-<32 hex>-<16 hex>-<2 hex>.
const traceParentLen = 55

// parseTraceParent reads a traceparent, and reports whether it is valid and says
// that it is sampled. Of later versions than 00 it reads what 00 has.
func parseTraceParent(b []byte) (c TraceContext, sampled bool) {
	if len(b) < traceParentLen || b[2] != '-' || b[35] != '-' || b[52] != '-' || !lowerHex(b[:traceParentLen]) {
		return TraceContext{}, false
	}
	if len(b) > traceParentLen && b[traceParentLen] != '-' {
		return TraceContext{}, false
	}
	var version, flags [1]byte
	for _, part := range [...]struct{ dst, src []byte }{{version[:], b[:2]}, {c.Trace[:], b[3:35]}, {c.Span[:], b[36:52]}, {flags[:], b[53:55]}} {
		if _, err := hex.Decode(part.dst, part.src); err != nil {
			return TraceContext{}, false
		}
	}
	if version[0] == 0xff || version[0] == 0 && len(b) != traceParentLen {
		return TraceContext{}, false
	}
	if c.Trace == ([16]byte{}) || c.Span == ([8]byte{}) || flags[0]&1 == 0 {
		return TraceContext{}, false
	}
	return c, true
}

// lowerHex refuses capital letters, which W3C does and encoding/hex does not.
func lowerHex(b []byte) bool {
	for _, x := range b {
		if x >= 'A' && x <= 'F' {
			return false
		}
	}
	return true
}
