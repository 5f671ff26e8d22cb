package streams

import (
	"strings"
	"testing"
)

const sampledParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func TestTraced(t *testing.T) {
	for _, c := range []struct {
		name, value string
		want        bool
	}{
		{"sampled", sampledParent, true},
		{"other flags beside it", sampledParent[:53] + "03", true},
		{"not sampled", sampledParent[:53] + "00", false},
		{"a later version with more", "01" + sampledParent[2:] + "-more", true},
		{"a later version, longer without a dash", "01" + sampledParent[2:] + "more", false},
		{"version 00 with more", sampledParent + "-more", false},
		{"version ff", "ff" + sampledParent[2:], false},
		{"no trace", "00-" + strings.Repeat("0", 32) + sampledParent[35:], false},
		{"no span", sampledParent[:36] + strings.Repeat("0", 16) + "-01", false},
		{"capitals", strings.ToUpper(sampledParent), false},
		{"no hex", strings.Replace(sampledParent, "0af", "0xf", 1), false},
		{"no hex version", "0x" + sampledParent[2:], false},
		{"cut", sampledParent[:54], false},
		{"empty", "", false},
	} {
		r := Record{Headers: []Header{{Key: "other", Value: []byte("x")}, {Key: TraceParent, Value: []byte(c.value)}, {Key: TraceState, Value: []byte("a=1")}}}
		got, ok := r.Traced()
		if ok != c.want || ok != (got != TraceContext{}) {
			t.Errorf("%s: %x, %v; want %v", c.name, got, ok, c.want)
		}
		if ok && (got.Trace[0] != 0x0a || got.Trace[15] != 0x9c || got.Span[0] != 0xb7 || got.Span[7] != 0x31) {
			t.Errorf("%s: %x", c.name, got)
		}
		if h := r.TraceHeaders(); ok != (len(h) == 2) {
			t.Errorf("%s: passes on %v", c.name, h)
		}
	}
	if _, ok := (&Record{}).Traced(); ok {
		t.Error("a record without headers is traced")
	}
	long := Record{Headers: []Header{{TraceParent, []byte(sampledParent)}, {TraceState, []byte(strings.Repeat("a", 600))}, {TraceParent, []byte(sampledParent)}}}
	if h := long.TraceHeaders(); len(h) != 1 {
		t.Errorf("%d headers are passed on, want the traceparent alone", len(h))
	}
	r := Record{Headers: []Header{{TraceParent, []byte(sampledParent)}}}
	if n := testing.AllocsPerRun(100, func() { r.Traced() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
