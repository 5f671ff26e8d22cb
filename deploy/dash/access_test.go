package dash

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/millrace/millrace/deploy/project"
	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/deploy/users"
)

// The password of all users of the tests, and a hash of it of the lowest cost that
// a file may have.
const (
	password = "correct horse battery"
	hash     = "$2a$10$XIB7eSnnGN78P6DCKkbYlu5Vu/XKKO90OBJnOzOb/w.7kaAeEdX8O"
)

func writeUsers(t *testing.T, path string) string {
	t.Helper()
	must(t, os.WriteFile(path, []byte("anna approver "+hash+"\notto operator "+hash+"\nvera viewer "+hash+"\n"), 0o600))
	return path
}

// guarded is a world that asks who one is.
func guarded(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.cfg.Users, w.cfg.Reviewer = known(t), "the server's own"
	w.open()
	return w
}

// known are users that remember who was right: hashing takes long under the race
// detector.
func known(t *testing.T) *users.Users {
	t.Helper()
	knownOnce.Do(func() {
		u, err := users.Read(writeUsers(t, filepath.Join(shared, "users")))
		must(t, err)
		knownUsers = u
	})
	return knownUsers
}

var (
	knownOnce  sync.Once
	knownUsers *users.Users
)

// as adds who asks.
func as(r *http.Request, name string) *http.Request {
	if name != "" {
		r.SetBasicAuth(name, password)
	}
	return r
}

func (w *world) getAs(name, path string) *httptest.ResponseRecorder {
	return w.ask(as(httptest.NewRequestWithContext(w.t.Context(), http.MethodGet, path, nil), name))
}

func (w *world) postAs(name, path string, pairs ...string) *httptest.ResponseRecorder {
	return w.ask(as(w.form(path, append(pairs, tokenName, w.token(name))...), name))
}

// Nobody sees anything before they have said who they are, but what is the same
// everywhere.
func TestWhoIsAsked(t *testing.T) {
	w := guarded(t)
	for i, path := range append([]string{"/ui/", "/", "/ui/none", "/ui/events", "/ui/whatif.json"}, paths...) {
		names := []string{"", "eve"}
		if i > 0 { // of many wrong ones, most are not looked at
			names = names[:1]
		}
		for _, name := range names {
			rec := w.getAs(name, path)
			if rec.Code != http.StatusUnauthorized || !strings.HasPrefix(rec.Header().Get("WWW-Authenticate"), `Basic realm="millrace shop"`) || strings.Contains(rec.Body.String(), "large_order") || strings.Contains(rec.Body.String(), "live.js") || strings.Contains(rec.Body.String(), "Alarms") {
				t.Errorf("GET %s as %q: %d %v %s", path, name, rec.Code, rec.Header(), rec.Body)
			}
			if !strings.HasSuffix(path, ".json") {
				fine(t, path, rec.Body.String())
			}
		}
	}
	if rec := w.getAs("", "/ui/static/app.css"); rec.Code != http.StatusOK {
		t.Errorf("the style: %d", rec.Code)
	}
	for _, path := range paths {
		if rec := w.getAs("vera", path); rec.Code != http.StatusOK {
			t.Errorf("GET %s as vera: %d %s", path, rec.Code, rec.Body)
		}
	}
	if body := w.getAs("vera", "/ui/").Body.String(); !strings.Contains(body, "You act as <b>vera</b> (viewer)") {
		t.Error(body)
	}
}

