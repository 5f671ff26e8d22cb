//go:build browser

package browser

import (
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"testing"

	"github.com/chromedp/chromedp"
)

// TestWhatIfAndAServerThatGoesAway drags the window of a feature from a month to
// eight weeks, as a slider tells of it on its way, and sees the answer follow; then
// the server is away for a while, which the page says, and comes back by itself.
func TestWhatIfAndAServerThatGoesAway(t *testing.T) {
	front := newFront(t, demo(t, "--approve"))
	b := open(t, "http://"+front.address)
	b.goTo("/ui/")
	b.until("a champion", `fetch("/ui/models/big_move").then(r => r.text()).then(t => /since/.test(t) && /champion/.test(t))`)
	b.until("the end of the demo", `fetch("/ui/").then(r => r.text()).then(t => /2013-03-01/.test(t))`)

	b.goTo("/ui/whatif")
	b.run(chromedp.SendKeys(`input[name="e.symbol"]`, "AAPL", chromedp.ByQuery))
	b.until("the answer before", `document.querySelector("#answer .scores") !== null && !document.querySelector("#answer [role=alert]")`)
	b.run(chromedp.Evaluate(`{
		const slider = document.querySelector('input[name="w.daily.ret_mean_30d"]');
		for (let days = 31; days <= 56; days++) {
			slider.value = days;
			slider.dispatchEvent(new Event("input", { bubbles: true }));
		}
	}`, nil))
	b.until("the answer after", `/1 feature changed/.test(document.getElementById("answer-features").textContent) && /56d/.test(document.querySelector("tr.changed").textContent) && location.search.includes("56")`)
	b.look("whatif")
	b.goTo("/ui/whatif?ask=1&model=big_move&e.symbol=AAPL&w.daily.ret_mean_30d=56") // the same without a script
	b.until("the same answer", `/56d/.test(document.querySelector("tr.changed").textContent)`)
	b.silent("what if")

	const says = `document.getElementById("connection").textContent`
	b.goTo("/ui/")
	b.until("live figures", says+` === "Live"`)
	front.stop()
	b.until("word that the server is away", says+` === "Connection lost, trying again"`)
	b.picture("away")
	front.start()
	b.until("live figures again", says+` === "Live"`)
	b.mu.Lock()
	b.said = nil // the browser says itself that a connection was refused
	b.mu.Unlock()
}

// A front stands before a server, and can be away.
type front struct {
	*testing.T
	address string
	proxy   http.Handler
	server  *http.Server
}

func newFront(t *testing.T, server string) *front {
	to, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	f := &front{T: t, address: "127.0.0.1:0", proxy: &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(to) },
		FlushInterval: -1,
		ErrorHandler:  func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}}
	f.start()
	t.Cleanup(func() { f.stop() })
	return f
}

// start listens, where it did before if it was away.
func (f *front) start() {
	ln, err := net.Listen("tcp", f.address)
	if err != nil {
		f.Fatal(err)
	}
	f.address = ln.Addr().String()
	f.server = &http.Server{Handler: f.proxy}
	go f.server.Serve(ln)
}

// stop cuts all connections.
func (f *front) stop() { f.server.Close() }
