package pipeline

import (
	"testing"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/streams"
)

// TestPanicOfADecoder decodes with one that panics: the record is refused, and the
// next one has another decoder.
func TestPanicOfADecoder(t *testing.T) {
	src := features.Source{Name: "s", EventTime: "t", Fields: []features.Field{{Name: "t", Kind: expr.Time, Unit: features.EpochSeconds}}}.WithDefaults()
	l := &lane{source: &src}
	rec := &streams.Record{Value: []byte(`{"t":7}`)}
	decode := func() (features.Event, *features.Rejection) { return l.decode(rec) }
	if _, refused := sheltered(l, decode); refused == nil || refused.Reason != "panic" {
		t.Errorf("%+v, want a panic", refused)
	}
	if e, refused := sheltered(l, decode); refused != nil || e.Time != 7_000_000 {
		t.Errorf("%+v, %+v", e, refused)
	}
}
