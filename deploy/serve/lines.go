package serve

import (
	"bytes"
	"fmt"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// badLines are the lines of a body that are not what they should be.
type badLines struct {
	count int
	text  []byte // JSON: what is wrong with the first of them
}

// add notes what is wrong with a line; field may be empty.
func (b *badLines) add(number int, reason, field, what string) {
	if b.count++; b.count > maxBadLines {
		return
	}
	if len(b.text) > 0 {
		b.text = append(b.text, ',')
	}
	b.text = append(b.text, `{"line":`...)
	b.text = strconv.AppendInt(b.text, int64(number), 10)
	b.text = appendText(append(b.text, `,"reason":`...), reason)
	if field != "" {
		b.text = appendText(append(b.text, `,"field":`...), field)
	}
	b.text = append(appendText(append(b.text, `,"problem":`...), what), '}')
}

// problem is what to answer to a body with good other lines, or nil where all
// is well. The texts say what the lines are, what the bad ones are not, and what
// one of them looks like.
func (b *badLines) problem(good int, are, not, one string) error {
	n := good + b.count
	switch {
	case n == 0:
		return badRequest("the body is empty; send %s, or one on each line", one)
	case b.count == 0:
		return nil
	}
	p := badRequest("%d of %d %s are not %s; nothing was written: correct them and send all again", b.count, n, are, not)
	if b.count > maxBadLines {
		p.Detail = fmt.Sprintf("the first %d are in lines", maxBadLines)
	}
	p.extra = append(append([]byte(`"lines":[`), b.text...), ']')
	return p
}

// eachLine calls f for each line of a body that is not blank, with its number
// from 1; or for all of it, where it is one value and lines does not say that
// each line is one.
func eachLine(body []byte, lines bool, f func(number int, line []byte)) {
	body = bytes.TrimPrefix(body, []byte("\ufeff"))
	if trimmed := bytes.TrimSpace(body); !lines && isOneValue(trimmed) {
		f(1+bytes.Count(body[:bytes.IndexByte(body, trimmed[0])], []byte("\n")), trimmed)
		return
	}
	number := 0
	for line := range bytes.Lines(body) {
		number++
		if line = bytes.TrimSpace(line); len(line) > 0 {
			f(number, line)
		}
	}
}

// isOneValue reports whether a body without space around it is one value that
// may go over several lines, rather than a value on each.
func isOneValue(body []byte) bool {
	return len(body) > 0 && (bytes.IndexByte(body, '\n') < 0 || jsontext.Value(body).IsValid(jsontext.AllowDuplicateNames(true)))
}
