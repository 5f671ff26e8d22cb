package main

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/millrace/millrace/deploy/project"
)

// TestStagesEndInOrder ends stages by a signal, and by the failure of one: each
// has ended before the next is told to.
func TestStagesEndInOrder(t *testing.T) {
	broken := errors.New("broken")
	for _, fails := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		var ended []string // in turn, so no lock: the race detector watches
		stage := func(name string) stage {
			return func(ctx context.Context) error {
				<-ctx.Done()
				ended = append(ended, name)
				return nil
			}
		}
		trigger := func(ctx context.Context) error {
			if fails {
				return broken
			}
			cancel()
			<-ctx.Done()
			return nil
		}
		err := runStages(ctx, slog.New(slog.DiscardHandler), stage("http"), stage("pipeline"), stage("lake"), trigger)
		cancel()
		if fails != errors.Is(err, broken) || !fails && err != nil {
			t.Errorf("fails %v: %v", fails, err)
		}
		if !slices.Equal(ended, []string{"http", "pipeline", "lake"}) {
			t.Errorf("fails %v: ended %v", fails, ended)
		}
	}
}

func TestProgressLine(t *testing.T) {
	for _, c := range []struct {
		total, events, bytes int64
		want                 string
	}{
		{0, 1, 0, "1 event, 0/s"},
		{0, 12154, 10, "12,154 events, 1,215/s"},
		{400, 1_234_567, 100, "1,234,567 events, 123,456/s, 25%, 30s to go"},
		{100, 20, 200, "20 events, 2/s, 100%, 0s to go"}, // a file that grew
	} {
		p := &progress{total: c.total}
		if got := p.line(c.events, c.bytes, 10*time.Second); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

func TestReadable(t *testing.T) {
	for in, want := range map[string]string{
		`{"a": "é"}`: `{"a": "é"}`,
		"\x1b[31m":   `"\x1b[31m"`,
		"a\nb":       `"a\nb"`,
		"\xff":       `"\xff"`,
		"":           "",
	} {
		if got := readable([]byte(in)); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	if got := readable(nil); got != "(none)" {
		t.Error(got)
	}
	if got := oneLine("ééé", 3); got != "é..." {
		t.Error(got)
	}
}

func TestQuoteForShell(t *testing.T) {
	for in, want := range map[string]string{"../a-b_1": "../a-b_1", "my shop": "'my shop'", "it's": `'it'\''s'`, "$HOME": "'$HOME'"} {
		if got := quoteForShell(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

// lateEnd is a context that has ended, which shows only to who asks: nothing
// that opens the engines of a project without sources does.
type lateEnd struct{ context.Context }

func (lateEnd) Done() <-chan struct{} { return nil }
func (lateEnd) Err() error            { return context.Canceled }

// TestEnginesCloseAtASignal leaves nothing open where the signal comes just as
// all is open.
func TestEnginesCloseAtASignal(t *testing.T) {
	p, log := &project.Project{DataDir: t.TempDir()}, slog.New(slog.DiscardHandler)
	if err := withEngines(lateEnd{t.Context()}, p, log, func(*opened) error { return nil }); err != nil {
		t.Fatal(err)
	}
	e, err := openEngines(t.Context(), p, log) // fails while another holds the folder
	if err != nil {
		t.Fatal(err)
	}
	if err := e.close(); err != nil {
		t.Error(err)
	}
}
