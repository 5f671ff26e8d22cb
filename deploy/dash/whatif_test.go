package dash

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/deploy/project"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/trainer/eval"
	"github.com/millrace/millrace/trainer/whatif"
)

// A desk is a lab that answers by a rule: each changed feature adds a tenth to the
// score. It keeps the questions.
type desk struct {
	knobs []whatif.Knob
	asked chan whatif.Question // nil: they are not kept
	hold  chan struct{}        // nil: it answers at once

	series whatif.Series // of what is asked for
	read   whatif.SeriesQuestion
}

func (l *desk) Numbers(view string) (fields, outputs []string) {
	if view != "customer" {
		return nil, nil
	}
	return []string{"amount"}, []string{"orders_30d", "spend_30d", "mean_30d"}
}

func (l *desk) Series(_ context.Context, q whatif.SeriesQuestion) (*whatif.Series, error) {
	switch q.Entity["customer"] {
	case "nobody":
		return nil, &whatif.Fault{Field: "entity.customer", Problem: "missing; view customer is about customer"}
	case "away":
		return nil, errors.New("whatif: the lake is away; see that its disk is there")
	}
	l.read = q
	s := l.series
	s.Entity = q.Entity
	if len(q.Entity) == 0 {
		s.Entity = map[string]string{"customer": "anna"}
	}
	return &s, nil
}

func (l *desk) Knobs(string) []whatif.Knob { return l.knobs }

