package project

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Limits of the text. The YAML parser takes time that grows with the square of
// the tokens, of nested brackets and of blank lines in a block of text, so all
// three are bounded before it sees them: a file that is made to be slow takes
// about a second. The largest project that the other limits allow is far below.
const (
	maxFileBytes  = 1 << 20
	maxTokens     = 40_000
	maxBrackets   = 8
	maxBlankLines = 16 // in a row
)

// A node is a part of the file: what is left of YAML when anchors, tags,
// directives and keys that are not plain text are refused.
type node struct {
	line    int
	kind    nodeKind
	text    string // scalars only
	items   []*node
	entries []entry
}

type nodeKind uint8

const (
	empty nodeKind = iota
	text
	number
	boolean
	list
	mapping
)

var nodeKinds = [...]string{"empty", "a text", "a number", "true or false", "a list", "a mapping"}

func (k nodeKind) String() string { return nodeKinds[k] }

type entry struct {
	key   string
	line  int
	value *node
}

// lineOf returns the line of the key or list item at path, or of the deepest
// part of path that is in the file.
func (n *node) lineOf(path []string) int {
	line := n.line
	for _, key := range path {
		next, at := n.child(key)
		if next == nil {
			break
		}
		n, line = next, at
	}
	return line
}

func (n *node) child(key string) (*node, int) {
	for _, e := range n.entries {
		if e.key == key {
			return e.value, e.line
		}
	}
	for i, item := range n.items {
		if key == index(i) {
			return item, item.line
		}
	}
	return nil, 0
}

func (n *node) rename(from, to string) {
	for i := range n.entries {
		if n.entries[i].key == from {
			n.entries[i].key = to
		}
	}
}

// parseYAML returns the root mapping of the file, or the faults that keep it
// from being YAML of the kind that a project is written in.
func parseYAML(data []byte) (*node, []Fault) {
	if faults := checkText(data); len(faults) > 0 {
		return nil, faults
	}
	// The lexer counts a line that ends in \r\n within quotes as two.
	data = bytes.ReplaceAll(bytes.TrimPrefix(data, []byte("\ufeff")), []byte("\r\n"), []byte("\n"))
	tokens := lexer.Tokenize(string(data))
	if faults := checkTokens(tokens); len(faults) > 0 {
		return nil, faults
	}
	file, err := parse(tokens)
	if err != nil {
		return nil, []Fault{syntaxFault(err)}
	}
	return root(file)
}

// parse turns a panic of the YAML library into an error: a file with a fault
// must never look like a fault of millrace.
func parse(tokens token.Tokens) (file *ast.File, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the YAML library cannot read this file (%v); simplify what was changed last", r)
		}
	}()
	// Duplicate keys are found later, all of them.
	return parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
}

func root(file *ast.File) (*node, []Fault) {
	var body ast.Node
	for _, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		if body != nil {
			return nil, []Fault{{Line: doc.Body.GetToken().Position.Line, Problem: "a second YAML document starts here; a project is one document"}}
		}
		body = doc.Body
	}
	if body == nil {
		return nil, []Fault{{Line: 1, Problem: `the file is empty; "millrace init DIR" writes an example`}}
	}
	n := convert(body)
	if n.kind != mapping {
		return nil, []Fault{{Line: n.line, Problem: fmt.Sprintf("the file is %v; write keys and values, as project: shop", n.kind)}}
	}
	n.line = 1
	return n, nil
}

// convert copies what we use of the library's tree.
func convert(from ast.Node) *node {
	n := &node{line: from.GetToken().Position.Line, text: from.GetToken().Value}
	switch from := from.(type) {
	case *ast.MappingNode:
		if s, ok := address(from); ok {
			n.kind, n.text = text, s
			return n
		}
		n.kind = mapping
		for _, v := range from.Values {
			n.entries = append(n.entries, convertEntry(v))
		}
	case *ast.MappingValueNode:
		n.kind = mapping
		n.entries = []entry{convertEntry(from)}
	case *ast.SequenceNode:
		n.kind = list
		for _, v := range from.Values {
			n.items = append(n.items, convert(v))
		}
	case *ast.LiteralNode:
		n.kind, n.text = text, strings.TrimSpace(from.Value.Value)
	case *ast.StringNode:
		n.kind, n.text = text, from.Value
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		n.kind = number
	case *ast.BoolNode:
		n.kind = boolean
	}
	return n
}

// address puts host:port together again, which the library takes apart in a
// list within braces, as in kafka: {addresses: [localhost:9092]}. In YAML a colon
// ends a key only where a space follows.
func address(m *ast.MappingNode) (string, bool) {
	if m.IsFlowStyle || len(m.Values) != 1 {
		return "", false
	}
	key, colon, value := m.Values[0].Key.GetToken(), m.Values[0].Start, m.Values[0].Value.GetToken()
	_, scalar := m.Values[0].Value.(ast.ScalarNode)
	if !scalar || value.Position.Line != colon.Position.Line || value.Position.Column != colon.Position.Column+1 {
		return "", false
	}
	return key.Value + ":" + value.Value, true
}

