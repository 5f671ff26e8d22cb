//go:build browser && picture

package browser

import (
	"os"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// readme is the picture that README.md shows, and maxPicture the bytes that it may
// have: everybody who clones the project has it.
const (
	readme     = "../overview.png"
	maxPicture = 200_000
)

// TestPicture makes the picture of README.md: the overview of the demo in autumn
// 2008, with a champion in service, candidates that wait, and the alarm. "make
// picture" runs it.
func TestPicture(t *testing.T) {
	b := open(t, demo(t, "--speed", "0.6"))
	b.goTo("/ui/")
	version := b.candidate()
	b.goTo(version)
	b.approve(version, "looks right")
	b.goTo("/ui/")
	b.run(
		emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "light"}}),
		chromedp.EmulateViewport(1120, 400), // the page is higher, and no space is left below it
	)
	b.until("the alarm of autumn 2008, live", `/2008-10-08/.test(document.getElementById("alarms").textContent)`)
	b.until("a candidate that waits, and live figures", `/Review big_move/.test(document.getElementById("attention").textContent) && document.getElementById("connection").textContent === "Live"`)
	var png []byte
	b.run(chromedp.FullScreenshot(&png, 100))
	b.silent("overview")
	if len(png) > maxPicture {
		t.Fatalf("the picture has %d bytes, and may have %d: make it smaller", len(png), maxPicture)
	}
	if err := os.WriteFile(readme, png, 0o644); err != nil {
		t.Fatal(err)
	}
}
