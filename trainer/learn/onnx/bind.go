package onnx

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode"

	"github.com/millrace/millrace/trainer/learn"
)

// A FeatureKind is what a feature of a row is.
type FeatureKind uint8

// The kinds of features.
const (
	Number FeatureKind = iota // the next of Row.Dense
	Text                      // the next of Row.Texts
)

func (k FeatureKind) String() string {
	if k == Text {
		return "text"
	}
	return "number"
}

// FeaturesKey is the key of a model's metadata (metadata_props) under which a
// training program may leave the names of its columns, as a JSON list. Bind then
// refuses other names or another order where a tensor takes several features.
const FeaturesKey = "features"

// A feed says where the columns of an input come from: places in Dense, or in Texts
// of an input of strings.
type feed struct{ columns []int }

func counting(n int) []int {
	columns := make([]int, n)
	for i := range columns {
		columns[i] = i
	}
	return columns
}

// Bind says which features the rows have: their names and kinds, in their order.
// Numbers are the row's dense values and texts its texts, each in the order of this
// list. There are two ways to feed a model:
//
//   - by name: every input has one column and the name of a feature, or what skl2onnx
//     makes of it: spend.sum 7d becomes spend_sum_7d. A feature that is no input is
//     not used.
//   - in order: the model has at most one input of numbers, which takes all numbers,
//     and at most one of strings, which takes all texts.
//
// Anything else is an error that lists both sides, and leaves the model unbound.
func (m *Model) Bind(names []string, kinds []FeatureKind) error {
	m.feeds = nil
	if len(names) != len(kinds) {
		return fmt.Errorf("onnx: Bind: %d names and %d kinds", len(names), len(kinds))
	}
	numbers, texts := countKinds(kinds)
	feeds, ok := m.bindNames(names, kinds)
	if !ok {
		if feeds, ok = m.bindOrder(numbers, texts); !ok {
			return m.bindError(names, kinds)
		}
		if err := m.checkOrder(names, kinds); err != nil {
			return err
		}
	}
	if m.open != nil {
		inputs := slices.Clone(m.inputs)
		for i := range inputs {
			inputs[i].Width = len(feeds[i].columns)
		}
		program, err := compile(m.open, inputs)
		if err != nil {
			return fmt.Errorf("onnx: Bind: %w", err)
		}
		m.program = program
	}
	m.feeds = feeds
	return nil
}

// countKinds returns how many features are numbers and how many texts.
func countKinds(kinds []FeatureKind) (numbers, texts int) {
	for _, k := range kinds {
		if k == Text {
			texts++
		} else {
			numbers++
		}
	}
	return numbers, texts
}

// A source is a place in Dense or Texts. Its name is ambiguous if two features have it.
type source struct {
	kind      FeatureKind
	place     int
	ambiguous bool
}

// sourcesOf returns where features are by their names, and by what skl2onnx makes
// of those.
func sourcesOf(names []string, kinds []FeatureKind) (exact, exported map[string]source) {
	exact, exported = make(map[string]source), make(map[string]source)
	var next [2]int
	for i, name := range names {
		s := source{kind: min(kinds[i], Text)}
		s.place = next[s.kind]
		next[s.kind]++
		addSource(exact, name, s)
		addSource(exported, exportedName(name), s)
	}
	return exact, exported
}

func addSource(sources map[string]source, name string, s source) {
	_, s.ambiguous = sources[name]
	sources[name] = s
}

// exportedName is what skl2onnx calls an input of that name: only letters, numbers,
// _ and + stay, and the first is no digit.
func exportedName(name string) string {
	name = strings.Map(func(c rune) rune {
		if c == '_' || c == '+' || unicode.IsLetter(c) || unicode.IsNumber(c) {
			return c
		}
		return '_'
	}, name)
	if name != "" && name[0] >= '0' && name[0] <= '9' {
		return "_" + name
	}
	return name
}

// bindNames feeds each input with the feature of its name.
func (m *Model) bindNames(names []string, kinds []FeatureKind) ([]feed, bool) {
	exact, exported := sourcesOf(names, kinds)
	var feeds []feed
	for _, in := range m.inputs {
		s, ok := exact[in.Name]
		if !ok {
			s, ok = exported[in.Name]
		}
		if !ok || s.ambiguous || in.Width > 1 || (s.kind == Text) != (in.Kind == String) {
			return nil, false
		}
		feeds = append(feeds, feed{[]int{s.place}})
	}
	return feeds, true
}