func convertEntry(v *ast.MappingValueNode) entry {
	key := v.Key.GetToken()
	return entry{key: key.Value, line: key.Position.Line, value: convert(v.Value)}
}

// checkText refuses what no editor shows and what makes the lexer slow.
func checkText(data []byte) []Fault {
	if len(data) > maxFileBytes {
		return []Fault{{Problem: fmt.Sprintf("the file has more than %d bytes; a project file has a few thousand", maxFileBytes)}}
	}
	line, blank := 0, 0
	for text := range bytes.Lines(data) {
		line++
		text = bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\r\n")), []byte("\n"))
		if !utf8.Valid(text) {
			return []Fault{{Line: line, Problem: "not UTF-8; save the file as UTF-8"}}
		}
		if i := bytes.IndexFunc(text, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }); i >= 0 {
			return []Fault{{Line: line, Problem: fmt.Sprintf("control character %#02x; remove it", text[i])}}
		}
		if blank++; len(bytes.TrimSpace(text)) > 0 {
			blank = 0
		}
		if blank > maxBlankLines {
			return []Fault{{Line: line, Problem: fmt.Sprintf("more than %d blank lines in a row; remove some", maxBlankLines)}}
		}
	}
	return nil
}

// checkTokens refuses the parts of YAML that a project has no use for. Without
// anchors and aliases a small file cannot stand for a large one.
func checkTokens(tokens token.Tokens) []Fault {
	var faults []Fault
	count, brackets := 0, 0
	for i, t := range tokens {
		if t.Type == token.CommentType {
			continue
		}
		if count++; count > maxTokens {
			return append(faults, Fault{Line: t.Position.Line, Problem: fmt.Sprintf("more than %d words and signs; split the project", maxTokens)})
		}
		problem := refused[t.Type]
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			if brackets++; brackets > maxBrackets {
				return append(faults, Fault{Line: t.Position.Line, Problem: fmt.Sprintf("more than %d brackets inside one another", maxBrackets)})
			}
		case token.SequenceEndType, token.MappingEndType:
			brackets--
		case token.SequenceEntryType, token.MappingValueType:
			if i > 0 && tokens[i-1].Type == t.Type && tokens[i-1].Position.Line == t.Position.Line {
				problem = fmt.Sprintf("%q twice in a row; put the text in quotes if it is meant as text", t.Value)
			}
		}
		fault := Fault{Line: t.Position.Line, Problem: problem}
		if problem != "" && !slices.Contains(faults[max(0, len(faults)-1):], fault) { // once a line will do
			faults = append(faults, fault)
		}
	}
	return faults
}

var refused = map[token.Type]string{
	token.AnchorType:     `"&" starts a YAML anchor, which a project cannot have; write the value out, or put text that starts with & in quotes`,
	token.AliasType:      `"*" starts a YAML alias, which a project cannot have; write "*" in quotes if it means every event, as count: "*"`,
	token.TagType:        `"!" starts a YAML tag, which a project cannot have; put text that starts with ! in quotes, as where: "!returned"`,
	token.MergeKeyType:   `"<<" is YAML's merge key, which a project cannot have; write the keys out`,
	token.MappingKeyType: `"?" starts a complex YAML key, which a project cannot have; put text that starts with ? in quotes`,
	token.DirectiveType:  `"%" starts a YAML directive, which a project cannot have; put text that starts with % in quotes`,
}

// syntaxHints say what to do about the library's commonest messages.
var syntaxHints = []struct{ part, hint string }{
	{"cannot start any token", "; indent with spaces, not with tabs"},
	{"mapping value is not allowed", `; put text that contains ": " in quotes, and indent keys of one mapping alike`},
	{"non-map value is specified", "; indent keys of one mapping alike and put a : after each"},
	{"end character of", "; close the quotes"},
	{"is a reserved character", "; put the text in quotes"},
	{"must be specified", "; close the bracket"},
	{"not found", "; close the bracket"},
	{"could not find flow mapping end token", "; close the bracket"},
	{"unexpected key name", "; write key: value, one to a line, and put text with signs in quotes"},
}

func syntaxFault(err error) Fault {
	var at yaml.Error
	if !errors.As(err, &at) {
		return Fault{Problem: err.Error()}
	}
	message := strings.ReplaceAll(at.GetMessage(), "\t", `\t`)
	for _, h := range syntaxHints {
		if strings.Contains(message, h.part) {
			message += h.hint
			break
		}
	}
	f := Fault{Problem: "not YAML: " + message}
	if t := at.GetToken(); t != nil && t.Position != nil {
		f.Line = t.Position.Line
	}
	return f
}
