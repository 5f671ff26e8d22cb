package codec

import (
	"math"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
)

// scanObject reads what nearly all events are: one flat object whose names and
// texts are ASCII without escapes. It reports false for everything else, also
// for what is wrong, which the tokenizer then reads from the start: it takes a
// fraction of the tokenizer's time and need not explain anything.
func (d *Decoder) scanObject(b []byte, values []features.Value) bool {
	s := scanner{b: b}
	if !s.byte('{') {
		return false
	}
	if s.byte('}') {
		return s.end()
	}
	for next := 0; ; {
		name, ok := s.text()
		if !ok || !s.byte(':') {
			return false
		}
		i := next
		if i >= len(d.fields) || name != d.fields[i].Name {
			if i, ok = d.byName[name]; !ok {
				i = -1
			}
		}
		if i < 0 {
			if ok = s.skip(); !ok {
				return false
			}
		} else {
			if d.seen[i] == d.gen {
				return false
			}
			d.seen[i], next = d.gen, i+1
			if values[i], ok = d.scanValue(&s, &d.fields[i]); !ok {
				return false
			}
		}
		if s.byte(',') {
			continue
		}
		return s.byte('}') && s.end()
	}
}

// scanValue reads a value as f's kind.
func (d *Decoder) scanValue(s *scanner, f *features.Field) (v features.Value, ok bool) {
	switch c := s.peek(); {
	case c == '"':
		text, ok := s.text()
		if f.Kind == expr.String {
			return expr.StringValue(text), ok
		}
		if !ok || f.Kind != expr.Time || f.Unit != features.RFC3339 {
			return v, false
		}
		us, ok := parseTime(text)
		return expr.TimeValue(us), ok
	case c == 'n':
		return v, s.word("null")
	case f.Kind == expr.Bool:
		if s.word("true") {
			return expr.BoolValue(true), true
		}
		return expr.BoolValue(false), s.word("false")
	case f.Kind == expr.String, f.Kind == expr.Time && f.Unit == features.RFC3339:
		return v, false
	}
	n, ok := s.number()
	switch {
	case !ok:
		return v, false
	case f.Kind == expr.Float && n.exact:
		return expr.FloatValue(n.float()), true
	case f.Kind == expr.Int && n.exact && n.whole:
		return expr.IntValue(n.int()), true
	case f.Kind == expr.Time && n.exact && n.whole:
		us, ok := fromEpoch(n.int(), f.Unit)
		return expr.TimeValue(us), ok
	}
	v, reason := d.parse(f, n.text)
	return v, reason == ""
}

// A scanner reads tokens from b, and white space before them.
type scanner struct {
	b  []byte
	at int
}

// peek returns the next byte that is not white space, or 0 at the end.
func (s *scanner) peek() byte {
	for ; s.at < len(s.b); s.at++ {
		if c := s.b[s.at]; c > ' ' || c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			return c
		}
	}
	return 0
}

func (s *scanner) byte(c byte) bool {
	if s.peek() != c {
		return false
	}
	s.at++
	return true
}

func (s *scanner) end() bool { return s.peek() == 0 && s.at == len(s.b) }

// word reads a literal. What follows it is read by the caller, who takes only
// a comma or the end of the object.
func (s *scanner) word(w string) bool {
	if len(s.b)-s.at < len(w) || string(s.b[s.at:s.at+len(w)]) != w {
		return false
	}
	s.at += len(w)
	return true
}

// text reads a quoted text of ASCII without escapes. It aliases b.
func (s *scanner) text() (string, bool) {
	if !s.byte('"') {
		return "", false
	}
	for i := s.at; i < len(s.b); i++ {
		switch c := s.b[i]; {
		case c == '"':
			text := s.b[s.at:i]
			s.at = i + 1
			return alias(text), true
		case c < ' ', c == '\\', c >= 0x80:
			return "", false
		}
	}
	return "", false
}

// skip reads a value that no field wants.
func (s *scanner) skip() bool {
	switch s.peek() {
	case '"':
		_, ok := s.text()
		return ok
	case 't':
		return s.word("true")
	case 'f':
		return s.word("false")
	case 'n':
		return s.word("null")
	}
	_, ok := s.number()
	return ok
}

// A number is one as JSON writes it.
type number struct {
	text     string
	negative bool
	digits   uint64 // all digits, before the point and after it
	decimals int    // how many of them are after the point
	exact    bool   // there is no exponent, and the digits are few enough for a double
	whole    bool   // there is no point
}

// number reads a number by the grammar of RFC 8259.
func (s *scanner) number() (n number, ok bool) {
	s.peek()
	start := s.at
	n.negative = s.word("-")
	first := s.at
	n.digits = s.digits(0)
	if whole := s.at - first; whole == 0 || whole > 1 && s.b[first] == '0' {
		return n, false
	}
	n.whole, n.exact = true, true
	count := s.at - first
	if s.word(".") {
		from := s.at
		n.digits = s.digits(n.digits)
		if n.decimals = s.at - from; n.decimals == 0 {
			return n, false
		}
		n.whole = false
		count += n.decimals
	}
	n.exact = count <= maxExactDigits
	if s.at < len(s.b) && s.b[s.at]|0x20 == 'e' {
		s.at++
		if !s.word("+") {
			s.word("-")
		}
		from := s.at
		if s.digits(0); s.at == from {
			return n, false
		}
		n.exact = false
	}
	n.text = alias(s.b[start:s.at])
	return n, true
}

// digits reads digits and appends them to x, which wraps around where they are
// too many to be of use.
func (s *scanner) digits(x uint64) uint64 {
	for ; s.at < len(s.b) && s.b[s.at]-'0' <= 9; s.at++ {
		x = 10*x + uint64(s.b[s.at]-'0')
	}
	return x
}

// maxExactDigits is how many digits a double holds, whatever they are.
const maxExactDigits = 15

// The powers of ten up to maxExactDigits are exact doubles.
var powers = [maxExactDigits + 1]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15}

// float returns the nearest double: both operands are exact, and a division is
// rounded once (Clinger, "How to read floating point numbers accurately", 1990).
func (n *number) float() float64 {
	x := float64(n.digits) / powers[n.decimals]
	if n.negative {
		return math.Copysign(x, -1)
	}
	return x
}

func (n *number) int() int64 {
	if n.negative {
		return -int64(n.digits)
	}
	return int64(n.digits)
}
