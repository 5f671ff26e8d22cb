package dash

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// maxLeaves is how many values of a document are shown.
const maxLeaves = 100

// A leaf is one value of a JSON document.
type leaf struct {
	Path  string // with spaces for underscores, as people write
	Value string
}

// leaves returns the values of a JSON document in its order, with their paths.
func leaves(doc json.RawMessage) []leaf {
	if len(doc) == 0 {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber() // offsets and seeds as they are
	var found []leaf
	if err := walk(d, nil, &found); err != nil {
		return []leaf{{"document", short(string(doc), 200)}}
	}
	return found
}

// walk reads one value, and what is in it.
func walk(d *json.Decoder, path []string, found *[]leaf) error {
	token, err := d.Token()
	if err != nil {
		return err
	}
	switch token {
	case json.Delim('{'):
		for d.More() {
			name, err := d.Token()
			if err == nil {
				err = walk(d, append(path, fmt.Sprint(name)), found)
			}
			if err != nil {
				return err
			}
		}
		_, err = d.Token()
		return err
	case json.Delim('['):
		for i := 0; d.More(); i++ {
			if err := walk(d, append(path, fmt.Sprint(i+1)), found); err != nil {
				return err
			}
		}
		_, err = d.Token()
		return err
	}
	if len(*found) < maxLeaves {
		*found = append(*found, leaf{strings.ReplaceAll(strings.Join(path, " "), "_", " "), leafText(token)})
	}
	return nil
}

func leafText(token json.Token) string {
	switch x := token.(type) {
	case nil:
		return none
	case json.Number:
		if n, err := x.Int64(); err == nil {
			return count(n)
		}
		if f, err := x.Float64(); err == nil {
			return strconv.FormatFloat(f, 'g', 5, 64)
		}
	}
	return short(fmt.Sprint(token), 200)
}
