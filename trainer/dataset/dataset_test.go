package dataset_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/features/profile"
	. "github.com/millrace/millrace/trainer/dataset"
)

// shop is a data set of a column of each kind, whose values say nothing of the
// label, which is 1 in about a third of the rows.
func shop(seed uint64, n int) *set {
	r := rand.New(rand.NewPCG(seed, 1))
	s := &set{columns: []profile.Column{
		{Name: "price", Kind: expr.Float}, {Name: "n", Kind: expr.Int}, {Name: "plan", Kind: expr.String},
		{Name: "paid", Kind: expr.Bool}, {Name: "at", Kind: expr.Time}, {Name: "id", Kind: expr.String},
		{Name: "rebate", Kind: expr.Float},
	}}
	for i := range n {
		rebate := features.Value{}
		if r.IntN(10) < 3 {
			rebate = expr.FloatValue(math.Exp(r.NormFloat64()))
		}
		s.rows = append(s.rows, []features.Value{
			expr.FloatValue(50 + 5*r.NormFloat64()), expr.IntValue(r.Int64N(10)),
			expr.StringValue([]string{"free", "pro", "team"}[r.IntN(3)]), expr.BoolValue(r.IntN(2) == 0),
			expr.TimeValue(1e15*int64(seed) + int64(i)*1e6), expr.StringValue(strings.Repeat("u", 1+r.IntN(5)) + string(rune('a'+i%26)) + expr.IntValue(int64(i)).Text()),
			rebate,
		})
		label := 0.0
		if r.IntN(3) == 0 {
			label = 1
		}
		s.labels = append(s.labels, label)
	}
	return s
}

// place returns the index of a column.
func (s *set) place(name string) int {
	return slices.IndexFunc(s.columns, func(c profile.Column) bool { return c.Name == name })
}

// with returns a copy of s with other values in a column, some by the row.
func (s *set) with(name string, value func(row int, old features.Value) features.Value) *set {
	at, row := s.place(name), -1
	return s.changed(func(values []features.Value, _ float64) {
		row++
		values[at] = value(row, values[at])
	})
}

// labelled returns s with other labels.
func (s *set) labelled(label func(row int, old float64) float64) *set {
	out := &set{columns: s.columns, rows: s.rows}
	for i, old := range s.labels {
		out.labels = append(out.labels, label(i, old))
	}
	return out
}

func TestDataSetsOfOneKindHaveNoAnomalies(t *testing.T) {
	for _, n := range []int{50, 100, 1000, 12_000} {
		before := shop(1, n).summary()
		schema := Infer(before)
		for seed := range uint64(5) {
			if found := Validate(schema, shop(2+seed, n).summary(), before.Profile); len(found) > 0 {
				t.Errorf("%d rows, seed %d: %v", n, 2+seed, found)
			}
		}
	}
}

