package dash

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/millrace/millrace/deploy/dash/chart"
	"github.com/millrace/millrace/deploy/project"
	"github.com/millrace/millrace/feedback/monitor"
	"github.com/millrace/millrace/trainer/whatif"
)

// A Lab answers questions of what-if; whatif.Lab does.
type Lab interface {
	Ask(ctx context.Context, q whatif.Question, progress func(done, of int64)) (*whatif.Answer, error)
	Knobs(model string) []whatif.Knob
	Series(ctx context.Context, q whatif.SeriesQuestion) (*whatif.Series, error)
	Numbers(view string) (fields, outputs []string)
}

const (
	// maxAsked is how many questions may be under way at a time, those that wait
	// for their turn included.
	maxAsked = 4

	// askWait is for how long a question may take, and its answer to be sent.
	askWait = 6 * time.Minute

	changesShown  = 100
	knobsShown    = 25  // features with their knobs, besides those that are changed
	entitiesShown = 200 // suggested

	missingWord = "(missing)" // in a form: had it no value
)

// whatifData is what the page of what-if shows.
type whatifData struct {
	Models   []string
	Model    string
	Entity   []entityField
	AsOf     string
	Past     []choice
	All      bool
	Knobs    []knobRow
	Request  []requestField
	Filter   string
	Features int // that match the filter
	Asked    bool
	Answer   *answerData
	Error    string
	Field    string   // of the form, that the error is about
	Known    []string // entities to choose of
}

// An entityField is one field of whom is asked about.
type entityField struct{ ID, Name, Param, Value string }

// A requestField is a number that a request would bring.
type requestField struct{ ID, Name, Param, Value string }

// A choice is one option of a list.
type choice struct {
	Value, Text string
	Chosen      bool
}

// A knobRow is a feature with what can be changed of it.
type knobRow struct {
	Name   string
	Input  bool // the model sees it
	Window *slider
	Kind   string
	Param  string // of the value
	Value  string
	Hint   string // what it is without a change, where that is known
}

// A slider is a window's length in a whole number of units.
type slider struct {
	Param                     string
	Min, Max, Step, Now, Used int64 // Used is the project's
	Unit                      string
}

// Length is a number of the slider's units.
func (s *slider) Length(n int64) string { return fmt.Sprintf("%d %s", n, s.Unit) }

// whatIf is the page of what-if. Its form is sent by GET, so that a question can be
// kept as an address.
func (d *Dash) whatIf(w http.ResponseWriter, v *visit) error {
	p := &page{Title: "What if", Tab: "/ui/whatif", Scripts: []string{"chart.js", "whatif.js"}}
	if d.cfg.Lab == nil || len(d.cfg.Project.Models) == 0 {
		return d.show(w, v, "whatif.html", p)
	}
	data, q, err := d.question(v.URL.Query())
	if err != nil {
		return err
	}
	// Another site can lead here, and must not make the server work.
	if data.Asked && v.Header.Get("Sec-Fetch-Site") != "cross-site" {
		answer, err := d.ask(w, v, q, nil)
		if err != nil {
			data.Error, data.Field = askError(err)
			if data.Error == "" {
				return err
			}
		} else {
			data.Answer = answerOf(answer)
		}
		data.hints()
	}
	p.Data = data
	return d.show(w, v, "whatif.html", p)
}

// ask has the lab answer, or says that too many ask.
func (d *Dash) ask(w http.ResponseWriter, v *visit, q whatif.Question, progress func(done, of int64)) (*whatif.Answer, error) {
	if !d.asked.take() {
		return nil, &fault{RetryAfter: "10", Status: http.StatusServiceUnavailable, Title: "Too many ask", Text: fmt.Sprintf("%d questions are being answered, which is all that may be at a time. Ask again in a moment.", cap(d.asked))}
	}
	defer d.asked.leave()
	// An answer may take longer than others of the server.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(askWait))
	return d.cfg.Lab.Ask(v.Context(), q, progress)
}

// askError is what the page says of an error, and of which field of the form. An
// empty text is an error of its own page.
func askError(err error) (text, field string) {
	var wrong *whatif.Fault
	var f *fault
	switch {
	case errors.As(err, &wrong):
		return fieldName(wrong.Field) + upper(wrong.Problem), wrong.Field
	case errors.As(err, &f):
		return f.Text, ""
	case errors.Is(err, context.Canceled):
		return "", ""
	}
	return upper(strings.TrimPrefix(err.Error(), "whatif: ")), ""
}

// fieldName says which field of the form an error is about.
func fieldName(field string) string {
	_, name, ok := strings.Cut(field, ".")
	switch {
	case ok:
		return name + ": "
	case field == "as_of":
		return "As of: "
	}
	return ""
}

