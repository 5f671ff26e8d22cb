package dataset

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// header explains the file to those who edit it.
const header = `# What a data set must be like for a model to learn from it. It was inferred
# once, from the first one, and is yours to change; nothing writes it again.
# Remove a key, and it is not checked; remove the file, and it is inferred anew.
#
# rows.min         fewer rows are an error.
# label.values     the labels that there are; others are an error.
# label.rate       {min, max} of the mean label: outside there is a warning.
# label.drift      a warning if the labels differ by more from the last data set
#                  that was accepted, as drift of numbers does.
# columns          in any order; a column that is not there is an error, and one
#                  that is not listed here a warning.
#   type           bool, int, float, string or time.
#   presence       the least share of rows that have a value; below is an error.
#   nonfinite      the largest share of NaN and infinite values; 0 if left out.
#   domain         the texts that there are.
#   outside        {warn, error}: the shares of texts outside the domain beyond
#                  which there is a warning or an error.
#   min, max       numbers outside are an error. Never inferred; a time is in
#                  microseconds since 1970.
#   drift          {warn, error}: how far from the last accepted data set. For
#                  numbers the Jensen-Shannon divergence, for texts and bools the
#                  largest difference of one value's share, both from 0 to 1, and
#                  both beyond what chance explains.
#   leak           an error if this column alone orders that share of all pairs
#                  of rows as their labels do (AUC), or as many the other way.

`

// maxSchema bounds the size of a file, in bytes: 1024 columns, each with a
// domain of 50 texts, are less.
const maxSchema = 8 << 20

// LoadSchema reads a schema from a file. Where the file is absent the error is
// fs.ErrNotExist. Unknown keys and values that make no sense are errors with
// their line.
func LoadSchema(file string) (*Schema, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("dataset: schema: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSchema+1))
	if err != nil {
		return nil, fmt.Errorf("dataset: schema: %w", err)
	}
	if len(data) > maxSchema {
		return nil, fmt.Errorf("dataset: schema %s has more than %d bytes: is it a schema?", file, maxSchema)
	}
	s, line, err := parse(data)
	if err != nil && line > 0 {
		return nil, fmt.Errorf("dataset: schema %s:%d: %w", file, line, err)
	}
	if err != nil {
		return nil, fmt.Errorf("dataset: schema %s: %w", file, err)
	}
	return s, nil
}

// parse returns the schema, or the line of what is wrong with it, 0 if it is
// about no line. The YAML library panics on some texts that are no YAML.
func parse(data []byte) (s *Schema, line int, err error) {
	defer func() {
		if r := recover(); r != nil {
			s, line, err = nil, 0, fmt.Errorf("the YAML library cannot read this file (%v); simplify what was changed last", r)
		}
	}()
	file, err := parser.ParseBytes(data, 0)
	if err == nil && (len(file.Docs) == 0 || file.Docs[0].Body == nil) {
		return nil, 0, errors.New("it is empty; remove it, and the schema is inferred from the next data set")
	}
	if err == nil && len(file.Docs) > 1 {
		return nil, file.Docs[1].Start.Position.Line, errors.New("a second document begins here; a schema is one, so remove it")
	}
	s = new(Schema)
	if err == nil {
		err = yaml.NewDecoder(bytes.NewReader(data), yaml.Strict()).Decode(s)
	}
	if err != nil {
		line, err = plain(err)
		return nil, line, err
	}
	if path, err := s.check(); err != nil {
		return nil, lineOf(file, path), err
	}
	return s, 0, nil
}

// plain returns the line and the message of an error of the YAML library, whose
// text is a picture of the file.
func plain(err error) (line int, message error) {
	var at yaml.Error
	if !errors.As(err, &at) {
		return 0, err
	}
	if at.GetToken() != nil {
		line = at.GetToken().Position.Line
	}
	return line, errors.New(at.GetMessage())
}

// lineOf returns the line of the node at path, or of the nearest one above.
func lineOf(file *ast.File, path string) int {
	for path != "$" {
		if p, err := yaml.PathString(path); err == nil {
			if node, err := p.FilterFile(file); err == nil && node != nil {
				return node.GetToken().Position.Line
			}
		}
		path = path[:strings.LastIndexAny(path, ".[")]
	}
	return 0
}

// Save writes the schema to a file that does not exist yet, whole or not at
// all, and makes its directory. Where the file exists the error is
// fs.ErrExist: people edit it, and their changes are never lost.
func (s *Schema) Save(file string) error {
	text, err := yaml.MarshalWithOptions(s, yaml.IndentSequence(true))
	if err != nil {
		return fmt.Errorf("dataset: schema: %w", err)
	}
	if err := writeNew(file, append([]byte(header), text...)); err != nil {
		return fmt.Errorf("dataset: schema: %w", err)
	}
	return nil
}

// writeNew writes a file beside its place and links it there, which fails if
// there is one.
func writeNew(file string, data []byte) error {
	dir := filepath.Dir(file)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	temp, err := os.CreateTemp(dir, ".schema-*")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	_, err = temp.Write(data)
	err = errors.Join(err, temp.Chmod(0o644), temp.Sync(), temp.Close())
	if err != nil {
		return err
	}
	err = os.Link(temp.Name(), file)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s: %w: remove it if it is to be inferred anew", file, fs.ErrExist)
	}
	return err
}
