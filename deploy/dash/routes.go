package dash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"
)

// maxForm bounds the body of a form: the longest comment, and then some.
const maxForm = 64 << 10

// A route is one page or action.
type route struct {
	method string
	path   string // as http.ServeMux has it
	handle func(*Dash, http.ResponseWriter, *visit) error
}

// routes are all pages and actions.
func routes() []route {
	return []route{
		{http.MethodGet, "/{$}", (*Dash).root},
		{http.MethodGet, "/ui/{$}", (*Dash).overview},
		{http.MethodGet, "/ui/static/{name}", (*Dash).static},
		{http.MethodGet, "/ui/events", (*Dash).events},
		{http.MethodGet, "/ui/features", (*Dash).watchedFeatures},
		{http.MethodGet, "/ui/features/{model}", (*Dash).columns},
		{http.MethodGet, "/ui/features/{model}/{column}", (*Dash).column},
		{http.MethodGet, "/ui/predictions", (*Dash).watchedPredictions},
		{http.MethodGet, "/ui/predictions/{model}", (*Dash).modelPredictions},
		{http.MethodGet, "/ui/models", (*Dash).models},
		{http.MethodGet, "/ui/models/{model}", (*Dash).model},
		{http.MethodPost, "/ui/models/{model}/rollback", (*Dash).rollback},
		{http.MethodGet, "/ui/runs/{model}/{run}", (*Dash).run},
		{http.MethodGet, "/ui/models/{model}/{version}", (*Dash).version},
		{http.MethodPost, "/ui/models/{model}/{version}/approve", (*Dash).approve},
		{http.MethodPost, "/ui/models/{model}/{version}/reject", (*Dash).reject},
		{http.MethodGet, "/ui/whatif", (*Dash).whatIf},
		{http.MethodGet, "/ui/whatif.json", (*Dash).whatIfJSON},
		{http.MethodGet, "/ui/alarms", (*Dash).listAlarms},
		{http.MethodPost, "/ui/alarms/acknowledge", (*Dash).acknowledge},
	}
}

// A visit is a request and who makes it.
type visit struct {
	*http.Request
	user string
}

// A fault is an error that is a page: what is wrong, and what to do.
type fault struct {
	Status int
	Title  string
	Text   string
}

func (f *fault) Error() string { return f.Title + ": " + f.Text }

// notFound says that there is no such thing.
func notFound(format string, args ...any) error {
	return &fault{http.StatusNotFound, "Not found", fmt.Sprintf(format, args...)}
}

// badRequest says what a form or an address has that cannot be.
func badRequest(format string, args ...any) error {
	return &fault{http.StatusBadRequest, "That cannot be", fmt.Sprintf(format, args...)}
}

func (d *Dash) addRoutes() {
	for _, r := range routes() {
		d.mux.HandleFunc(r.method+" "+r.path, func(w http.ResponseWriter, q *http.Request) {
			v := d.visitor(q)
			d.answer(w, v, func() error { return d.enter(&r, w, v) })
		})
	}
	d.mux.HandleFunc("/", func(w http.ResponseWriter, q *http.Request) {
		d.answer(w, d.visitor(q), func() error { return d.noRoute(w, q) })
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
	return &fault{http.StatusMethodNotAllowed, "Not so", "This address takes " + strings.Join(allowed, " and ") + " only. Use the links and buttons of the pages."}
}

// ServeHTTP answers one request.
func (d *Dash) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	secure(w.Header())
	d.mux.ServeHTTP(w, r)
}

// visitor says who makes a request.
func (d *Dash) visitor(r *http.Request) *visit { return &visit{r, d.cfg.Reviewer} }

// answer runs a handler and makes a page of its error.
func (d *Dash) answer(w http.ResponseWriter, v *visit, do func() error) {
	defer func() {
		if why := recover(); why != nil {
			if why == http.ErrAbortHandler { //nolint:errorlint // it is a value of panic, never wrapped
				panic(why)
			}
			d.cfg.Log.Error("a page made the server panic", "path", v.URL.Path, "panic", fmt.Sprint(why), "stack", string(debug.Stack()))
			d.fail(w, v, &fault{http.StatusInternalServerError, "A fault of the server", "Its log says where. The rest of the pages work; go back, and tell whoever runs the server."})
		}
	}()
	if err := do(); err != nil {
		d.fail(w, v, err)
	}
}

// enter lets a visitor in where it may be.
func (d *Dash) enter(r *route, w http.ResponseWriter, v *visit) error {
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
		f = &fault{http.StatusInternalServerError, "This page failed", err.Error()}
		if v.Context().Err() == nil && !errors.Is(err, context.Canceled) {
			d.cfg.Log.Warn("a page failed", "path", v.URL.Path, "error", err)
		}
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