// Each action needs its role, and who lacks it is not offered it.
func TestRoles(t *testing.T) {
	const approve, reject, rollback, acknowledge = "/ui/models/large_order/3/approve", "/ui/models/large_order/3/reject", "/ui/models/large_order/rollback", "/ui/alarms/acknowledge"
	w := guarded(t)
	for name, may := range map[string][]string{"vera": nil, "otto": {acknowledge}, "anna": {approve, reject, rollback, acknowledge}} {
		offered := w.getAs(name, "/ui/models/large_order/3").Body.String() + w.getAs(name, "/ui/models/large_order").Body.String() + w.getAs(name, "/ui/alarms").Body.String()
		for _, path := range []string{approve, reject, rollback, acknowledge} {
			allowed := strings.Contains(strings.Join(may, " "), path)
			if strings.Contains(offered, `action="`+path+`"`) != allowed {
				t.Errorf("%s is offered to %s: %v, want %v", path, name, !allowed, allowed)
			}
			if allowed {
				continue
			}
			rec := w.postAs(name, path, "id", openAlarm, "why", "because", "comment", "because")
			if rec.Code != http.StatusForbidden || !strings.Contains(rec.Body.String(), "needs the role") {
				t.Errorf("POST %s as %s: %d %s", path, name, rec.Code, rec.Body)
			}
		}
	}
	w.unchanged(3)
	if _, _, _, asked, err := w.registry.RollbackRequested(t.Context(), "large_order"); asked || err != nil {
		t.Errorf("a rollback is asked for: %v, %v", asked, err)
	}
	if e, err := w.book.Get(t.Context(), openAlarm); err != nil || e.Who != "" {
		t.Errorf("%+v, %v", e, err)
	}
	if rec := w.postAs("otto", acknowledge, "id", openAlarm); rec.Code != http.StatusSeeOther {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	if e, err := w.book.Get(t.Context(), openAlarm); err != nil || e.Who != "otto" {
		t.Errorf("%+v, %v", e, err)
	}
	// A token is of one user.
	if rec := w.ask(as(w.form(approve, tokenName, w.token("vera")), "anna")); rec.Code != http.StatusForbidden {
		t.Errorf("with another's token: %d", rec.Code)
	}
	if rec := w.ask(w.form(approve, tokenName, w.token("anna"))); rec.Code != http.StatusUnauthorized {
		t.Errorf("without a password: %d", rec.Code)
	}
	if rec := w.postAs("anna", approve, "comment", "good"); rec.Code != http.StatusSeeOther {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	if v, err := w.registry.Version(t.Context(), "large_order", 3); err != nil || v.State != registry.Approved || v.Reviewer != "anna" {
		t.Errorf("%+v, %v", v, err)
	}
}

// Who has the role must be among the reviewers, too, where there are any.
func TestReviewersAreNamed(t *testing.T) {
	w := guarded(t)
	w.cfg.Project.Model("large_order").Reviewers = []string{"bob"}
	w.open()
	rec := w.postAs("anna", "/ui/models/large_order/3/approve")
	if rec.Code != http.StatusForbidden || !strings.Contains(rec.Body.String(), "reviewers in the project file are bob") {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	w.unchanged(3)
}

// A file of users that cannot be read lets nobody in, and the page says whose matter
// that is.
func TestNobodyGetsIn(t *testing.T) {
	w := newWorld(t)
	path := writeUsers(t, filepath.Join(t.TempDir(), "users"))
	u, err := users.Read(path)
	must(t, err)
	w.cfg.Users = u
	w.open()
	must(t, os.Remove(path))
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/ui/", nil)
	r.SetBasicAuth("anna", "short") // no password of anybody, which is known without hashing
	if rec := w.ask(r); rec.Code != http.StatusServiceUnavailable || !strings.Contains(rec.Body.String(), "log of the server") {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}

// What users say of an attempt is a page that says what to do.
func TestRefusals(t *testing.T) {
	w := guarded(t)
	for err, want := range map[error]fault{
		users.ErrWrong: {Status: http.StatusUnauthorized, Text: "is wrong"},
		users.ErrSlow:  {Status: http.StatusTooManyRequests, Text: "Wait a minute", RetryAfter: "60"},
		users.ErrBusy:  {Status: http.StatusServiceUnavailable, Text: "in a moment", RetryAfter: "5"},
	} {
		var f *fault
		if !errors.As(w.refusal(err), &f) || f.Status != want.Status || f.RetryAfter != want.RetryAfter || !strings.Contains(f.Text, want.Text) || (f.Ask == "") != (err != users.ErrWrong) { //nolint:errorlint // it is the key
			t.Errorf("%v: %+v", err, f)
		}
		rec := httptest.NewRecorder()
		w.fail(rec, &visit{Request: httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/ui/", nil)}, f)
		if rec.Code != f.Status || rec.Header().Get("Retry-After") != f.RetryAfter || rec.Header().Get("WWW-Authenticate") != f.Ask {
			t.Errorf("%v: %d %v", err, rec.Code, rec.Header())
		}
	}
	if err := w.refusal(errAway); !errors.Is(err, errAway) {
		t.Errorf("another error: %v", err)
	}
}

// Each route is closed to who is unknown and to who lacks its role, before its own
// checks.
func TestEachRouteNeedsItsRole(t *testing.T) {
	d, err := New(Config{Project: &project.Project{Name: "shop"}, Log: slog.New(slog.DiscardHandler), Users: known(t)})
	must(t, err)
	for _, r := range routes() {
		if r.path == "/ui/events" || r.path == staticPath {
			continue // one goes on for as long as it is read, the other is for everybody
		}
		path := strings.NewReplacer("{$}", "", "{model}", "m", "{version}", "1", "{column}", "c", "{run}", "1").Replace(r.path)
		for name, role := range map[string]users.Role{"": "", "vera": users.Viewer, "otto": users.Operator, "anna": users.Approver} {
			form := url.Values{tokenName: {d.token(name)}}
			q := httptest.NewRequestWithContext(t.Context(), r.method, path, strings.NewReader(form.Encode()))
			q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			w := httptest.NewRecorder()
			d.ServeHTTP(w, as(q, name))
			may := r.method == http.MethodGet || role == users.Approver || role == users.Operator && strings.HasSuffix(r.path, "/acknowledge")
			lacks := w.Code == http.StatusForbidden && strings.Contains(w.Body.String(), "Not with your role")
			if name == "" && w.Code != http.StatusUnauthorized || name != "" && lacks == may {
				t.Errorf("%s %s as %q: %d", r.method, r.path, name, w.Code)
			}
		}
	}
}
