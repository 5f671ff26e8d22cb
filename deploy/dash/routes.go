package dash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"

	"github.com/millrace/millrace/deploy/users"
)

// maxForm bounds the body of a form: the longest comment, and then some.
const maxForm = 64 << 10

// staticPath is where the files of pages are, for everybody: they are the same
// everywhere.
const staticPath = "/ui/static/{name}"

// A route is one page or action.
type route struct {
	method string
	path   string     // as http.ServeMux has it
	needs  users.Role // of who is asked who they are
	handle func(*Dash, http.ResponseWriter, *visit) error
}

// routes are all pages and actions.
func routes() []route {
	return []route{
		{http.MethodGet, "/{$}", users.Viewer, (*Dash).root},
		{http.MethodGet, "/ui/{$}", users.Viewer, (*Dash).overview},
		{http.MethodGet, staticPath, users.Viewer, (*Dash).static},
		{http.MethodGet, "/ui/events", users.Viewer, (*Dash).events},
		{http.MethodGet, "/ui/features", users.Viewer, (*Dash).watchedFeatures},
		{http.MethodGet, "/ui/features/{model}", users.Viewer, (*Dash).columns},
		{http.MethodGet, "/ui/features/{model}/{column}", users.Viewer, (*Dash).column},
		{http.MethodGet, "/ui/views", users.Viewer, (*Dash).listViews},
		{http.MethodGet, "/ui/views/{view}", users.Viewer, (*Dash).viewOverTime},
		{http.MethodGet, "/ui/predictions", users.Viewer, (*Dash).watchedPredictions},
		{http.MethodGet, "/ui/predictions/{model}", users.Viewer, (*Dash).modelPredictions},
		{http.MethodGet, "/ui/models", users.Viewer, (*Dash).models},
		{http.MethodGet, "/ui/models/{model}", users.Viewer, (*Dash).model},
		{http.MethodPost, "/ui/models/{model}/rollback", users.Approver, (*Dash).rollback},
		{http.MethodGet, "/ui/runs/{model}/{run}", users.Viewer, (*Dash).run},
		{http.MethodGet, "/ui/models/{model}/{version}", users.Viewer, (*Dash).version},
		{http.MethodPost, "/ui/models/{model}/{version}/approve", users.Approver, (*Dash).approve},
		{http.MethodPost, "/ui/models/{model}/{version}/reject", users.Approver, (*Dash).reject},
		{http.MethodGet, "/ui/whatif", users.Viewer, (*Dash).whatIf},
		{http.MethodGet, "/ui/whatif.json", users.Viewer, (*Dash).whatIfJSON},
		{http.MethodGet, "/ui/alarms", users.Viewer, (*Dash).listAlarms},
		{http.MethodPost, "/ui/alarms/acknowledge", users.Operator, (*Dash).acknowledge},
	}
}

// A fault is an error that is a page: what is wrong, and what to do.
type fault struct {
	Status     int
	Title      string
	Text       string
	RetryAfter string // seconds; empty: nothing is said
	Ask        string // for a name and a password: how they are to be given
}

func (f *fault) Error() string { return f.Title + ": " + f.Text }

// notFound says that there is no such thing.
func notFound(format string, args ...any) error {
	return &fault{Status: http.StatusNotFound, Title: "Not found", Text: fmt.Sprintf(format, args...)}
}

// badRequest says what a form or an address has that cannot be.
func badRequest(format string, args ...any) error {
	return &fault{Status: http.StatusBadRequest, Title: "That cannot be", Text: fmt.Sprintf(format, args...)}
}

func (d *Dash) addRoutes() {
	for _, r := range routes() {
		d.mux.HandleFunc(r.method+" "+r.path, func(w http.ResponseWriter, q *http.Request) {
			v, err := d.visitor(q)
			d.answer(w, v, func() error {
				if err != nil {
					return err
				}
				return d.enter(&r, w, v)
			})
		})
	}
	d.mux.HandleFunc("/", func(w http.ResponseWriter, q *http.Request) {
		v, err := d.visitor(q)
		d.answer(w, v, func() error {
			if err != nil {
				return err
			}
			return d.noRoute(w, q)
		})
	})
}

// noRoute says that there is no such page, or not with this method.
func (d *Dash) noRoute(w http.ResponseWriter, q *http.Request) error {
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		other := q.Clone(q.Context())
		other.Method = method
		if _, pattern := d.mux.Handler(other); pattern != "/" {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) == 0 {
		return notFound("There is no page %s. The navigation above shows all that there are.", short(q.URL.Path, 100))
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	return &fault{Status: http.StatusMethodNotAllowed, Title: "Not so", Text: "This address takes " + strings.Join(allowed, " and ") + " only. Use the links and buttons of the pages."}
}

// ServeHTTP answers one request.
func (d *Dash) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	secure(w.Header())
	d.mux.ServeHTTP(w, r)
}

// answer runs a handler and makes a page of its error.
func (d *Dash) answer(w http.ResponseWriter, v *visit, do func() error) {
	defer func() {
		if why := recover(); why != nil {
			if why == http.ErrAbortHandler { //nolint:errorlint // it is a value of panic, never wrapped
				panic(why)
			}
			d.cfg.Log.Error("a page made the server panic", "path", v.URL.Path, "panic", fmt.Sprint(why), "stack", string(debug.Stack()))
			d.fail(w, v, &fault{Status: http.StatusInternalServerError, Title: "A fault of the server", Text: "Its log says where. The rest of the pages work; go back, and tell whoever runs the server."})
		}
	}()
	if err := do(); err != nil {
		d.fail(w, v, err)
	}
}

// enter lets a visitor in where it may be.
func (d *Dash) enter(r *route, w http.ResponseWriter, v *visit) error {
	if why := v.lacks(r.needs); why != "" && r.path != staticPath {
		return &fault{Status: http.StatusForbidden, Title: "Not with your role", Text: why}
	}
	if r.method == http.MethodPost {
		if err := d.checkForm(w, v); err != nil {
			return err
		}
	}
	return r.handle(d, w, v)
}

// fail answers with an error, as a page, or as JSON to who asks for that.
func (d *Dash) fail(w http.ResponseWriter, v *visit, err error) {
	var f *fault
	if !errors.As(err, &f) {
		f = &fault{Status: http.StatusInternalServerError, Title: "This page failed", Text: err.Error()}
		if v.Context().Err() == nil && !errors.Is(err, context.Canceled) {
			d.cfg.Log.Warn("a page failed", "path", v.URL.Path, "error", err)
		}
	}
	if f.RetryAfter != "" {
		w.Header().Set("Retry-After", f.RetryAfter)
	}
	if f.Ask != "" {
		w.Header().Set("WWW-Authenticate", f.Ask)
	}
	if strings.HasSuffix(v.URL.Path, ".json") {
		writeJSON(w, f.Status, struct {
			Error string `json:"error"`
		}{f.Text})
		return
	}
	var b bytes.Buffer
	if err := d.execute(&b, v, "error.html", &page{Title: f.Title, Data: f}); err != nil {
		http.Error(w, f.Title+"\n"+f.Text, f.Status)
		return
	}
	writePage(w, f.Status, b.Bytes())
}

func (d *Dash) root(w http.ResponseWriter, v *visit) error {
	http.Redirect(w, v.Request, "/ui/", http.StatusSeeOther)
	return nil
}

// short cuts a text for a message.
func short(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}
