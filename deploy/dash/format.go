package dash

import (
	"fmt"
	"html/template"
	"math"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/millrace/millrace/deploy/registry"
)

// none stands for a value that is not there.
const none = "–"

// funcs are what templates may call. All times are shown in UTC.
func (d *Dash) funcs() template.FuncMap {
	return template.FuncMap{
		"asset":    d.asset,
		"when":     when,   // a time.Time as <time>
		"micros":   micros, // int64 microseconds as time.Time
		"ago":      func(t time.Time) template.HTML { return ago(d.cfg.Now(), t) },
		"num":      number,  // four significant digits
		"count":    count,   // 1,234,567
		"percent":  percent, // a share, 0 to 1
		"dur":      duration,
		"plural":   plural,  // plural 2 "row" is "2 rows"
		"badge":    badge,   // a state as a coloured word
		"short":    short,   // cuts a text: short .Text 40
		"id":       shortID, // the beginning of a bundle's id
		"path":     pathOf,  // path "models" .Model .Number is /ui/models/x/3
		"query":    url.QueryEscape,
		"version":  versionName,
		"sum":      func(a, b int) int { return a + b },
		"args":     args, // args "Name" value ... for a template that takes several
		"upper":    upper,
		"value":    valueText,
		"runOf":    runOf,
		"afterRun": afterRun,
	}
}

// when is an instant, to the minute; the whole of it is in the title.
func when(t time.Time) template.HTML {
	if t.IsZero() {
		return none
	}
	t = t.UTC()
	return timeTag(t, t.Format("2006-01-02 15:04"))
}

// timeTag shows a text that stands for an instant.
func timeTag(t time.Time, text string) template.HTML {
	full := t.UTC().Format(time.RFC3339)
	return template.HTML(`<time datetime="` + full + `" title="` + full + `">` + template.HTMLEscapeString(text) + `</time>`) //nolint:gosec // escaped, and digits
}

// micros is an instant given in microseconds since the Unix epoch; 0: none.
func micros(at int64) time.Time {
	if at == 0 || at == math.MinInt64 {
		return time.Time{}
	}
	return time.UnixMicro(at).UTC()
}

// ago is how long before now something was.
func ago(now, t time.Time) template.HTML {
	if t.IsZero() {
		return none
	}
	return timeTag(t, agoText(now, t))
}

func agoText(now, t time.Time) string {
	switch d := now.Sub(t); {
	case d < -time.Minute:
		return "in " + duration(-d)
	case d < time.Second:
		return "now"
	default:
		return duration(d) + " ago"
	}
}

// duration writes a length of time in its largest unit, in two where that says
// much: 45 s, 12 min, 3 h, 2 d 5 h, 400 d.
func duration(d time.Duration) string {
	whole := func(unit time.Duration) int64 { return int64(d / unit) }
	switch day := 24 * time.Hour; {
	case d < 0:
		return "-" + duration(-d)
	case d < time.Second:
		return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	case d < time.Minute:
		return strconv.FormatInt(whole(time.Second), 10) + " s"
	case d < time.Hour:
		return strconv.FormatInt(whole(time.Minute), 10) + " min"
	case d < day:
		return twoUnits(whole(time.Hour), "h", whole(time.Minute)%60, "min", 10)
	default:
		return twoUnits(whole(day), "d", whole(time.Hour)%24, "h", 10)
	}
}

// twoUnits leaves the smaller unit out where it is nothing, or little beside the
// larger one.
func twoUnits(large int64, unit string, small int64, smaller string, until int64) string {
	s := count(large) + " " + unit
	if small > 0 && large < until {
		s += " " + strconv.FormatInt(small, 10) + " " + smaller
	}
	return s
}

// number writes four significant digits; NaN and infinities are none.
func number(x any) string {
	v, ok := float(x)
	if !ok || math.IsNaN(v) || math.IsInf(v, 0) {
		return none
	}
	if v == math.Trunc(v) && math.Abs(v) < 1e6 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	if a := math.Abs(v); a >= 1e-4 && a < 1e6 {
		digits := 3 - int(math.Floor(math.Log10(a)))
		return strconv.FormatFloat(v, 'f', max(0, digits), 64)
	}
	return strconv.FormatFloat(v, 'g', 4, 64)
}

