package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/millrace/millrace/deploy/project"
	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/trainer/bundle"
	"github.com/millrace/millrace/trainer/eval"
)

type modelsDiffCmd struct {
	projectFlag
	Model string `arg:"" placeholder:"MODEL" help:"The model."`
	A     int    `arg:"" name:"a" placeholder:"A" help:"The number of a version."`
	B     int    `arg:"" name:"b" placeholder:"B" help:"The number of another one."`
	JSON  bool   `help:"Print a JSON object: {\"model\", \"a\", \"b\", \"trained_on\", \"metrics\", \"judged\"}."`
}

func (modelsDiffCmd) Help() string {
	return `What is the same in both is left out. Metrics of different rows are no comparison; where one was judged against the other, both were asked about the same rows, and the gain has bounds.

Example:

	millrace models diff big_move 2 3`
}

// A difference is a value that two versions do not share.
type difference struct {
	Path string `json:"path"`
	A    string `json:"a,omitempty"`
	B    string `json:"b,omitempty"`
}

type modelDiff struct {
	Model     string          `json:"model"`
	A         versionView     `json:"a"`
	B         versionView     `json:"b"`
	TrainedOn []difference    `json:"trained_on"`
	Metrics   []difference    `json:"metrics"`          // of the trainings
	Judged    json.RawMessage `json:"judged,omitempty"` // the judgement of one against the other

	judgement *eval.Judgement
	candidate int
}

func (c *modelsDiffCmd) Run(ctx context.Context, a *app) error {
	return c.withRegistry(func(p *project.Project, r *registry.Registry) error {
		d, err := c.compare(ctx, p, r)
		if err != nil {
			return err
		}
		if c.JSON {
			return a.printJSON(d)
		}
		return d.print(a.stdout)
	})
}

func (c *modelsDiffCmd) compare(ctx context.Context, p *project.Project, r *registry.Registry) (*modelDiff, error) {
	var versions [2]registry.Version
	var runs [2]registry.Run
	var inputs [2]map[string]string
	for i, number := range []int{c.A, c.B} {
		var err error
		if versions[i], err = (versionArgs{c.Model, number}).get(ctx, p, r); err != nil {
			return nil, err
		}
		if runs[i], err = r.Run(ctx, versions[i].Run); err != nil {
			return nil, err
		}
		inputs[i] = inputsOf(p.ModelsDir(), versions[i].Bundle)
	}
	a, b := &versions[0], &versions[1]
	d := &modelDiff{Model: c.Model, A: viewOf(a, &runs[0]), B: viewOf(b, &runs[1])}
	d.TrainedOn = differences(flatten(runs[0].Spec), flatten(runs[1].Spec))
	if inputs[0] != nil && inputs[1] != nil {
		d.TrainedOn = append(d.TrainedOn, differences(inputs[0], inputs[1])...)
	}
	d.Metrics = differences(flatten(runs[0].Report), flatten(runs[1].Report))
	for _, pair := range [][2]*registry.Version{{a, b}, {b, a}} {
		if j, ok := judgementOf(pair[0]); ok && pair[0].Baseline == pair[1].Number {
			d.Judged, d.judgement, d.candidate = pair[0].Report, &j, pair[0].Number
		}
	}
	return d, nil
}

// inputsOf returns what a bundle's manifest says of its features, by path; nil
// where the bundle is not here. It is for people to read, so its signature
// does not matter.
func inputsOf(dir, id string) map[string]string {
	b, err := os.ReadFile(filepath.Join(dir, filepath.Base(id), bundle.ManifestName))
	if err != nil {
		return nil
	}
	var manifest struct {
		Inputs json.RawMessage `json:"inputs"`
	}
	if json.Unmarshal(b, &manifest) != nil {
		return nil
	}
	found := map[string]string{}
	for path, value := range flatten(manifest.Inputs) {
		found["inputs."+path] = value
	}
	return found
}

func differences(a, b map[string]string) []difference {
	all := maps.Clone(a)
	maps.Copy(all, b)
	found := []difference{}
	for _, path := range slices.Sorted(maps.Keys(all)) {
		if a[path] != b[path] {
			found = append(found, difference{path, a[path], b[path]})
		}
	}
	return found
}

func (d *modelDiff) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "%s\tVERSION %d\tVERSION %d\n", d.Model, d.A.Version, d.B.Version)
	fmt.Fprintf(t, "state\t%s\t%s\n", d.A.State, d.B.State)
	fmt.Fprintf(t, "cut-off\t%s\t%s\n", instant(d.A.Cutoff), instant(d.B.Cutoff))
	fmt.Fprintf(t, "bundle\t%s\t%s\n", shortID(d.A.Bundle), shortID(d.B.Bundle))
	for _, part := range []struct {
		title string
		rows  []difference
	}{{"trained on", d.TrainedOn}, {"metrics of the training, each on its own rows", d.Metrics}} {
		fmt.Fprintf(t, "\n%s\n", part.title)
		for _, x := range part.rows {
			fmt.Fprintf(t, "  %s\t%s\t%s\n", oneLine(x.Path, 100), oneLine(orDash(x.A), 60), oneLine(orDash(x.B), 60))
		}
		if len(part.rows) == 0 {
			fmt.Fprintf(t, "  the same\n")
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if d.judgement == nil {
		_, err := fmt.Fprintf(w, "\nneither was judged against the other\n")
		return err
	}
	other := d.A.Version + d.B.Version - d.candidate
	fmt.Fprintf(w, "\nversion %d was judged against version %d", d.candidate, other)
	return printJudgement(w, d.judgement, versionName(other))
}

// flatten returns the leaves of a JSON document by path. Members of a list go by
// their name or partition where they have one, texts by themselves, and others by
// their place, so that one more in the middle is one difference. A list of texts
// further down, as the arguments of a program, is a leaf: its order matters.
func flatten(doc json.RawMessage) map[string]string {
	fields := map[string]string{}
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber() // offsets and seeds as they are
	var x any
	if d.Decode(&x) == nil {
		flattenInto(fields, "", x)
	}
	return fields
}

// isMember is what stands for a text that is in a list.
const isMember = "yes"

func flattenInto(fields map[string]string, path string, x any) {
	below := func(name string) string {
		if path == "" {
			return name
		}
		return path + "." + name
	}
	switch x := x.(type) {
	case map[string]any:
		for name, value := range x {
			flattenInto(fields, below(name), value)
		}
	case []any:
		if texts, ok := textsOf(x); ok && strings.Contains(path, ".") {
			fields[path] = texts
			return
		}
		for i, value := range x {
			name := strconv.Itoa(i)
			switch v := value.(type) {
			case string:
				name, value = v, isMember
			case map[string]any:
				if s, ok := v["name"].(string); ok {
					name = s
				} else if n, ok := v["partition"].(json.Number); ok {
					name = n.String()
				}
			}
			flattenInto(fields, below(name), value)
		}
	case nil:
		fields[path] = "null"
	default:
		fields[path] = fmt.Sprint(x)
	}
}

// textsOf returns a list of texts as JSON, and false for another list.
func textsOf(list []any) (string, bool) {
	for _, v := range list {
		if _, ok := v.(string); !ok {
			return "", false
		}
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // a shell's > stays one
	if len(list) == 0 || enc.Encode(list) != nil {
		return "", false
	}
	return strings.TrimSuffix(b.String(), "\n"), true
}