// TestAnomalies makes each kind of anomaly alone. Want is what String begins with.
func TestAnomalies(t *testing.T) {
	const n = 2000
	good := shop(1, n)
	null := func(int, features.Value) features.Value { return features.Value{} }
	every := func(k int, v features.Value) func(int, features.Value) features.Value {
		return func(row int, old features.Value) features.Value {
			if row%k == 0 {
				return v
			}
			return old
		}
	}
	for want, c := range map[string]struct {
		now  *set
		edit func(*Schema)
	}{
		"error: empty: it has no rows":                                                            {now: good.first(0)},
		"error: too_few_rows: 999 rows, and the schema asks for 1000":                             {now: shop(2, 999)},
		"error: gone: missing_column":                                                             {edit: func(s *Schema) { s.Columns = append(s.Columns, Column{Name: "gone", Type: "int"}) }},
		"warning: paid: new_column":                                                               {edit: func(s *Schema) { s.Columns = slices.Delete(s.Columns, 3, 4) }},
		"error: n: type: it is int, and the schema says time":                                     {edit: func(s *Schema) { s.Columns[1].Type = "time" }},
		"error: n: type: 2 of 2000 values are not int":                                            {now: good.with("n", every(1000, expr.FloatValue(3))), edit: func(s *Schema) { s.Columns[1].Presence = 0.5 }},
		"error: price: presence: 99.95 % of the rows have a value, and the schema asks for 100 %": {now: good.with("price", every(n, features.Value{}))},
		"error: price: nonfinite: 2 of 2000 values are NaN or infinite":                           {now: good.with("price", every(1000, expr.FloatValue(math.Inf(-1))))},
		"error: n: range: its largest value is 9, and the schema's max 8":                         {edit: func(s *Schema) { s.Columns[1].Max = new(8.0) }},
		"error: n: range: its least value is 0, and the schema's min 0.5":                         {edit: func(s *Schema) { s.Columns[1].Min = new(0.5) }},
		`warning: plan: domain: 0.5 % of the values are not in the schema's domain, as "gold"`:    {now: good.with("plan", every(200, expr.StringValue("gold")))},
		`error: plan: domain: 100 % of the values are not in the schema's domain, as "`:           {edit: func(s *Schema) { s.Columns[2].Domain = []string{"gold"} }},
		"warning: n: constant: all 2000 values are equal":                                         {now: good.with("n", every(1, expr.IntValue(4))), edit: func(s *Schema) { s.Columns[1].Drift = nil }},
		"warning: rebate: constant: all its values are missing":                                   {now: good.with("rebate", null), edit: func(s *Schema) { s.Columns[6].Presence, s.Columns[6].Drift = 0, nil }},
		"warning: price: drift: a Jensen-Shannon divergence of 0.":                                {now: good.with("price", func(_ int, v features.Value) features.Value { return expr.FloatValue(v.Float() + 6) })},
		"error: price: drift: a Jensen-Shannon divergence of 0.9":                                 {now: good.with("price", func(_ int, v features.Value) features.Value { return expr.FloatValue(v.Float() + 25) })},
		`warning: plan: drift: the share of "pro" differs by 0.`:                                  {now: good.with("plan", every(2, expr.StringValue("pro")))},
		`error: plan: drift: the share of "team" differs by 0.6`:                                  {now: good.with("plan", every(1, expr.StringValue("team"))), edit: func(s *Schema) { s.Columns[2].Outside = nil }},
		`error: paid: drift: the share of "true" differs by 0.`:                                   {now: good.with("paid", every(1, expr.BoolValue(true))), edit: func(s *Schema) { s.Columns[3].Drift.Error = 0.4 }},
		"error: label: label_one_class: all 2000 labels are 1":                                    {now: good.labelled(func(int, float64) float64 { return 1 }), edit: func(s *Schema) { s.Label.Drift = nil }},
		"error: label: domain: there is a label ":                                                 {now: good.labelled(func(row int, old float64) float64 { return old + 2*float64(row/(n-1)) })},
		"error: label: domain: there are labels between 0.5":                                      {now: good.labelled(func(row int, old float64) float64 { return max(old, 0.5*float64(1-min(row, 1))) })},
		"error: label: nonfinite: 1 of 2000":                                                      {now: good.labelled(func(row int, old float64) float64 { return old / float64(min(row, 1)) })},
		"error: label: missing_column":                                                            {now: good.labelled(func(int, float64) float64 { return math.NaN() })},
		"warning: label: label_drift: its mean is 0.3":                                            {edit: func(s *Schema) { s.Label.Rate = &Between{Max: new(0.2)} }},
		"warning: label: label_drift: a Jensen-Shannon divergence of 0.":                          {now: good.labelled(func(row int, old float64) float64 { return old * float64(max(row%100-98, 0)) })},
	} {
		before := good.summary()
		schema := Infer(before)
		now := good
		if c.now != nil {
			now = c.now
		}
		if c.edit != nil {
			c.edit(schema)
		}
		found := Validate(schema, now.summary(), before.Profile)
		if i := slices.IndexFunc(found, func(a Anomaly) bool { return a.Kind == Constant }); i >= 0 && !strings.Contains(want, Constant) {
			found = slices.Delete(found, i, i+1) // all values are one, for another reason
		}
		if len(found) != 1 || !strings.HasPrefix(found[0].String(), want) || Stops(found) != strings.HasPrefix(want, Error) {
			t.Errorf("found %q, stops %t\nwant  %s", found, Stops(found), want)
		}
	}
}

func TestErrorsComeFirst(t *testing.T) {
	before := shop(1, 1000).summary()
	schema := Infer(before)
	schema.Columns = append(schema.Columns[1:], Column{Name: "gone", Type: "int"})
	found := Validate(schema, shop(2, 1000).summary(), before.Profile)
	if len(found) != 2 || found[0].Level != Error || found[1].Level != Warning {
		t.Errorf("found %v, want an error and then a warning", found)
	}
	text, err := json.Marshal(found[0])
	if want := `{"column":"gone","kind":"missing_column","level":"error","detail":"the schema has it, and the data set does not"}`; string(text) != want || err != nil {
		t.Errorf("got %s, %v, want %s", text, err, want)
	}
}

