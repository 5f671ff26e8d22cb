package alarms

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestRedirects are followed to the same place only, with the same request.
func TestRedirects(t *testing.T) {
	b, path := newBook(t)
	storm(t, b, 1)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		t.Errorf("%s %s has come with %v", req.Method, req.URL, req.Header)
	}))
	defer elsewhere.Close()
	r := newReceiver(t,
		answer(307, "Location", elsewhere.URL), answer(308, "Location", elsewhere.URL+"/hook"), answer(301, "Location", "/other"), answer(303, "Location", "/other"),
		answer(307, "Location", "/1"), answer(307, "Location", "/2"), answer(307, "Location", "/3"), answer(307, "Location", "/4"), // one too many
		answer(307, "Location", "/hook"))
	h := newHook(t, r.target())
	run(t, path, h)
	if len(h.waits) != 5 || r.requests != 10 || !strings.Contains(h.log.String(), "answered 307 Temporary Redirect; it points elsewhere, where the token does not go: give the URL that it leads to") {
		t.Errorf("%v, %d requests, %s", h.waits, r.requests, h.log.String())
	}
}

func TestTheBody(t *testing.T) {
	a := alarm("m", "spend.sum_7d", 3, 5)
	open := alarm("m", "score", 4, 0)
	open.Worst = math.Inf(1)
	text, err := body([]Entry{{Alarm: a, Comment: "not told"}, {Alarm: open}})
	want := `{"alarms":[{"id":"m/drift/spend.sum_7d/259200000000","model":"m","kind":"drift","column":"spend.sum_7d","version":3,` +
		`"onset":"1970-01-04T00:00:00Z","over":"1970-01-06T00:00:00Z","value":0.25,"worst":0.5,"threshold":0.2,"text":"share of spend.sum_7d is 0.5"},` +
		`{"id":"m/drift/score/345600000000","model":"m","kind":"drift","column":"score","version":3,` +
		`"onset":"1970-01-05T00:00:00Z","value":0.25,"worst":null,"threshold":0.2,"text":"share of score is 0.5"}]}`
	if err != nil || string(text) != want {
		t.Errorf("%s, %v", text, err)
	}
}

func TestTargets(t *testing.T) {
	for url, want := range map[string]string{
		"https://alarms.example/hook?key=5ec2e7": "",
		"http://127.0.0.1:8080/":                 "",
		"http://[::1]:8080/":                     "",
		"http://localhost/hook":                  "",
		"http://alarms.example/5ec2e7":           "url: http to alarms.example would send alarms and token for all to read; give https, or say insecure",
		"http://127.0.0.1.example/":              "url: http to 127.0.0.1.example would",
		"http://0.0.0.0/":                        "url: http to 0.0.0.0 would",
		"ftp://alarms.example/5ec2e7":            "url: not a whole one; give one as https://alarms.example/hook",
		"":                                       "url: not a whole one",
		"https://:80/":                           "url: not a whole one",
		"alarms.example/5ec2e7":                  "url: not a whole one",
		"https://a b/5ec2e7":                     "url: cannot be read",
		"https://ann:5ec2e7@alarms.example/":     "url: has a user in it; leave it out",
		"https://alarms.example/#5ec2e7":         "url: has a #fragment",
	} {
		err := Target{URL: Secret(url)}.Check()
		if want == "" && err != nil || want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)) || err != nil && strings.Contains(err.Error(), "5ec2e7") {
			t.Errorf("%s: %v, want %q", url, err, want)
		}
	}
	for want, target := range map[string]Target{
		"": {URL: "http://alarms.example/", Insecure: true, Header: "X-Token", Token: "5ec2e7"},
		`header: "Content-Length" cannot be the header of the token`: {URL: "https://a.example/", Header: "Content-Length"},
		`header: "idempotency-key" cannot be`:                        {URL: "https://a.example/", Header: "idempotency-key"},
		`header: "X Token" cannot be`:                                {URL: "https://a.example/", Header: "X Token"},
		"token: has a character that no header can have":             {URL: "https://a.example/", Token: "5ec2e7\n"},
	} {
		_, err := NewWebhook(target, slog.New(slog.DiscardHandler))
		if want == "" && err != nil || want != "" && (err == nil || !strings.HasPrefix(err.Error(), "alarms: webhook: "+want)) || err != nil && strings.Contains(err.Error(), "5ec2e7") {
			t.Errorf("%+v: %v, want %q", target, err, want)
		}
	}
}

func TestSecretsArePrintedByNothing(t *testing.T) {
	target := Target{URL: "https://alarms.example/5ec2e7", Token: token}
	asJSON, err := json.Marshal(target)
	must(t, err)
	var l log
	slog.New(slog.NewJSONHandler(&l, nil)).Info("x", "target", target, "url", target.URL)
	slog.New(slog.NewTextHandler(&l, nil)).Info("x", "target", target, "url", target.URL)
	text := fmt.Sprintf("%v %+v %#v %s %q %x ", target, target, target, target.URL, target.Token, target.Token) + string(asJSON) + l.String()
	if strings.Contains(text, "5ec2e7") || strings.Contains(text, fmt.Sprintf("%x", token)) || !strings.Contains(text, "(secret)") {
		t.Error(text)
	}
}
