package dash

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/deploy/project"
	"github.com/millrace/millrace/trainer/whatif"
)

// priced is a desk that has a value for each day up to day 400.
func priced(t *testing.T) (*world, *desk) {
	w, l := newDesk(t)
	for d := range 400 {
		l.series.Points = append(l.series.Points, whatif.SeriesPoint{Time: dayAt(d), Value: float64(d % 7)})
	}
	l.series.Entities = []map[string]string{{"customer": "anna"}, {"customer": hostile}}
	l.series.Rows = 800
	return w, l
}

func TestViewOverTime(t *testing.T) {
	w, l := priced(t)
	for _, path := range []string{
		"/ui/views/customer", "/ui/views/customer?of=spend_30d&e.customer=bob", "/ui/views/customer?of=none", "/ui/views/customer?e.customer=" + url.QueryEscape(hostile),
		"/ui/views/customer?from=2008-06-01&to=2008-06-20", "/ui/views/customer?e.customer=nobody", "/ui/views/customer?e.customer=away", "/ui/views/customer?from=1990-01-01&to=1990-02-01",
	} {
		rec := w.get(path)
		if rec.Code != http.StatusOK {
			t.Errorf("GET %s: %d %s", path, rec.Code, rec.Body)
		}
		fine(t, path, rec.Body.String())
	}
	page := w.get("/ui/views/customer").Body.String()
	for _, want := range []string{"amount of anna", "its mean over 30 d", "± its std over 30 d", `value="2009-06-04"`, "of=mean_30d", "events up to"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if q := l.read; q.Name != "amount" || len(q.Entity) != 0 || !q.From.IsZero() || !q.To.IsZero() {
		t.Errorf("asked was %+v", q)
	}
	w.get("/ui/views/customer?of=spend_30d&e.customer=bob&from=2008-06-01&to=2008-06-20")
	if q := l.read; q.Name != "spend_30d" || q.Entity["customer"] != "bob" || q.From.Format(time.DateOnly) != "2008-05-02" || q.To.Format(time.DateOnly) != "2008-06-21" {
		t.Errorf("asked was %+v: a month more is read for the mean of the first days", q)
	}
	for path, want := range map[string]string{
		"/ui/views/customer?e.customer=nobody": "customer: Missing; view customer is about customer", "/ui/views/customer?e.customer=away": "The lake is away",
	} {
		if body := w.get(path).Body.String(); !strings.Contains(body, want) || !strings.Contains(body, "note bad") {
			t.Errorf("GET %s lacks %q", path, want)
		}
	}
}

// The page says what was left out.
func TestViewSaysWhatIsCut(t *testing.T) {
	w, l := priced(t)
	l.series.Cut, l.series.Rows, l.series.From = true, 250_000, time.UnixMicro(dayAt(0)).UTC()
	page := w.get("/ui/views/customer?of=spend_30d").Body.String()
	for _, want := range []string{"The newest 250,000 events of source orders were read", "Values begin at <time datetime=\"2008-05-01T00:00:00Z\""} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for want, change := range map[string]func(*whatif.Series){
		"looks back over all events":               func(s *whatif.Series) { s.Endless = true },
		"Its window is longer than":                func(*whatif.Series) {},
		"has no events of source orders yet":       func(s *whatif.Series) { s.Rows = 0 },
		"There is no event of this entity in this": func(s *whatif.Series) { s.From = time.Time{} },
	} {
		l.series = whatif.Series{Cut: true, Rows: 5, From: time.UnixMicro(dayAt(0))}
		change(&l.series)
		body := w.get("/ui/views/customer?of=spend_30d").Body.String()
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %q", want)
		}
		fine(t, want, body)
	}
}

// Views are listed where there are several, a page of them at a time.
func TestViews(t *testing.T) {
	w, _ := priced(t)
	if rec := w.get("/ui/views"); rec.Code != http.StatusSeeOther || rec.Header().Get("Location") != "/ui/views/customer" {
		t.Errorf("one view: %d to %q", rec.Code, rec.Header().Get("Location"))
	}
	var more strings.Builder
	for i := range 60 {
		fmt.Fprintf(&more, "  v%02d: {source: orders, entity: [customer], features: {n: {count: \"*\", window: 30d}}}\n", i)
	}
	w.cfg.Project = parse(t, strings.Replace(shop, "models:\n", more.String()+"models:\n", 1))
	w.cfg.Lab = labOf(w.cfg.Project)
	w.open()
	for path, want := range map[string]string{"/ui/views": "1 to 50 of 61", "/ui/views?q=v07": "v07</a>", "/ui/views?q=none": "No view has", "/ui/features": "All views", "/ui/views/v07": "The project has no lake"} {
		rec := w.get(path)
		if rec.Code != http.StatusOK || !strings.Contains(rec.Body.String(), want) {
			t.Errorf("GET %s: %d lacks %q: %s", path, rec.Code, want, rec.Body)
		}
		fine(t, path, rec.Body.String())
	}
	if rec := w.get("/ui/views/none"); rec.Code != http.StatusNotFound {
		t.Errorf("a view that is not there: %d", rec.Code)
	}
	w.cfg.Lab = nil
	w.open()
	if rec := w.get("/ui/views/v07"); rec.Code != http.StatusOK || !strings.Contains(rec.Body.String(), "Nothing is shown here") {
		t.Errorf("without a lab: %d %s", rec.Code, rec.Body)
	}
	w.cfg.Project = &project.Project{Name: "shop"}
	w.open()
	if rec := w.get("/ui/views"); rec.Code != http.StatusOK || !strings.Contains(rec.Body.String(), "has no views") {
		t.Errorf("no views: %d %s", rec.Code, rec.Body)
	}
}
