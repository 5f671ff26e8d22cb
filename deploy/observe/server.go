package observe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// The time limits of a server of metrics. An answer is a few hundred KiB at most.
const (
	headerTimeout = 5 * time.Second
	answerTimeout = 15 * time.Second
	stopTimeout   = time.Second
)

// Serve shows the metrics as GET /metrics on a listener until ctx ends, for
// processes that have no other HTTP server. It closes the listener.
func (m *Metrics) Serve(ctx context.Context, ln net.Listener) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", m)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: headerTimeout, ReadTimeout: headerTimeout, WriteTimeout: answerTimeout, MaxHeaderBytes: 16 << 10}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(ln) }()
	select {
	case err := <-failed:
		return fmt.Errorf("observe: serve metrics: %w", err)
	case <-ctx.Done():
	}
	limit, done := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer done()
	if server.Shutdown(limit) != nil { // an answer is cut, which Prometheus asks for again
		server.Close()
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("observe: serve metrics: %w", err)
	}
	return nil
}
