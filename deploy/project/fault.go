package project

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A Fault is one thing that is wrong with a project.
type Fault struct {
	Line    int    `json:"line,omitempty"` // counted from 1; 0: a project of Go values, or the file as a whole
	Path    string `json:"path,omitempty"` // keys from the top of the file, as views.daily.where
	Problem string `json:"problem"`        // what is wrong and what to do, one line
}

// maxFaults is how many faults an Error lists. More do not fit on a screen.
const maxFaults = 50

// An Error is what is wrong with a project: up to 50 faults, by line.
type Error struct {
	File   string // empty: a project of Go values
	Faults []Fault
	More   int // faults beyond those
}

// Error returns a line for each fault, as file:line: path: what is wrong and
// what to do.
func (e *Error) Error() string {
	lines := make([]string, 0, len(e.Faults)+1)
	for _, f := range e.Faults {
		lines = append(lines, e.place(f)+f.Problem)
	}
	if e.More > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", e.More))
	}
	return strings.Join(lines, "\n")
}

func (e *Error) place(f Fault) string {
	var b strings.Builder
	switch {
	case e.File == "":
		b.WriteString("project: ")
	case f.Line == 0:
		b.WriteString(e.File + ": ")
	default:
		fmt.Fprintf(&b, "%s:%d: ", e.File, f.Line)
	}
	if f.Path != "" {
		b.WriteString(f.Path + ": ")
	}
	return b.String()
}

// newError sorts the faults by line and keeps the first. It returns nil where
// there are none.
func newError(file string, faults []Fault) error {
	if len(faults) == 0 {
		return nil
	}
	for i := range faults { // one line each, even where an expression of several lines is quoted
		faults[i].Problem = strings.NewReplacer("\n", `\n`, "\r", `\r`).Replace(faults[i].Problem)
	}
	slices.SortStableFunc(faults, func(a, b Fault) int { return a.Line - b.Line })
	e := &Error{File: file, Faults: faults}
	if len(faults) > maxFaults {
		e.Faults, e.More = faults[:maxFaults], len(faults)-maxFaults
	}
	return e
}

// closest returns the name that word is most likely a misspelling of, or "".
func closest(word string, names []string) string {
	best, least := "", 1+max(1, len(word)/3)
	for _, name := range names {
		if d := distance(word, name); d < least {
			best, least = name, d
		}
	}
	return best
}

// distance counts the letters to insert, remove, change or swap with their
// neighbour that make b of a. Words longer than any key are far from all.
func distance(a, b string) int {
	const long = 64
	if len(a) > long || len(b) > long {
		return len(a) + len(b)
	}
	var d [long + 1][long + 1]int
	for i := range len(a) + 1 {
		for j := range len(b) + 1 {
			if i == 0 || j == 0 {
				d[i][j] = i + j
				continue
			}
			change := d[i-1][j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			d[i][j] = min(change, d[i-1][j]+1, d[i][j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(a)][len(b)]
}

// index is the element of a path that stands for an item of a list. It finds
// the item's line and is not shown: the problem says which value it is about.
func index(i int) string { return "[" + strconv.Itoa(i) + "]" }

// shown joins a path for people.
func shown(path []string) string {
	var b strings.Builder
	for _, key := range path {
		if strings.HasPrefix(key, "[") {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		if key == "" || len(key) > 64 || strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r == '.' || r == 0x7f }) {
			key = quote(key)
		}
		b.WriteString(key)
	}
	return b.String()
}

// quote shows a value of the file in a message, shortened where it is long.
func quote(s string) string {
	if len(s) > 80 {
		s = strings.ToValidUTF8(s[:80], "") + "..."
	}
	return strconv.Quote(s)
}
