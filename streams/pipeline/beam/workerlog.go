package beam

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"

	beamlog "github.com/apache/beam/sdks/v2/go/pkg/beam/log"
)

// A runnerLog hands a worker's log to the SDK, which sends it to the runner: on
// Flink it is in the log of the TaskManager.
type runnerLog struct {
	slog.Handler // writes to text
	text         *logText
}

type logText struct {
	mu sync.Mutex
	bytes.Buffer
}

func newRunnerLog() *runnerLog {
	text := &logText{}
	return &runnerLog{text: text, Handler: slog.NewTextHandler(text, &slog.HandlerOptions{
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey) {
				return slog.Attr{} // the runner's log has both
			}
			return a
		},
	})}
}

// Handle sends a record. The SDK drops it to stderr where 2,000 wait already.
func (h *runnerLog) Handle(ctx context.Context, r slog.Record) error {
	h.text.mu.Lock()
	err := h.Handler.Handle(ctx, r)
	line := string(bytes.TrimSuffix(h.text.Bytes(), []byte("\n")))
	h.text.Reset()
	h.text.mu.Unlock()
	beamlog.Output(ctx, severity(r.Level), 1, line)
	return err
}

// WithAttrs is of slog.Handler.
func (h *runnerLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &runnerLog{h.Handler.WithAttrs(attrs), h.text}
}

// WithGroup is of slog.Handler.
func (h *runnerLog) WithGroup(name string) slog.Handler {
	return &runnerLog{h.Handler.WithGroup(name), h.text}
}

func severity(l slog.Level) beamlog.Severity {
	switch {
	case l >= slog.LevelError:
		return beamlog.SevError
	case l >= slog.LevelWarn:
		return beamlog.SevWarn
	case l >= slog.LevelInfo:
		return beamlog.SevInfo
	}
	return beamlog.SevDebug
}

// A stderrLog is the SDK's log where slog's default is the SDK's.
type stderrLog struct{}

// Log is of the SDK's Logger.
func (stderrLog) Log(_ context.Context, _ beamlog.Severity, _ int, message string) {
	fmt.Fprintln(os.Stderr, message)
}

// A quietLog is the SDK's log in a process that is no worker: what the SDK says
// of its own doings is for those who look for faults.
type quietLog struct{}

// Log is of the SDK's Logger.
func (quietLog) Log(ctx context.Context, severity beamlog.Severity, _ int, message string) {
	level := slog.LevelDebug
	if severity >= beamlog.SevError {
		level = slog.LevelError
	}
	slog.Log(ctx, level, message, "from", "beam")
}
