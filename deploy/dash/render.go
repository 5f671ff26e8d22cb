package dash

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"path"
	"strconv"
	"strings"

	"github.com/millrace/millrace/deploy/users"
)

//go:embed templates
var templateFiles embed.FS

// layoutFile is around every page.
const layoutFile = "layout.html"

// A page is what a template is given. A handler sets the first four.
type page struct {
	Title   string
	Tab     string   // of the navigation, as its address: /ui/models
	Data    any      // the page's own
	Scripts []string // modules in static, besides live.js

	User    string
	Role    users.Role // empty: nobody is asked
	Token   string     // for forms: {{template "token" $}}
	Project string
	Done    string // what was just done here
	Tabs    []tab
	Alarms  string // how many are open; empty: none
}

// A tab is a link of the navigation.
type tab struct{ Path, Name string }

var tabs = []tab{{"/ui/", "Overview"}, {"/ui/models", "Models"}, {"/ui/features", "Features"}, {"/ui/predictions", "Predictions"}, {"/ui/whatif", "What if"}, {"/ui/alarms", "Alarms"}}

// readPages parses the templates: each but the layout is a page, and may use
// those of the parts.
func (d *Dash) readPages() (map[string]*template.Template, error) {
	files, err := templateFiles.ReadDir("templates")
	if err != nil {
		return nil, err
	}
	common, err := template.New(layoutFile).Funcs(d.funcs()).ParseFS(templateFiles, "templates/"+layoutFile, "templates/parts*.html")
	if err != nil {
		return nil, err
	}
	all := make(map[string]*template.Template)
	for _, f := range files {
		if f.Name() == layoutFile || strings.HasPrefix(f.Name(), "parts") {
			continue
		}
		t, err := common.Clone()
		if err == nil {
			t, err = t.ParseFS(templateFiles, path.Join("templates", f.Name()))
		}
		if err != nil {
			return nil, err
		}
		all[f.Name()] = t
	}
	return all, nil
}

// show answers with a page.
func (d *Dash) show(w http.ResponseWriter, v *visit, file string, p *page) error {
	var b bytes.Buffer
	if err := d.execute(&b, v, file, p); err != nil {
		return err
	}
	writePage(w, http.StatusOK, b.Bytes())
	return nil
}

// execute makes a page. It is whole or not there: what fails half way must not
// look as if it were all.
func (d *Dash) execute(b *bytes.Buffer, v *visit, file string, p *page) error {
	t := d.pages[file]
	if t == nil {
		return fmt.Errorf("there is no template %s", file)
	}
	p.User, p.Token, p.Project = v.user, d.token(v.user), d.cfg.Project.Name
	if d.cfg.Users != nil {
		p.Role = v.role
	}
	if v.role == "" { // nobody we know: they are told what to do, and nothing else
		return t.ExecuteTemplate(b, layoutFile, p)
	}
	p.Tabs, p.Alarms = tabs, d.openAlarms(v.Context())
	p.Done = done[v.URL.Query().Get("done")]
	return t.ExecuteTemplate(b, layoutFile, p)
}

// done says what an action did, on the page that it leads to.
var done = map[string]string{
	"approve":     "Approved. It goes into shadow now, and serves once it has answered enough.",
	"reject":      "Rejected. It does not go into service.",
	"acknowledge": "Acknowledged.",
	"rollback":    "The rollback is asked for. The deployer does it within a second, where it runs.",
}

func writePage(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // who has left is no error of ours
}

func writeJSON(w http.ResponseWriter, status int, x any) {
	b, err := json.Marshal(x)
	if err != nil {
		status, b = http.StatusInternalServerError, []byte(`{"error":"the answer cannot be written as JSON"}`)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(b)))
	w.WriteHeader(status)
	_, _ = w.Write(b)
}
