package project

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A located fault is one of the text, where the line is known.
type located struct {
	line int
	path []string
	text string
}

// A decoder collects the faults of a file.
type decoder struct {
	faults []located
}

// A cursor is a place in the file that is being read into a Go value.
type cursor struct {
	*decoder
	node *node
	path []string
}

func (c cursor) fail(format string, args ...any) {
	c.faults = append(c.faults, located{c.node.line, c.path, fmt.Sprintf(format, args...)})
}

// at returns the cursor of an entry of c's mapping.
func (c cursor) at(key string, value *node) cursor {
	return cursor{c.decoder, value, append(slices.Clip(c.path), key)}
}

// keys are the keys of a mapping and what reads each.
type keys map[string]func(cursor)

// absent says, of keys that belong to no mapping here, what to do instead.
type absent map[string]string

// mapping reads a mapping whose keys are known. A key that is misspelt is
// reported and then read as what it was meant to be, so that one slip does not
// hide other faults or make new ones.
func (c cursor) mapping(known keys, elsewhere absent) {
	names := slices.Sorted(maps.Keys(known))
	for e, v := range c.each() {
		if read, ok := known[e.key]; ok {
			read(v)
			continue
		}
		key := cursor{c.decoder, &node{line: e.line}, v.path}
		if hint, ok := elsewhere[e.key]; ok {
			key.fail("%s", hint)
			continue
		}
		meant := closest(e.key, names)
		if meant == "" {
			key.fail("unknown key; there are %s", strings.Join(names, ", "))
			continue
		}
		key.fail("unknown key; did you mean %s?", meant)
		if next, _ := c.node.child(meant); next == nil {
			c.node.rename(e.key, meant) // where faults found later look for their line
			known[meant](c.at(meant, v.node))
		}
	}
}

// each yields the entries of a mapping in the order of the file. It reports
// what is not a mapping, and keys that come again, which it leaves out.
func (c cursor) each() func(yield func(entry, cursor) bool) {
	return func(yield func(entry, cursor) bool) {
		if c.node.kind != mapping {
			c.fail("is %v; write a mapping of keys to values, or remove the key", c.node.kind)
			return
		}
		first := make(map[string]int, len(c.node.entries))
		for _, e := range c.node.entries {
			v := c.at(e.key, e.value)
			if line, again := first[e.key]; again {
				cursor{c.decoder, &node{line: e.line}, v.path}.fail("the key is on line %d already; remove one", line)
				continue
			}
			first[e.key] = e.line
			if !yield(e, v) {
				return
			}
		}
	}
}

// scalar returns the text of a text, a number, true or false.
func (c cursor) scalar(want string) (string, bool) {
	switch c.node.kind {
	case text, number, boolean:
		return c.node.text, true
	case empty:
		c.fail("has no value; write %s, or remove the key", want)
	default:
		c.fail("is %v; write %s", c.node.kind, want)
	}
	return "", false
}

// name reads a text that is not a number, true or false by mistake.
func (c cursor) name(want string) string {
	s, ok := c.scalar(want)
	if ok && c.node.kind != text {
		c.fail("%s is %v; write %s", quote(s), c.node.kind, want)
		return ""
	}
	if ok && s == "" {
		c.fail("is an empty text; write %s, or remove the key", want)
	}
	return s
}

// names reads a list of texts.
func (c cursor) names(want string) []string {
	if c.node.kind != list {
		c.fail("is %v; write a list of %s in brackets, as [a, b]", c.node.kind, want)
		return nil
	}
	var all []string
	for i, item := range c.node.items {
		all = append(all, c.at(index(i), item).name("a text"))
	}
	return all
}

// bool reads true or false.
func (c cursor) bool() bool {
	s, ok := c.scalar("true or false")
	if ok && c.node.kind != boolean {
		c.fail("%s is %v; write true or false", quote(s), c.node.kind)
	}
	return s == "true"
}

// positive reads a whole number from 1. A number of 0 would read as the
// default, which is not what was written.
func (c cursor) positive() int {
	s, ok := c.scalar("a whole number")
	if !ok {
		return 0
	}
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n < 1 || c.node.kind != number {
		c.fail("%s is not a whole number from 1; write one without quotes", quote(s))
		return 0
	}
	return int(n)
}

// duration reads a positive length of time.
func (c cursor) duration() time.Duration {
	s, ok := c.scalar("a duration, as 30d")
	if !ok {
		return 0
	}
	if c.node.kind == number {
		c.fail("%s has no unit; %s", s, durationHelp)
		return 0
	}
	d, err := ParseDuration(s)
	if err != nil {
		c.fail("%v", err)
	}
	return d
}

// size reads a number of bytes.
func (c cursor) size() int64 {
	s, ok := c.scalar("a size, as 1MiB")
	if !ok {
		return 0
	}
	n, err := ParseSize(s)
	if err != nil {
		c.fail("%v", err)
	}
	return n
}

// one reads a text that is one of a few.
func one[T any](c cursor, choices map[string]T) (choice T) {
	names := slices.Sorted(maps.Keys(choices))
	s, ok := c.scalar(strings.Join(names, " or "))
	if !ok {
		return choice
	}
	choice, ok = choices[s]
	if !ok {
		c.fail("%s is not known; write %s", quote(s), strings.Join(names, " or "))
	}
	return choice
}
