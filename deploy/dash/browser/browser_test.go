//go:build browser

package browser

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// root is the project's folder, and shots where the pictures go.
const (
	root  = "../../.."
	shots = root + "/.cache/browser"
)

// program builds millrace.
func program(t *testing.T) string {
	path, err := filepath.Abs(filepath.Join(t.TempDir(), "millrace"))
	if err != nil {
		t.Fatal(err)
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", path, "./cmd/millrace")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// demo starts a demo that goes on until the test ends, and returns its address.
func demo(t *testing.T, args ...string) (url string) {
	cmd := exec.Command(program(t), append([]string{"demo", "--keep", "--data-dir", t.TempDir()}, args...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	found, read := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if m := regexp.MustCompile(`http://127\.0\.0\.1:\d+`).FindString(lines.Text()); m != "" {
				select {
				case found <- m:
				default:
				}
			}
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-read
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the demo's log:\n%s", stderr.String())
		}
	})
	select {
	case url = <-found:
		return url
	case <-read:
		t.Fatalf("the demo named no address:\n%s", stderr.String())
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
	return ""
}

// A tab is one page of Chromium, and what its console said.
type tab struct {
	*testing.T
	ctx context.Context
	url string
	axe string

	mu   sync.Mutex
	said []string
}

// open starts Chromium.
func open(t *testing.T, url string) *tab {
	chromium := "chromium"
	if path := os.Getenv("CHROMIUM"); path != "" {
		chromium = path
	}
	if _, err := exec.LookPath(chromium); err != nil {
		t.Fatalf("%v: install Debian's package chromium, or name another with CHROMIUM", err)
	}
	axe, err := os.ReadFile(root + "/.cache/axe-4.14.1/axe.min.js")
	if err != nil {
		t.Fatalf("%v: make test-browser fetches it", err)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(chromium), chromedp.NoSandbox, chromedp.WindowSize(1280, 900))
	allocator, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(cancel)
	b := &tab{T: t, ctx: ctx, url: url, axe: string(axe)}
	chromedp.ListenTarget(ctx, func(event any) {
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			b.say("exception: " + e.ExceptionDetails.Error())
		case *runtime.EventConsoleAPICalled:
			if e.Type == runtime.APITypeError || e.Type == runtime.APITypeWarning || e.Type == runtime.APITypeAssert {
				b.say(fmt.Sprintf("console.%s: %s", e.Type, values(e.Args)))
			}
		case *log.EventEntryAdded:
			if e.Entry.Level == log.LevelError || e.Entry.Level == log.LevelWarning {
				b.say(fmt.Sprintf("%s: %s %s", e.Entry.Level, e.Entry.Text, e.Entry.URL))
			}
		}
	})
	b.run(log.Enable())
	return b
}

func values(args []*runtime.RemoteObject) string {
	var texts []string
	for _, a := range args {
		texts = append(texts, string(a.Value)+a.Description)
	}
	return strings.Join(texts, " ")
}

func (b *tab) say(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.said = append(b.said, text)
}

// silent fails where the console has said something.
func (b *tab) silent(where string) {
	b.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.said {
		b.Errorf("%s: the console says: %s", where, s)
	}
	b.said = nil
}

// wait is for how long a page may take to come to what a test waits for. The demo
// is at work beside it.
const wait = 2 * time.Minute

func (b *tab) run(actions ...chromedp.Action) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, wait)
	defer cancel()
	if len(b.said) == 0 && chromedp.FromContext(b.ctx).Target == nil {
		ctx = b.ctx // the first call starts the browser, which lives as long as its context
	}
	if err := chromedp.Run(ctx, actions...); err != nil {
		b.picture("failed")
		b.Fatalf("%v; the picture is in %s", err, shots)
	}
}

// goTo opens a page and waits until it is there.
func (b *tab) goTo(path string) {
	b.Helper()
	b.run(chromedp.Navigate(b.url+path), chromedp.WaitVisible("main h1", chromedp.ByQuery))
}

// until waits until an expression of JavaScript holds. One that cannot be asked,
// since the page is just making way for another, is asked again.
func (b *tab) until(what, expression string) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, wait)
	defer cancel()
	for {
		var holds bool
		err := chromedp.Run(ctx, chromedp.Evaluate(`Promise.resolve(`+expression+`).then(x => !!x)`, &holds, func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }))
		if err == nil && holds {
			return
		}
		select {
		case <-ctx.Done():
			b.picture("failed")
			b.Fatalf("%s: %v; the picture is in %s", what, err, shots)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (b *tab) eval(expression string, into any) {
	b.Helper()
	b.run(chromedp.Evaluate(expression, into, func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }))
}

// accessible runs axe-core on the page as it is.
func (b *tab) accessible(where string) {
	b.Helper()
	var found []struct {
		ID, Impact, Help string
		Nodes            []struct {
			Target         json.RawMessage
			FailureSummary string
		}
	}
	b.eval(b.axe+`; axe.run(document, {resultTypes: ["violations"]}).then(r => r.violations)`, &found)
	for _, v := range found {
		if v.Impact == "serious" || v.Impact == "critical" {
			b.Errorf("%s: axe-core: %s %s: %s; %d elements, the first %s: %s", where, v.Impact, v.ID, v.Help, len(v.Nodes), v.Nodes[0].Target, v.Nodes[0].FailureSummary)
		}
	}
}

// picture keeps a picture of the whole page.
func (b *tab) picture(name string) {
	b.Helper()
	var png []byte
	ctx, cancel := context.WithTimeout(b.ctx, wait)
	defer cancel()
	if err := chromedp.Run(ctx, chromedp.FullScreenshot(&png, 100)); err != nil {
		b.Errorf("picture %s: %v", name, err)
		return
	}
	if err := os.MkdirAll(shots, 0o755); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(shots, name+".png"), png, 0o644); err != nil {
		b.Fatal(err)
	}
}

// look at the page wide and narrow, light and dark.
func (b *tab) look(name string) {
	b.Helper()
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int64{1280, 360} {
			b.run(
				emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}),
				chromedp.EmulateViewport(width, 900),
			)
			where := fmt.Sprintf("%s_%s_%d", name, scheme, width)
			b.accessible(where)
			var over float64
			b.eval(`document.documentElement.scrollWidth - document.documentElement.clientWidth`, &over)
			if over > 0 {
				b.Errorf("%s: the page is %v px wider than the window", where, over)
			}
			b.picture(where)
		}
	}
	b.run(emulation.SetEmulatedMedia(), chromedp.EmulateViewport(1280, 900))
	b.silent(name)
}
