package dash

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/millrace/millrace/deploy/registry"
)

func TestApprove(t *testing.T) {
	w := newWorld(t)
	if body := w.get("/ui/models/large_order/3").Body.String(); !strings.Contains(body, `action="/ui/models/large_order/3/approve"`) {
		t.Fatalf("the page offers no approval: %s", body)
	}
	rec := w.post("/ui/models/large_order/3/approve", "comment", "better in each slice "+hostile)
	if rec.Code != http.StatusSeeOther || rec.Header().Get("Location") != "/ui/models/large_order/3?done=approve" {
		t.Fatalf("%d %s to %s", rec.Code, rec.Body, rec.Header().Get("Location"))
	}
	v, err := w.registry.Version(t.Context(), "large_order", 3)
	must(t, err)
	if v.State != registry.Approved || v.Reviewer != "anna" || v.Comment != "better in each slice "+hostile {
		t.Errorf("%+v", v)
	}
	events, err := w.registry.Events(t.Context(), registry.EventFilter{Model: "large_order", Version: 3, Limit: 1})
	must(t, err)
	if e := events[0]; e.Who != "anna" || e.What != "approved" || e.Why != "better in each slice "+hostile {
		t.Errorf("history %+v", e)
	}
	page := w.get(rec.Header().Get("Location")).Body.String()
	if !strings.Contains(page, "Approved. It goes into shadow now") || strings.Contains(page, ">Approve<") || !strings.Contains(page, ">Reject<") {
		t.Errorf("the page afterwards: %s", page)
	}
	fine(t, "afterwards", page)
	if rec := w.post("/ui/models/large_order/3/approve"); rec.Code != http.StatusConflict || !strings.Contains(rec.Body.String(), "by anna") {
		t.Errorf("again: %d %s", rec.Code, rec.Body)
	}
	if rec := w.post("/ui/models/large_order/3/reject", "comment", "no"); rec.Code != http.StatusSeeOther {
		t.Errorf("and back: %d %s", rec.Code, rec.Body)
	}
	if v, err := w.registry.Version(t.Context(), "large_order", 3); err != nil || v.State != registry.Rejected || v.Comment != "no" {
		t.Errorf("%+v, %v", v, err)
	}
}

func TestRollback(t *testing.T) {
	w := newWorld(t)
	if rec := w.post("/ui/models/large_order/rollback", "why", " "); rec.Code != http.StatusBadRequest || !strings.Contains(rec.Body.String(), "reason") {
		t.Errorf("without a reason: %d %s", rec.Code, rec.Body)
	}
	if rec := w.post("/ui/models/large_order/rollback", "why", "complaints"); rec.Code != http.StatusSeeOther {
		t.Fatalf("%d %s", rec.Code, rec.Body)
	}
	ro, who, why, ok, err := w.registry.RollbackRequested(t.Context(), "large_order")
	if err != nil || !ok || who != "anna" || why != "complaints" || ro.Version != 1 {
		t.Errorf("%+v by %s: %s, %v, %v", ro, who, why, ok, err)
	}
	body := w.get("/ui/models/large_order?done=rollback").Body.String()
	if !strings.Contains(body, "anna has asked to take version 1 back (complaints)") || strings.Contains(body, `action="/ui/models/large_order/rollback"`) {
		t.Errorf("the page afterwards: %s", body)
	}
	fine(t, "afterwards", body)
	if rec := w.post("/ui/models/large_order/rollback", "why", "again"); rec.Code != http.StatusConflict {
		t.Errorf("again: %d %s", rec.Code, rec.Body)
	}
	if rec := w.post("/ui/models/next_amount/rollback", "why", "again"); rec.Code != http.StatusForbidden || !strings.Contains(rec.Body.String(), "base rate serves") {
		t.Errorf("of the base rate: %d %s", rec.Code, rec.Body)
	}
}

