package serve

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// TestPages gives the pages what is theirs, after the checks that all requests
// pass, and ends what they go on writing to when the server stops.
func TestPages(t *testing.T) {
	w := newWorld(t, nil)
	w.cfg.Pages = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		fmt.Fprintf(rw, "page %s %s %s %v\n", r.Method, r.URL.Path, body, err)
		if r.URL.Path == "/ui/events" {
			if err := http.NewResponseController(rw).Flush(); err != nil {
				t.Error(err)
			}
			<-r.Context().Done()
		}
	})
	w.cfg.MaxBody = 100
	server, err := New(w.cfg)
	must(t, err)
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, ln) }()
	ask := func(method, path, site, body string) *http.Response {
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+ln.Addr().String()+path, strings.NewReader(body))
		must(t, err)
		req.Header.Set("Sec-Fetch-Site", site)
		resp, err := http.DefaultClient.Do(req)
		must(t, err)
		t.Cleanup(func() { resp.Body.Close() })
		return resp
	}
	for _, c := range []struct {
		method, path, site, body string
		status                   int
		says                     string
	}{
		{"GET", "/", "none", "", 200, "page GET / "},
		{"GET", "/ui/models", "same-origin", "", 200, "page GET /ui/models"},
		{"POST", "/ui/models", "same-origin", "a=b", 200, "page POST /ui/models a=b <nil>"},
		{"POST", "/ui/models", "cross-site", "a=b", 403, "from elsewhere"},
		{"POST", "/ui/models", "same-origin", strings.Repeat("x", 101), 200, "too large"},
		{"GET", "/uix", "none", "", 404, "there is no"},
		{"GET", "/healthz", "none", "", 200, ""},
	} {
		resp := ask(c.method, c.path, c.site, c.body) //nolint:bodyclose // by Cleanup
		text, err := io.ReadAll(resp.Body)
		must(t, err)
		if resp.StatusCode != c.status || !strings.Contains(string(text), c.says) {
			t.Errorf("%s %s from %s: %d %s", c.method, c.path, c.site, resp.StatusCode, text)
		}
	}
	stream := bufio.NewReader(ask("GET", "/ui/events", "same-origin", "").Body) //nolint:bodyclose // by Cleanup
	_, err = stream.ReadString('\n')
	must(t, err)
	stop()
	if _, err := stream.ReadString('\n'); err != io.EOF {
		t.Errorf("after the stop: %v", err)
	}
	must(t, <-ended)
	w.cfg.PagesOnly = true
	only, err := New(w.cfg)
	must(t, err)
	for path, there := range map[string]bool{"/ui/": true, "/": true, "/healthz": true, "/readyz": true, "/v1/models": false, "/get-online-features": false, "/v1/events/trades": false, "/v1/predict/up": false, "/v1/outcomes/up": false} {
		if only.route(path) != nil != there {
			t.Errorf("of a server with pages only, %s: there is %v", path, !there)
		}
	}
	w.cfg.Pages, w.cfg.PagesOnly = nil, false
	without, err := New(w.cfg)
	must(t, err)
	if without.route("/") != nil || without.route("/ui/") != nil {
		t.Error("there are pages without pages")
	}
}
