package dash

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/millrace/millrace/deploy/alarms"
	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/feedback/monitor"
)

func TestAcknowledge(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/ui/", "/ui/alarms"} {
		if body := w.get(path).Body.String(); strings.Count(body, "/ui/alarms/acknowledge") != 2 || !strings.Contains(body, `data-figure="alarms">1<`) {
			t.Errorf("GET %s: two alarms wait, one is open: %s", path, body)
		}
	}
	rec := w.post("/ui/alarms/acknowledge", "id", openAlarm, "comment", "it is the market", "back", "overview")
	if rec.Code != http.StatusSeeOther || rec.Header().Get("Location") != "/ui/?done=acknowledge" {
		t.Fatalf("%d %s to %s", rec.Code, rec.Body, rec.Header().Get("Location"))
	}
	e, err := w.book.Get(t.Context(), openAlarm)
	if err != nil || e.Who != "anna" || e.Comment != "it is the market" || e.Acknowledged.IsZero() {
		t.Errorf("%+v, %v", e, err)
	}
	body := w.get("/ui/alarms?show=all").Body.String()
	if strings.Count(body, "/ui/alarms/acknowledge") != 1 || !strings.Contains(body, "by anna: it is the market") {
		t.Errorf("the page afterwards: %s", body)
	}
	if rec := w.post("/ui/alarms/acknowledge", "id", openAlarm); rec.Code != http.StatusConflict || !strings.Contains(rec.Body.String(), "by anna") {
		t.Errorf("again: %d %s", rec.Code, rec.Body)
	}
	if rec := w.post("/ui/alarms/acknowledge", "id", hostile); rec.Code != http.StatusNotFound || strings.Contains(rec.Body.String(), hostile) {
		t.Errorf("of none: %d %s", rec.Code, rec.Body)
	}
	if rec := w.ask(w.form("/ui/alarms/acknowledge", "id", pastAlarm)); rec.Code != http.StatusForbidden {
		t.Errorf("without a token: %d %s", rec.Code, rec.Body)
	}
	if rec := w.post("/ui/alarms/acknowledge", "id", pastAlarm, "back", "https://example.org/"); rec.Header().Get("Location") != "/ui/alarms?done=acknowledge" {
		t.Errorf("it leads to %s", rec.Header().Get("Location"))
	}
}

// What people decide is in the audit, and what they were refused.
func TestAudit(t *testing.T) {
	w := newWorld(t)
	w.post("/ui/models/large_order/3/approve", "comment", "good")
	w.post("/ui/models/large_order/3/approve", "comment", "again")
	w.post("/ui/models/large_order/rollback", "why", "complaints")
	w.post("/ui/alarms/acknowledge", "id", openAlarm, "comment", "seen")
	actions, err := w.book.Actions(t.Context(), 0)
	must(t, err)
	var got []string
	for _, a := range actions {
		got = append(got, fmt.Sprintf("%s: %s %s: %.40s", a.Who, a.What, a.Object, a.Detail))
	}
	want := []string{
		"anna: acknowledge " + openAlarm + ": seen",
		"anna: rollback large_order: complaints",
		"anna: approve (refused) large_order version 3: Approve version 3 of large_order: it is ",
		"anna: approve large_order version 3: good",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if body := w.get("/ui/alarms").Body.String(); !strings.Contains(body, "approve (refused)") {
		t.Errorf("the page does not show it: %s", body)
	}
}

// Decisions do not need the book: a project without monitors has none.
func TestDecisionsWithoutABook(t *testing.T) {
	w := newWorld(t)
	w.cfg.Alarms = nil
	w.open()
	if rec := w.post("/ui/models/large_order/3/reject", "comment", "no"); rec.Code != http.StatusSeeOther {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	if v, err := w.registry.Version(t.Context(), "large_order", 3); err != nil || v.State != registry.Rejected {
		t.Errorf("%+v, %v", v, err)
	}
	if rec := w.post("/ui/alarms/acknowledge", "id", openAlarm); rec.Code != http.StatusNotFound {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}

// An alarm storm is pages of fifty, and the overview shows the newest few.
func TestManyAlarms(t *testing.T) {
	w := newWorld(t)
	var storm []monitor.Alarm
	for i := range alarms.MaxList + 100 {
		at := int64(1222646400000000) + int64(i)*day
		storm = append(storm, monitor.Alarm{ID: fmt.Sprintf("next_amount/drift/x%d/%d", i, at), Model: "next_amount", Kind: monitor.DriftMonitor, Column: fmt.Sprintf("x%d", i), Onset: at, Text: "far"})
	}
	_, err := w.book.Put(t.Context(), alarms.Report{Look: 1 << 52, Quiet: true, Alarms: storm})
	must(t, err)
	for path, want := range map[string]int{"/ui/": overviewAlarms, "/ui/alarms": perPage, "/ui/alarms?page=20": perPage, "/ui/alarms?show=open&page=99": perPage} {
		body := w.get(path).Body.String()
		if got := strings.Count(body, `name="id"`); got != want {
			t.Errorf("GET %s: %d alarms, want %d", path, got, want)
		}
		fine(t, path, body)
	}
	if body := w.get("/ui/alarms").Body.String(); !strings.Contains(body, "Choose a model") {
		t.Error("it is not said that there are more")
	}
}