// count writes 12154 as 12,154.
func count(x any) string {
	v, ok := float(x)
	if !ok || math.IsNaN(v) {
		return none
	}
	s := strconv.FormatInt(int64(v), 10)
	digits := strings.TrimPrefix(s, "-")
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	if s[0] == '-' {
		return "-" + digits
	}
	return digits
}

// plural writes 1 row, or 12,154 rows.
func plural(x any, what string) string {
	if v, ok := float(x); !ok || v != 1 {
		what += "s"
	}
	return count(x) + " " + what
}

// percent writes a share.
func percent(x any) string {
	v, ok := float(x)
	if !ok || math.IsNaN(v) || math.IsInf(v, 0) {
		return none
	}
	return strconv.FormatFloat(100*v, 'f', 1, 64) + " %"
}

// rate writes how much there is of something in a second.
func rate(perSecond float64) string {
	switch {
	case math.IsNaN(perSecond):
		return none
	case perSecond == 0:
		return "0/s"
	case perSecond < 0.1:
		return fmt.Sprintf("%.1f/min", perSecond*60)
	case perSecond < 10:
		return fmt.Sprintf("%.1f/s", perSecond)
	}
	return count(perSecond) + "/s"
}

// levels are how the words of states are coloured; a word that is not here is
// plain.
var levels = map[string]string{
	string(registry.Review): "wait", string(registry.Approved): "wait", string(registry.Shadow): "wait", string(registry.Judging): "plain",
	string(registry.Champion): "good", string(registry.Broken): "bad", string(registry.RolledBack): "bad",
	string(registry.Trained): "good", string(registry.Stopped): "warn", string(registry.Failed): "bad",
	string(registry.Watching): "wait", string(registry.Done): "good", string(registry.Undone): "bad",
	"promote": "good", "reject": "bad", "inconclusive": "plain",
	"fine": "good", "alarm": "bad", "no_reference": "plain", "too_few": "plain",
	"open": "bad", "acknowledged": "warn", "over": "plain",
	"error": "bad", "warning": "warn",
}

// badge is a state as a word on a ground whose colour says how it is.
func badge(state any) template.HTML {
	word := fmt.Sprint(state)
	level := levels[word]
	if level == "" {
		level = "plain"
	}
	return template.HTML(`<span class="badge ` + level + `">` + template.HTMLEscapeString(strings.ReplaceAll(word, "_", " ")) + `</span>`) //nolint:gosec // escaped
}

// shortID is enough of a bundle's id to tell it from others.
func shortID(id string) string {
	if len(id) > 12 && utf8.ValidString(id[:12]) {
		return id[:12]
	}
	return id
}

// pathOf is the address of a page: its parts, each escaped.
func pathOf(parts ...any) string {
	var b strings.Builder
	b.WriteString("/ui")
	for _, p := range parts {
		b.WriteString("/" + url.PathEscape(fmt.Sprint(p)))
	}
	return b.String()
}

// versionName is a version in a sentence.
func versionName(number int) string {
	switch number {
	case registry.BaseRateVersion:
		return "the base rate"
	case registry.NoVersion:
		return "none"
	}
	return "version " + strconv.Itoa(number)
}

// float returns a number of any kind, or what a pointer to one points to.
func float(x any) (float64, bool) {
	v := reflect.ValueOf(x)
	for v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
	}
	switch {
	case v.CanInt():
		return float64(v.Int()), true
	case v.CanUint():
		return float64(v.Uint()), true
	case v.CanFloat():
		return v.Float(), true
	}
	return 0, false
}

// upper begins a sentence.
func upper(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(r)) + s[n:]
}

// args makes what a template takes of names and values in turn.
func args(pairs ...any) (map[string]any, error) {
	m := make(map[string]any)
	for i := 0; i < len(pairs); i += 2 {
		name, ok := pairs[i].(string)
		if !ok || i+1 == len(pairs) {
			return nil, fmt.Errorf("args: %v is no name with a value", pairs[i])
		}
		m[name] = pairs[i+1]
	}
	return m, nil
}

// runOf is the number of a training in a line of the history, as run 3: drift.
func runOf(why string) string {
	number, _, ok := strings.Cut(strings.TrimPrefix(why, "run "), ":")
	if _, err := strconv.ParseInt(number, 10, 64); !ok || err != nil {
		return ""
	}
	return number
}

// afterRun is what follows it.
func afterRun(why string) string {
	if n := runOf(why); n != "" {
		return strings.TrimSpace(strings.TrimPrefix(why, "run "+n+":"))
	}
	return why
}