// TestNothingLeaksByChance has columns that tell nothing: texts of which no two
// are equal, and few rows of one class.
func TestNothingLeaksByChance(t *testing.T) {
	for seed := range uint64(20) {
		few := shop(seed, 400).labelled(func(row int, _ float64) float64 { return float64(max(row%200-198, 0)) })
		for _, s := range []*set{few, shop(seed, 60), shop(seed, 400)} {
			now := s.summary()
			if found := Validate(Infer(now), now, nil); len(found) > 0 {
				t.Errorf("seed %d: %v", seed, found)
			}
		}
	}
}

// TestLeakOfALabelThatIsANumber is a warning: tomorrow's price is like today's.
func TestLeakOfALabelThatIsANumber(t *testing.T) {
	s := shop(1, 1000)
	s = s.labelled(func(row int, _ float64) float64 { return s.rows[row][0].Float() })
	now := s.summary()
	found := Validate(Infer(now), now, nil)
	if len(found) != 1 || found[0].Kind != Leak || found[0].Level != Warning || found[0].Column != "price" {
		t.Errorf("found %v", found)
	}
}

// TestLeakIsFoundInASample has more rows than the sample, and a leak that fewer
// than all of them show.
func TestLeakIsFoundInASample(t *testing.T) {
	s := shop(1, 20_000)
	leaking := s.with("n", func(row int, _ features.Value) features.Value {
		return expr.IntValue(int64(s.labels[row]))
	})
	now := leaking.summary()
	if found := Validate(Infer(now), now, nil); len(found) != 1 || found[0].Kind != Leak || found[0].Column != "n" {
		t.Errorf("found %v", found)
	}
	half := s.with("n", func(row int, old features.Value) features.Value {
		if row < 10_000 {
			return expr.IntValue(int64(s.labels[row]))
		}
		return old
	}).summary()
	if found := Validate(Infer(half), half, nil); len(found) > 0 {
		t.Errorf("a column that leaks in one half of the rows tells the label of all: %v", found)
	}
}

// TestTheSameRowsHaveTheSameAnomalies holds for what is sampled, too.
func TestTheSameRowsHaveTheSameAnomalies(t *testing.T) {
	find := func() []Anomaly {
		s := shop(1, 8000)
		r := rand.New(rand.NewPCG(1, 9))
		now := s.with("n", func(row int, _ features.Value) features.Value {
			return expr.IntValue(int64(s.labels[row])*10 + r.Int64N(11))
		}).summary()
		return Validate(Infer(shop(1, 8000).summary()), now, nil)
	}
	first := find()
	if len(first) == 0 {
		t.Error("found nothing")
	}
	for range 3 {
		if again := find(); !reflect.DeepEqual(again, first) {
			t.Errorf("found %v, and before %v", again, first)
		}
	}
}

func TestSchemaFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "schemas", "model.yaml")
	if _, err := LoadSchema(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want fs.ErrNotExist", err)
	}
	s := shop(1, 1000)
	s.columns[0].Name = `a.b: "#'é`
	want := Infer(s.summary())
	want.Columns[1].Min, want.Columns[1].Max = new(-1e300), new(0.1)
	want.Label.Rate = &Between{Min: new(0.25)}
	if err := want.Save(file); err != nil {
		t.Fatal(err)
	}
	got, err := LoadSchema(file)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("read back as %+v, %v\nwant %+v", got, err, want)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keysOf(reflect.TypeFor[Schema](), "") {
		if i := strings.LastIndexByte(key, '.'); !strings.Contains(string(text), "\n#  "+" "+key[i+1:]) && !strings.Contains(string(text), "\n# "+key) && !strings.Contains(string(text), key[i+1:]+", ") && !strings.Contains(string(text), ", "+key[i+1:]) {
			t.Errorf("the header does not explain %s", key)
		}
	}
	if err := Infer(shop(2, 10).summary()).Save(file); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got %v, want fs.ErrExist", err)
	}
	if again, err := os.ReadFile(file); err != nil || string(again) != string(text) {
		t.Errorf("the file was changed, %v", err)
	}
}

// keysOf returns the keys of a struct that have a place in the header: not its
// inner ones, as warn and min of a flow mapping.
func keysOf(t reflect.Type, path string) (keys []string) {
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		inner := f.Type
		for inner.Kind() == reflect.Pointer || inner.Kind() == reflect.Slice {
			inner = inner.Elem()
		}
		if inner.Kind() == reflect.Struct && path == "" {
			keys = append(keys, keysOf(inner, name+".")...)
		} else if path+name != "columns.name" {
			keys = append(keys, path+name)
		}
	}
	return keys
}