// Who may not is told so, by the page and by the action, and nothing is done.
func TestWhoMayNotDecide(t *testing.T) {
	for who, says := range map[string]string{"eve": "may not review", "trainer": "may not review", "": "does not know who you are"} {
		w := newWorld(t)
		w.cfg.Reviewer = who
		w.open()
		page := w.get("/ui/models/large_order/3").Body.String()
		if strings.Contains(page, "/approve") || !strings.Contains(page, says) {
			t.Errorf("%q: the page: %s", who, page)
		}
		for _, path := range []string{"approve", "reject"} {
			rec := w.ask(w.form("/ui/models/large_order/3/"+path, tokenName, w.token(who)))
			if rec.Code != http.StatusForbidden || !strings.Contains(rec.Body.String(), says) {
				t.Errorf("%q: %s: %d %s", who, path, rec.Code, rec.Body)
			}
		}
		w.unchanged(3)
	}
}

// Nobody approves what they made, whatever the project file says.
func TestNobodyApprovesTheirOwn(t *testing.T) {
	w := newWorld(t)
	w.cfg.Reviewer = "Trainer"
	w.cfg.Project.Model("large_order").Reviewers = nil
	w.open()
	rec := w.ask(w.form("/ui/models/large_order/3/approve", tokenName, w.token("Trainer")))
	if rec.Code != http.StatusForbidden || !strings.Contains(rec.Body.String(), "another person") {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	w.unchanged(3)
}

func (w *world) unchanged(number int) {
	w.t.Helper()
	v, err := w.registry.Version(w.t.Context(), "large_order", number)
	must(w.t, err)
	if v.State != registry.Review || v.Reviewer != "" {
		w.t.Errorf("it is %s, by %q", v.State, v.Reviewer)
	}
}

// A form that is not from a page of ours does nothing.
func TestForms(t *testing.T) {
	w := newWorld(t)
	const path = "/ui/models/large_order/3/approve"
	other := newWorld(t)
	for name, r := range map[string]*http.Request{
		"no token":            w.form(path),
		"an empty token":      w.form(path, tokenName, ""),
		"another user's":      w.form(path, tokenName, w.token("bob")),
		"another process's":   w.form(path, tokenName, other.token("anna")),
		"the token elsewhere": w.form(path + "?token=" + w.token("anna")),
		"from another site": func() *http.Request {
			r := w.form(path, tokenName, w.token("anna"))
			r.Header.Set("Sec-Fetch-Site", "cross-site")
			return r
		}(),
		"of another origin": func() *http.Request {
			r := w.form(path, tokenName, w.token("anna"))
			r.Header.Del("Sec-Fetch-Site")
			r.Header.Set("Origin", "https://example.org")
			return r
		}(),
	} {
		rec := w.ask(r)
		if rec.Code != http.StatusForbidden || !strings.Contains(rec.Body.String(), "nothing was done") {
			t.Errorf("%s: %d %s", name, rec.Code, rec.Body)
		}
	}
	if rec := w.post(path, "comment", strings.Repeat("x", maxForm)); rec.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("a form that is too large: %d", rec.Code)
	}
	if rec := w.post(path, "comment", strings.Repeat("x", maxComment+1)); rec.Code != http.StatusBadRequest || !strings.Contains(rec.Body.String(), "shorten") {
		t.Errorf("a comment that is too long: %d %s", rec.Code, rec.Body)
	}
	w.unchanged(3)
}

// Of two who decide at once one is told that the other was first.
func TestTwoDecide(t *testing.T) {
	w := newWorld(t)
	codes := make(chan int, 2)
	for _, what := range []string{"approve", "approve"} {
		r := w.form(fmt.Sprintf("/ui/models/large_order/3/%s", what), tokenName, w.token("anna"))
		go func() { codes <- w.ask(r).Code }()
	}
	if a, b := <-codes, <-codes; a+b != http.StatusSeeOther+http.StatusConflict {
		t.Errorf("%d and %d", a, b)
	}
}