func (l *desk) Ask(ctx context.Context, q whatif.Question, progress func(done, of int64)) (*whatif.Answer, error) {
	if l.asked != nil {
		l.asked <- q
	}
	if progress != nil {
		progress(50, 200)
	}
	if l.hold != nil {
		select {
		case <-l.hold:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if q.Entity["customer"] == "" {
		return nil, &whatif.Fault{Field: "entity.customer", Problem: "missing; model large_order is about customer"}
	}
	if q.Entity["customer"] == "nobody" {
		return nil, errors.New("whatif: the lake is away; see that its disk is there")
	}
	a := &whatif.Answer{Model: q.Model, Entity: q.Entity, AsOf: q.AsOf, Before: whatif.Score{Version: 1, Value: 0.25}, After: whatif.Score{Version: 1, Value: 0.25}, Notes: []string{"a note " + hostile}}
	for _, k := range l.knobs {
		if k.Kind != whatif.ValueKnob {
			continue
		}
		c := whatif.Change{Name: k.Feature, Input: k.Input, Window: "30d", Before: whatif.Value{Value: expr.FloatValue(12.5)}, After: whatif.Value{Value: expr.FloatValue(12.5)}}
		if text, ok := q.Values[k.Feature]; ok {
			c.Changed, c.After = true, whatif.Value{Value: expr.StringValue(text)}
		}
		if length, ok := q.Windows[k.Feature]; ok {
			c.Changed, c.Window = true, length
		}
		if c.Changed {
			a.After.Value += 0.1
		}
		a.Features = append(a.Features, c)
	}
	if q.Past > 0 {
		a.Past = &whatif.Past{Rows: q.Past, LossBefore: 0.62, LossAfter: 0.6, Gain: eval.Bounds{Lo: -0.01, Mean: 0.02, Hi: 0.05}, Confidence: 0.95, AUCBefore: 0.7, AUCAfter: 0.71, Recomputed: q.Past, Equal: q.Past - 1, From: time.Unix(1e9, 0), To: time.Unix(1.1e9, 0)}
	}
	return a, nil
}

func knobsOf(names ...string) (knobs []whatif.Knob) {
	const days = 24 * time.Hour
	for _, name := range names {
		knobs = append(knobs, whatif.Knob{Feature: name, Kind: whatif.WindowKnob, Input: true, Window: 30 * days, MinWindow: 7*days + 12*time.Hour, MaxWindow: 60 * days, Step: 6 * time.Hour, Type: expr.Float})
	}
	for _, name := range names {
		knobs = append(knobs, whatif.Knob{Feature: name, Kind: whatif.ValueKnob, Input: true, Type: expr.Float, Min: 1, Max: 99.5})
	}
	return knobs
}

func newDesk(t *testing.T) (*world, *desk) {
	w := newWorld(t)
	l := &desk{knobs: knobsOf("customer.orders_30d", "customer.spend_30d", "customer.mean_30d"), asked: make(chan whatif.Question, 10)}
	w.cfg.Lab = l
	w.open()
	return w, l
}

func TestWhatIfForm(t *testing.T) {
	w, l := newDesk(t)
	body := w.get("/ui/whatif").Body.String()
	fine(t, "/ui/whatif", body)
	for _, want := range []string{`type="range"`, `name="w.customer.spend_30d" min="8" max="60" step="1" value="30"`, `name="v.customer.mean_30d" value="" maxlength="200" placeholder="1 to 99.5"`, `name="e.customer"`} {
		if !strings.Contains(body, want) {
			t.Errorf("there is no %s in %s", want, body)
		}
	}
	if len(l.asked) != 0 {
		t.Error("the form alone asks")
	}
}

// A form that is sent as it is asks what it says, and shows the answer.
func TestWhatIfAsks(t *testing.T) {
	w, l := newDesk(t)
	const path = "/ui/whatif?ask=1&model=large_order&e.customer=anna&as_of=2008-10-10T20:00:00&past=500&all=1&q=&w.customer.orders_30d=30&w.customer.spend_30d=45&w.customer.mean_30d=1000&v.customer.orders_30d=3&v.customer.spend_30d=&v.customer.mean_30d=%28missing%29"
	body := w.get(path).Body.String()
	fine(t, path, body)
	q := <-l.asked
	if q.Model != "large_order" || q.Entity["customer"] != "anna" || !q.AsOf.Equal(time.Date(2008, 10, 10, 20, 0, 0, 0, time.UTC)) || q.Past != 500 || !q.All {
		t.Errorf("%+v", q)
	}
	if want := map[string]string{"customer.spend_30d": "45d", "customer.mean_30d": "60d"}; !maps.Equal(q.Windows, want) {
		t.Errorf("windows %v, want %v", q.Windows, want)
	}
	if want := map[string]string{"customer.orders_30d": "3", "customer.mean_30d": ""}; !maps.Equal(q.Values, want) {
		t.Errorf("values %v, want %v", q.Values, want)
	}
	for _, want := range []string{"Version 1 would say", "<b>0.5500</b>", "3 features changed", "45d", `value="45"`, "45 d (is 30 d)", "computed anew from the lake", "0.6200"} {
		if !strings.Contains(body, want) {
			t.Errorf("there is no %s in %s", want, body)
		}
	}
}

func TestWhatIfErrors(t *testing.T) {
	w, _ := newDesk(t)
	for path, says := range map[string]string{
		"/ui/whatif?ask=1":                                 "customer: Missing; model large_order is about customer",
		"/ui/whatif?ask=1&e.customer=nobody":               "The lake is away; see that its disk is there",
		"/ui/whatif?ask=1&e.customer=anna&w.customer.x=80": "Nothing changed",
	} {
		rec := w.get(path)
		if rec.Code != http.StatusOK || !strings.Contains(rec.Body.String(), says) {
			t.Errorf("GET %s: %d %s", path, rec.Code, rec.Body)
		}
		fine(t, path, rec.Body.String())
	}
	for path, status := range map[string]int{"/ui/whatif?model=none": 404, "/ui/whatif?as_of=noon": 400, "/ui/whatif.json?as_of=noon&ask=1": 400} {
		if rec := w.get(path); rec.Code != status {
			t.Errorf("GET %s: %d %s", path, rec.Code, rec.Body)
		}
	}
	w.cfg.Lab = nil
	w.open()
	if rec := w.get("/ui/whatif.json"); rec.Code != http.StatusNotFound || rec.Header().Get("Content-Type") != "application/json" {
		t.Errorf("without a lab: %d %v %s", rec.Code, rec.Header(), rec.Body)
	}
	// The lab itself says what to do where there is no lake.
	p := w.cfg.Project
	w.cfg.Lab = labOf(p)
	w.open()
	if body := w.get("/ui/whatif?ask=1&e.customer=anna").Body.String(); !strings.Contains(body, "lake") || !strings.Contains(body, "note bad") {
		t.Errorf("without a lake: %s", body)
	}
}

// labOf is the project's own lab, without a lake.
func labOf(p *project.Project) *whatif.Lab {
	c := whatif.Config{Project: p.Name, Plans: p.Plans, Views: p.Views, ParseLength: project.ParseDuration}
	for i := range p.Models {
		m := &p.Models[i].Model
		c.Models = append(c.Models, whatif.Model{Name: m.Name, Task: m.Task, Inputs: m.Inputs, Entity: m.Entity, Label: m.Label, Gate: m.Gate})
	}
	return whatif.New(c)
}

// The sliders of a project's own windows go from a week to twice a month.
func TestSlidersOfAProject(t *testing.T) {
	w := newWorld(t)
	w.cfg.Lab = labOf(w.cfg.Project)
	w.open()
	body := w.get("/ui/whatif").Body.String()
	if !strings.Contains(body, `name="w.customer.spend_30d" min="7" max="60" step="1" value="30"`) {
		t.Error(body)
	}
	fine(t, "/ui/whatif", body)
}

func TestWhatIfForScripts(t *testing.T) {
	w, _ := newDesk(t)
	rec := w.get("/ui/whatif.json?ask=1&e.customer=anna&v.customer.mean_30d=7&past=0")
	type plain struct {
		line
		Answer json.RawMessage `json:"answer"`
	}
	var lines []plain
	for in := bufio.NewScanner(rec.Body); in.Scan(); {
		var x plain
		must(t, json.Unmarshal(in.Bytes(), &x))
		lines = append(lines, x)
	}
	if len(lines) != 2 || lines[0].Done != 50 || lines[0].Of != 200 || lines[1].Error != "" || !strings.Contains(string(lines[1].Answer), `"after":{"version":1,"value":0.35}`) || !strings.Contains(lines[1].HTML, "would say") || strings.Contains(lines[1].HTML, hostile) {
		t.Errorf("%+v", lines)
	}
	rec = w.get("/ui/whatif.json?ask=1")
	if !strings.Contains(rec.Body.String(), `"error":"customer: Missing`) || !strings.Contains(rec.Body.String(), `"field":"entity.customer"`) {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}

// Another site can lead here, and does not make the server work.
func TestAnotherSiteDoesNotAsk(t *testing.T) {
	w, l := newDesk(t)
	for path, status := range map[string]int{"/ui/whatif?ask=1&e.customer=anna": 200, "/ui/whatif.json?ask=1&e.customer=anna": 403} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		if rec := w.ask(r); rec.Code != status || len(l.asked) != 0 {
			t.Errorf("GET %s: %d, and the lab was asked %d times", path, rec.Code, len(l.asked))
		}
	}
}

// So many ask at a time and no more; who has left makes room.
func TestTooManyAsk(t *testing.T) {
	w, l := newDesk(t)
	l.hold = make(chan struct{})
	w.Dash.asked = make(turns, 1)
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.ask(httptest.NewRequestWithContext(ctx, http.MethodGet, "/ui/whatif.json?ask=1&e.customer=anna", nil))
	}()
	<-l.asked
	if rec := w.get("/ui/whatif.json?ask=1&e.customer=anna"); rec.Code != http.StatusServiceUnavailable || rec.Header().Get("Retry-After") == "" || !strings.Contains(rec.Body.String(), "at a time") {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	if rec := w.get("/ui/whatif?ask=1&e.customer=anna"); rec.Code != http.StatusOK || !strings.Contains(rec.Body.String(), "at a time") {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	leave()
	<-done
	close(l.hold)
	if rec := w.get("/ui/whatif.json?ask=1&e.customer=anna"); rec.Code != http.StatusOK {
		t.Errorf("after that: %d %s", rec.Code, rec.Body)
	}
}

// A model of a thousand features is a form of a few, and the rest by search; what
// is changed is always there.
func TestManyKnobs(t *testing.T) {
	w, l := newDesk(t)
	var names []string
	for i := range 1000 {
		names = append(names, fmt.Sprintf("customer.f%03d", i))
	}
	l.knobs = knobsOf(names...)
	w.open()
	for path, want := range map[string]int{
		"/ui/whatif": knobsShown, "/ui/whatif?q=F99": 10, "/ui/whatif?v.customer.f900=1&w.customer.f901=50": knobsShown + 2, "/ui/whatif?q=f9&ask=1&e.customer=anna": knobsShown, "/ui/whatif?q=none": 0,
	} {
		body := w.get(path).Body.String()
		if got := strings.Count(body, `type="range"`); got != want {
			t.Errorf("GET %s: %d sliders, want %d", path, got, want)
		}
		fine(t, path, body)
		if len(body) > 200_000 {
			t.Errorf("GET %s: %d bytes", path, len(body))
		}
	}
	if !slices.Contains(names, "customer.f900") {
		t.Fatal("the test is about no feature")
	}
}

func TestSliders(t *testing.T) {
	const day = 24 * time.Hour
	for _, c := range []struct {
		window, least, step time.Duration
		want                string
	}{
		{30 * day, 7*day + 12*time.Hour, 6 * time.Hour, "8 to 60 by 1 d of 30"},
		{30 * day, 7 * day, day, "7 to 60 by 1 d of 30"},
		{2 * day, 12 * time.Hour, 2 * time.Hour, "12 to 96 by 2 h of 48"},
		{time.Hour, 15 * time.Minute, 5 * time.Minute, "15 to 120 by 5 m of 60"},
		{90 * time.Second, 15 * time.Second, 3 * time.Second, "15 to 180 by 3 s of 90"},
		{36 * time.Hour, 9 * time.Hour, 90 * time.Minute, "540 to 4320 by 90 m of 2160"},
	} {
		s := sliderOf(&whatif.Knob{Window: c.window, MinWindow: c.least, MaxWindow: 2 * c.window, Step: c.step})
		if got := fmt.Sprintf("%d to %d by %d %s of %d", s.Min, s.Max, s.Step, s.Unit, s.Used); got != c.want {
			t.Errorf("a window of %v: %s, want %s", c.window, got, c.want)
		}
		if _, err := project.ParseDuration(fmt.Sprintf("%d%s", s.Max, s.Unit)); err != nil {
			t.Error(err)
		}
	}
}