// TestOneSaveWins lets many save at once: one file is there, whole, and nothing
// is left beside it.
func TestOneSaveWins(t *testing.T) {
	dir := t.TempDir()
	var saved atomic.Int64
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			if Infer(shop(uint64(i), 100).summary()).Save(filepath.Join(dir, "m.yaml")) == nil {
				saved.Add(1)
			}
		})
	}
	all.Wait()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := LoadSchema(filepath.Join(dir, "m.yaml")); err != nil || saved.Load() != 1 || len(files) != 1 {
		t.Errorf("%d saved, files %v, %v", saved.Load(), files, err)
	}
}

// TestBadSchemas has the texts of schemas, and what their errors say.
func TestBadSchemas(t *testing.T) {
	column := func(lines string) string {
		return "rows: {min: 1}\ncolumns:\n  - name: a\n    type: float\n    " + lines + "\n"
	}
	for text, want := range map[string]string{
		"":                                       "m.yaml: it is empty",
		"# nothing\n":                            "m.yaml: it is empty",
		"rows: {min: 1}\ncolums: []":             `m.yaml:2: unknown field "colums"`,
		"rows: {min: 1}\n---\nrows: {min: 2}":    "m.yaml:2: a second document begins here",
		"rows: [":                                "m.yaml:1:",
		"rows: {min: x}":                         "m.yaml:1: ",
		"rows:\n  min: -1":                       "m.yaml:2: rows.min is -1",
		"- a":                                    "m.yaml:1: ",
		"label:\n  drift: 2":                     "m.yaml:2: drift is 2",
		"label:\n  rate: {min: 0.5, max: 0.1}":   "m.yaml:2: rate has a min above",
		column("presence: 1.5"):                  `m.yaml:5: column "a": presence is 1.5`,
		column("presence: .nan"):                 `m.yaml:5: column "a": presence is NaN`,
		column("presnce: 1"):                     `m.yaml:5: unknown field "presnce"`,
		column("presence: 1\n    presence: 1"):   "m.yaml:6: ",
		column("nonfinite: -1"):                  `m.yaml:5: column "a": nonfinite is -1`,
		column("domain: [x]"):                    `m.yaml:5: column "a": a domain is of texts`,
		column("outside: {warn: 0, error: 1}"):   `m.yaml:5: column "a": outside needs a domain`,
		column("min: 2\n    max: 1"):             `m.yaml:5: column "a": min is above max`,
		column("max: .inf"):                      `m.yaml:5: column "a": min is above max, or one is no number`,
		column("drift: {warn: 0.5, error: 0.1}"): `m.yaml:5: column "a": drift is {warn: 0.5, error: 0.1}`,
		column("leak: 0.5"):                      `m.yaml:5: column "a": leak is 0.5`,
		column("presence: 1\n  - name: a\n    type: int"):                                                       `m.yaml:6: column "a": it is there twice`,
		column("presence: 1\n  - name: b\n    type: text"):                                                      `m.yaml:7: column "b": type is "text"`,
		column("presence: 1\n  - name: b"):                                                                      `m.yaml:6: column "b": type is ""`,
		column("presence: 1\n  - type: int"):                                                                    `m.yaml:6: column "": give it a name`,
		column("presence: 1\n  - name: b\n    type: string\n    min: 1"):                                        `m.yaml:8: column "b": min and max are of numbers`,
		column("presence: 1\n  - name: b\n    type: string\n    max: 1"):                                        `m.yaml:8: column "b": min and max are of numbers`,
		column("presence: 1\n  - name: b\n    type: string\n    domain: [x]\n    outside: {warn: 2, error: 3}"): `m.yaml:9: column "b": outside is`,
	} {
		file := filepath.Join(t.TempDir(), "m.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := LoadSchema(file)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q:\n%v, want %s", text, err, want)
		}
	}
}

func FuzzLoadSchema(f *testing.F) {
	f.Add([]byte("rows: {min: 1}\ncolumns:\n  - {name: a, type: int, drift: {warn: 0.1, error: 1}}\n"))
	f.Add([]byte("label: {values: [0, 1], rate: {min: 0}}"))
	s := shop(1, 30).summary()
	f.Fuzz(func(t *testing.T, text []byte) {
		file := filepath.Join(t.TempDir(), "m.yaml")
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if schema, err := LoadSchema(file); err == nil {
			Validate(schema, s, s.Profile)
		}
	})
}