// question reads a question from an address, and what its form shows.
func (d *Dash) question(query url.Values) (*whatifData, whatif.Question, error) {
	data := &whatifData{Model: query.Get("model"), Filter: short(strings.TrimSpace(query.Get("q")), 200), All: query.Has("all"), Asked: query.Has("ask")}
	for i := range d.cfg.Project.Models {
		data.Models = append(data.Models, d.cfg.Project.Models[i].Name)
	}
	if data.Model == "" {
		data.Model = data.Models[0]
	}
	m := d.cfg.Project.Model(data.Model)
	if m == nil {
		return nil, whatif.Question{}, notFound("There is no model %s. Choose one of the list on the page What if.", short(data.Model, 100))
	}
	q := whatif.Question{Model: data.Model, Entity: map[string]string{}, Values: map[string]string{}, Windows: map[string]string{}, Request: map[string]string{}, All: data.All}
	for i, f := range m.Entity {
		x := entityField{fmt.Sprintf("entity-%d", i), f.Name, "e." + f.Name, query.Get("e." + f.Name)}
		data.Entity = append(data.Entity, x)
		q.Entity[f.Name] = x.Value
	}
	if err := data.readAsOf(query.Get("as_of"), &q); err != nil {
		return nil, q, err
	}
	data.Known = d.suggestions(data.Model, len(m.Entity))
	data.readPast(query.Get("past"), &q)
	data.readKnobs(query, d.cfg.Lab.Knobs(data.Model), &q)
	d.readRequest(data, query, m, &q)
	return data, q, nil
}

// readAsOf reads a moment, as the browser's field has it or in RFC 3339.
func (data *whatifData) readAsOf(text string, q *whatif.Question) error {
	if text == "" {
		return nil
	}
	for _, layout := range []string{"2006-01-02T15:04:05", "2006-01-02T15:04", time.RFC3339Nano, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			q.AsOf, data.AsOf = t.UTC(), t.UTC().Format("2006-01-02T15:04:05")
			return nil
		}
	}
	return badRequest("%s is no moment. Write it as 2008-10-10T20:00:00.", short(text, 40))
}

// pastChoices are how many past examples a question may be about, here.
var pastChoices = []choice{{Value: "0", Text: "none"}, {Value: "500", Text: "500"}, {Value: "2000", Text: "2,000"}, {Value: "10000", Text: "10,000"}}

func (data *whatifData) readPast(text string, q *whatif.Question) {
	counts := map[string]int{"0": whatif.NoPast, "500": 500, "2000": 2000, "10000": 10000}
	n, ok := counts[text]
	if !ok {
		text, n = "2000", 2000
	}
	q.Past = n
	data.Past = slices.Clone(pastChoices)
	for i := range data.Past {
		data.Past[i].Chosen = data.Past[i].Value == text
	}
}

// readRequest reads the numbers that features on demand want of a request.
func (d *Dash) readRequest(data *whatifData, query url.Values, m *project.Model, q *whatif.Question) {
	names := make(map[string]bool)
	for _, p := range d.cfg.Project.Plans {
		seen := slices.ContainsFunc(m.Features, func(name string) bool { return strings.HasPrefix(name, p.View.Name+".") })
		for _, name := range p.Request() {
			names[name] = names[name] || seen
		}
	}
	for i, name := range slices.Sorted(maps.Keys(names)) {
		if !names[name] {
			continue
		}
		x := requestField{fmt.Sprintf("request-%d", i), name, "r." + name, strings.TrimSpace(query.Get("r." + name))}
		data.Request = append(data.Request, x)
		if x.Value != "" {
			q.Request[name] = x.Value
		}
	}
}

// Suggestions are entities that the monitors have seen, for models that are about
// one field.
func (d *Dash) suggestions(model string, fields int) (names []string) {
	if d.cfg.Lookout == nil || fields != 1 {
		return nil
	}
	d.cfg.Lookout.View(model, func(f *monitor.Fleet) { names = f.Entities(entitiesShown) })
	return names
}

// answerData is an answer as the page shows it.
type answerData struct {
	*whatif.Answer
	Changed int
	Shown   []whatif.Change // those that changed, and others up to the limit
	Left    int             // that are not shown
	Chart   template.HTML   // of the gain; empty: there is no past
}

func answerOf(a *whatif.Answer) *answerData {
	data := &answerData{Answer: a}
	data.Shown = slices.Clone(a.Features)
	slices.SortStableFunc(data.Shown, func(a, b whatif.Change) int {
		switch {
		case a.Changed == b.Changed:
			return 0
		case a.Changed:
			return -1
		}
		return 1
	})
	for i := range data.Shown {
		if data.Shown[i].Changed {
			data.Changed++
		}
	}
	if n := len(data.Shown); n > changesShown {
		data.Shown, data.Left = data.Shown[:changesShown], n-changesShown
	}
	if p := a.Past; p != nil && p.Gain.Mean.Defined() && p.Gain.Lo != p.Gain.Hi {
		data.Chart = chart.Intervals{
			Title: "Gain on past examples", Unit: "loss less than before", At: 0, AtName: "no difference",
			Desc: fmt.Sprintf("By how much the mean loss is less with the change, with bounds of %.4g %% on each side. Right of the line the change is better.", 100*p.Confidence),
			Rows: []chart.Interval{intervalOf("with the change", p.Rows, p.Gain, false)},
		}.HTML()
	}
	return data
}
