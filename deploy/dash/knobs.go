package dash

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/millrace/millrace/trainer/eval"
	"github.com/millrace/millrace/trainer/whatif"
)

// readKnobs reads what a question changes, and which features the form shows: those
// that are changed, and the first of those that are searched for.
func (data *whatifData) readKnobs(query url.Values, knobs []whatif.Knob, q *whatif.Question) {
	rows := make(map[string]*knobRow)
	var order []*knobRow
	for i := range knobs {
		k := &knobs[i]
		row := rows[k.Feature]
		if row == nil {
			row = &knobRow{Name: k.Feature, Input: k.Input}
			rows[k.Feature] = row
			order = append(order, row)
		}
		if k.Kind == whatif.WindowKnob {
			row.readWindow(query, k, q)
		} else {
			row.readValue(query, k, q)
		}
	}
	for _, row := range order {
		changed := row.changed()
		found := matches(row.Name, data.Filter)
		if found {
			data.Features++
		}
		if changed || found && data.Features <= knobsShown {
			data.Knobs = append(data.Knobs, *row)
		}
	}
}

func (r *knobRow) changed() bool {
	return r.Value != "" || r.Window != nil && r.Window.Now != r.Window.Used
}

// lengthUnits are those of windows, the longest first.
var lengthUnits = []struct {
	unit   string
	length time.Duration
}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}, {"ms", time.Millisecond}, {"us", time.Microsecond}}

// sliderOf makes a slider of a window, in the longest unit that its length and its
// step are whole numbers of. Days are enough for a window of many.
func sliderOf(k *whatif.Knob) *slider {
	day := lengthUnits[0].length
	step, least := k.Step, k.MinWindow
	if k.Window >= 4*day && k.Window%day == 0 && day%step == 0 {
		step = day
		least = (least + day - 1) / day * day
	}
	for _, u := range lengthUnits {
		if step%u.length == 0 && k.Window%u.length == 0 && least%u.length == 0 {
			n := func(d time.Duration) int64 { return int64(d / u.length) }
			return &slider{Param: "w." + k.Feature, Min: n(least), Max: n(max(k.MaxWindow, k.Window)), Step: n(step), Now: n(k.Window), Used: n(k.Window), Unit: u.unit}
		}
	}
	return nil // no length that people would drag
}

// readWindow reads a window's length: a number of the slider's units.
func (r *knobRow) readWindow(query url.Values, k *whatif.Knob, q *whatif.Question) {
	if r.Window = sliderOf(k); r.Window == nil {
		return
	}
	s := r.Window
	n, err := strconv.ParseInt(strings.TrimSuffix(query.Get(s.Param), s.Unit), 10, 64)
	if err != nil || n == s.Used {
		return
	}
	s.Now = min(max(n, s.Min), s.Max)
	q.Windows[k.Feature] = strconv.FormatInt(s.Now, 10) + s.Unit
}

func (r *knobRow) readValue(query url.Values, k *whatif.Knob, q *whatif.Question) {
	r.Param, r.Kind = "v."+k.Feature, k.Type.String()
	r.Value = short(strings.TrimSpace(query.Get(r.Param)), 200)
	switch {
	case r.Value == "":
	case strings.EqualFold(r.Value, missingWord):
		q.Values[k.Feature] = ""
	default:
		q.Values[k.Feature] = r.Value
	}
	if k.Min.Defined() && k.Max.Defined() && k.Min < k.Max {
		r.Hint = fmt.Sprintf("%s to %s", eval.Number(k.Min), eval.Number(k.Max))
	}
}

// KnobID is the id of a field of the form.
func (data *whatifData) KnobID(param string) string { return "knob-" + url.QueryEscape(param) }

// hints says beside each knob what the feature is without a change, once there is
// an answer.
func (data *whatifData) hints() {
	if data.Answer == nil {
		return
	}
	before := make(map[string]string)
	for i := range data.Answer.Features {
		f := &data.Answer.Features[i]
		before[f.Name] = valueText(f.Before)
	}
	for i := range data.Knobs {
		if text, ok := before[data.Knobs[i].Name]; ok {
			data.Knobs[i].Hint = text
		}
	}
}

// valueText is a feature's value in a table: four digits of a number.
func valueText(v whatif.Value) string {
	if v.Missing() {
		return "missing"
	}
	if x, ok := v.Number(); ok {
		return number(x)
	}
	return short(v.String(), 60)
}

// A line of the answer to a script: progress, and at the end an error, or the
// answer with how the page shows it.
type line struct {
	Done   int64          `json:"done,omitempty"`
	Of     int64          `json:"of,omitempty"`
	Error  string         `json:"error,omitempty"`
	Field  string         `json:"field,omitempty"`
	HTML   string         `json:"html,omitempty"`
	Table  string         `json:"table,omitempty"` // of the features
	Answer *whatif.Answer `json:"answer,omitempty"`
}

// progressEvery is how often a script hears how far its question is.
const progressEvery = 200 * time.Millisecond

// whatIfJSON answers a question to a script: lines of JSON, of which the last has
// the answer or an error.
func (d *Dash) whatIfJSON(w http.ResponseWriter, v *visit) error {
	if v.Header.Get("Sec-Fetch-Site") == "cross-site" {
		return forbidden("Another site must not ask.")
	}
	if d.cfg.Lab == nil || len(d.cfg.Project.Models) == 0 {
		return notFound("Nothing answers what-if here: the project has no models.")
	}
	data, q, err := d.question(v.URL.Query())
	if err != nil {
		return err
	}
	out := &lines{w: w, control: http.NewResponseController(w)}
	answer, err := d.ask(w, v, q, out.progress)
	var f *fault
	if errors.As(err, &f) && !out.begun {
		return f
	}
	if err != nil {
		text, field := askError(err)
		out.put(line{Error: text, Field: field})
		return nil
	}
	data.Answer = answerOf(answer)
	var b, table bytes.Buffer
	err = d.pages["whatif.html"].ExecuteTemplate(&b, "answer", data.Answer)
	if err == nil {
		err = d.pages["whatif.html"].ExecuteTemplate(&table, "answerfeatures", data.Answer)
	}
	if err != nil {
		d.cfg.Log.Warn("an answer cannot be shown", "error", err)
		out.put(line{Error: "The answer cannot be shown: " + err.Error()})
		return nil
	}
	out.put(line{HTML: b.String(), Table: table.String(), Answer: answer})
	return nil
}

// lines writes lines of JSON. The lab may tell of progress from several goroutines.
type lines struct {
	mu      sync.Mutex
	w       http.ResponseWriter
	control *http.ResponseController
	begun   bool
	last    time.Time
}

func (l *lines) progress(done, of int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); now.Sub(l.last) >= progressEvery {
		l.last = now
		l.write(line{Done: done, Of: of})
	}
}

func (l *lines) put(x line) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.write(x)
}

func (l *lines) write(x line) {
	b, err := json.Marshal(x)
	if err != nil {
		b = []byte(`{"error":"The answer cannot be written as JSON."}`)
	}
	if !l.begun {
		l.begun = true
		l.w.Header().Set("Content-Type", "application/x-ndjson")
	}
	_, _ = l.w.Write(append(b, '\n'))
	_ = l.control.Flush() // who has left ends the question by its context
}