// bindOrder feeds one input with all numbers and one with all texts.
func (m *Model) bindOrder(numbers, texts int) ([]feed, bool) {
	left := map[bool]int{false: numbers, true: texts}
	var feeds []feed
	for _, in := range m.inputs {
		count := left[in.Kind == String]
		if count == 0 || in.Width >= 0 && in.Width != count {
			return nil, false
		}
		feeds = append(feeds, feed{counting(count)})
		left[in.Kind == String] = 0
	}
	return feeds, left[false] == 0 && left[true] == 0
}

// checkOrder compares the features with those that the file says it was trained on.
func (m *Model) checkOrder(names []string, kinds []FeatureKind) error {
	text, ok := m.metadata[FeaturesKey]
	if !ok {
		return nil
	}
	var trained []string
	if err := json.Unmarshal([]byte(text), &trained); err != nil {
		return fmt.Errorf("onnx: Bind: the metadata %q of the file are no JSON list of names: %w", FeaturesKey, err)
	}
	ordered := slices.Clone(names)
	if slices.Equal(trained, ordered) {
		return nil
	}
	// A model of two tensors may list its numbers before its texts.
	ordered = ordered[:0]
	for _, kind := range []FeatureKind{Number, Text} {
		for i, name := range names {
			if kinds[i] == kind {
				ordered = append(ordered, name)
			}
		}
	}
	if slices.Equal(trained, ordered) {
		return nil
	}
	return fmt.Errorf("onnx: Bind: the model was trained on the features %s, and the rows have %s: train with the columns in this order",
		strings.Join(trained, ", "), strings.Join(names, ", "))
}

func (m *Model) bindError(names []string, kinds []FeatureKind) error {
	var inputs, features []string
	for _, in := range m.inputs {
		width := fmt.Sprint(in.Width)
		if in.Width < 0 {
			width = "n"
		}
		inputs = append(inputs, fmt.Sprintf("%s %s[N, %s]", in.Name, in.Kind, width))
	}
	for i, name := range names {
		features = append(features, fmt.Sprintf("%s %v", name, kinds[i]))
	}
	return fmt.Errorf("onnx: Bind: the model takes %s, which are not the features %s: export with one float tensor of all numbers in this order, or with one input a feature by its name",
		strings.Join(inputs, ", "), strings.Join(features, ", "))
}

// Predict returns the probability of class 1, or the number that a regression
// gives. Missing numbers are NaN and missing texts ""; a whole number that is
// missing reaches the model as the least int64, as a cast of NaN does. The score is
// NaN where onnxruntime gives none: an unknown category that the encoder does not
// allow, or a text that is no number.
//
// A classifier whose second output is no probability, as of a support vector
// machine, gives that number: check that scores are between 0 and 1.
//
// Predict panics if the model is not bound or if the row has fewer values than it
// was bound to.
func (m *Model) Predict(r learn.Row) float64 {
	if m.feeds == nil || m.program == nil {
		panic("onnx: Predict before Bind: the model's inputs are not known to be the row's features")
	}
	p := m.program
	st := p.states.Get().(*state)
	for i, in := range p.inputs {
		m.feeds[i].fill(&st.slots[in.slot], in.typ, r)
	}
	p.run(st)
	score := math.NaN()
	if at := p.output; !st.failed {
		if t := &st.slots[at.value.slot]; at.value.typ == float64Type {
			score = t.d[at.element]
		} else {
			score = float64(t.f[at.element])
		}
	}
	clear(st.text) // the row's texts are not kept
	p.states.Put(st)
	return score
}

// fill writes the columns of an input.
func (f feed) fill(t *tensor, typ dtype, r learn.Row) {
	for i, place := range f.columns {
		if typ == stringType {
			t.s[i] = r.Texts[place]
		} else {
			t.setNumber(typ, i, r.Dense[place])
		}
	}
}

// setNumber writes a number of a row.
func (t *tensor) setNumber(typ dtype, i int, v float64) {
	switch typ {
	case float32Type:
		t.f[i] = float32(v)
	case float64Type:
		t.d[i] = v
	case int64Type:
		t.i[i] = toInt(v)
	case int32Type:
		t.i[i] = toInt32(v)
	}
}
