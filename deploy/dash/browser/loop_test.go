//go:build browser

package browser

import (
	"testing"

	"github.com/chromedp/chromedp"
)

const model = "/ui/models/big_move"

// TestTheLoop goes through the demo as a person would who sees it for the first
// time: a candidate waits and is approved by a click, which brings it into
// service; the alarm of autumn 2008 is acknowledged; and every page is looked at.
func TestTheLoop(t *testing.T) {
	url := demo(t, "--speed", "0.6") // fifty seconds
	b := open(t, url)
	b.goTo("/")
	b.until("the overview", `location.pathname === "/ui/" && document.querySelector("main h1") !== null`)
	b.silent("overview")

	// The first candidate that the gate promotes waits for a person.
	version := b.candidate()
	b.goTo(version)
	b.look("candidate")
	b.approve(version, "looks right")
	b.silent("approval")

	// The deviation of the stocks' mean move over 30 days was three times the year's.
	b.until("the alarm of autumn 2008", `fetch("/ui/alarms").then(r => r.text()).then(t => /daily\.last_ret: the deviation/.test(t) && /2008-(09|10)/.test(t))`)
	b.goTo("/ui/alarms")
	b.look("alarms")
	var alarm string
	b.eval(`(() => {
		const form = [...document.querySelectorAll('form[action="/ui/alarms/acknowledge"]')].find(f => /\/std\/daily\.last_ret\/2008-(09|10)/.test(f.elements.id.value));
		if (!form) return "";
		form.elements.comment.value = "Lehman";
		form.querySelector("button").click();
		return form.elements.id.value;
	})()`, &alarm)
	if alarm == "" {
		t.Fatal("the alarm of autumn 2008 cannot be acknowledged")
	}
	b.until("the acknowledgement", `fetch("/ui/alarms?show=all").then(r => r.text()).then(t => /Lehman/.test(t))`)

	for name, path := range map[string]string{
		"overview": "/ui/", "models": "/ui/models", "model": model, "version": version,
		"features": "/ui/features", "feature": "/ui/features/big_move/daily.last_ret", "score": "/ui/features/big_move/score",
		"prices": "/ui/views/daily?of=close&e.symbol=AAPL&from=2008-01-01&to=2008-12-31", "volatility": "/ui/views/daily?of=ret_std_30d&e.symbol=MSFT",
		"predictions": "/ui/predictions", "quality": "/ui/predictions/big_move",
	} {
		b.goTo(path)
		b.look(name)
	}
}

// candidate waits until the overview shows a candidate in review, and returns the
// path of its page.
func (b *tab) candidate() (version string) {
	b.Helper()
	const waiting = `fetch("/ui/").then(r => r.text()).then(t => {
		const page = new DOMParser().parseFromString(t, "text/html");
		const link = [...page.querySelectorAll("a")].find(a => /^Review big_move version/.test(a.textContent.trim()));
		return link ? link.getAttribute("href") : "";
	})`
	b.until("a candidate in review", waiting)
	b.eval(waiting, &version)
	if version == "" {
		b.Fatal("no version of the model is in review")
	}
	return version
}

// approve approves a candidate on its page, which is open, and waits until it is in
// service.
func (b *tab) approve(version, comment string) {
	b.Helper()
	b.run(
		chromedp.SendKeys("textarea[name=comment]", comment, chromedp.ByQuery),
		chromedp.Click(`form[action$="/approve"] button.main`, chromedp.ByQuery),
		chromedp.WaitVisible("main h1", chromedp.ByQuery),
	)
	b.until("the version in service", `fetch("`+version+`").then(r => r.text()).then(t => /champion|retired/.test(t) && t.includes("`+comment+`"))`)
}
