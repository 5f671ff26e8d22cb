package serve

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// TestBrowsers sends what a web page can make a browser on this machine send,
// and what programs send.
func TestBrowsers(t *testing.T) {
	w := newWorld(t, nil)
	serve := func(address string) string {
		ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
		must(t, err)
		ctx, stop := context.WithCancel(t.Context())
		server, err := New(w.cfg)
		must(t, err)
		ended := make(chan error, 1)
		go func() { ended <- server.Serve(ctx, ln) }()
		t.Cleanup(func() {
			stop()
			must(t, <-ended)
		})
		_, port, err := net.SplitHostPort(ln.Addr().String())
		must(t, err)
		return port
	}
	local, open := serve("127.0.0.1:0"), serve("0.0.0.0:0")
	const event = `{"symbol":"A","time":"2026-03-04T05:00:00Z"}`
	for _, c := range []struct {
		port, host string
		header     http.Header
		status     int
		says       string
	}{
		{local, "127.0.0.1:" + local, nil, 200, "positions"},
		{local, "127.8.9.1", nil, 200, "positions"},
		{local, "LocalHost:1", nil, 200, "positions"},
		{local, "localhost", nil, 200, "positions"},
		{local, "[::1]:" + local, nil, 200, "positions"},
		{local, "[::1]", nil, 200, "positions"},
		{local, "evil.example:" + local, nil, 403, "evil.example"},
		{local, "127.0.0.1.evil.example", nil, 403, "for this machine alone"},
		{local, "localhost.evil.example:80", nil, 403, "for this machine alone"},
		{local, "192.0.2.1", nil, 403, "for this machine alone"},
		{local, "localhost", http.Header{"Origin": {"http://localhost"}, "Sec-Fetch-Site": {"same-origin"}}, 200, "positions"},
		{local, "localhost", http.Header{"Origin": {"https://evil.example"}, "Sec-Fetch-Site": {"cross-site"}}, 403, "evil.example"},
		{local, "localhost", http.Header{"Origin": {"https://evil.example"}}, 403, "evil.example"},
		{local, "localhost", http.Header{"Origin": {"null"}}, 403, "a web page"},
		{open, "features.example", nil, 200, "positions"},
		{open, "features.example", http.Header{"Origin": {"https://evil.example"}, "Sec-Fetch-Site": {"cross-site"}}, 403, "evil.example"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://127.0.0.1:"+c.port+"/v1/events/prices", strings.NewReader(event))
		must(t, err)
		req.Host = c.host
		if c.header != nil {
			req.Header = c.header
		}
		res, err := http.DefaultClient.Do(req)
		must(t, err)
		body, err := io.ReadAll(res.Body)
		must(t, err)
		res.Body.Close()
		if res.StatusCode != c.status || !strings.Contains(string(body), c.says) || !json.Valid(body) {
			t.Errorf("Host %s %v: %d %s, want %d with %s", c.host, c.header, res.StatusCode, body, c.status, c.says)
		}
	}
}
