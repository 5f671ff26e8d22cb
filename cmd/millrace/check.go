package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/millrace/millrace/deploy/project"
	"github.com/millrace/millrace/features"
)

type checkCmd struct {
	projectFlag
	JSON bool `help:"Print a JSON object: {\"ok\": true, ...}, or {\"ok\": false, \"faults\": [{\"line\", \"path\", \"problem\"}, ...]}."`
}

func (checkCmd) Help() string {
	return `Reads the project file and says everything that is wrong with it, by line. It asks no engine: nothing has to run.

Examples:

	millrace check
	millrace check -p shop/project.yaml --json`
}

// A report is the outcome of a check.
type report struct {
	OK      bool            `json:"ok"`
	Project string          `json:"project,omitempty"`
	Sources []string        `json:"sources,omitempty"`
	Views   []string        `json:"views,omitempty"`
	Models  []string        `json:"models,omitempty"`
	Faults  []project.Fault `json:"faults,omitempty"`
	More    int             `json:"more_faults,omitempty"`
}

func (c *checkCmd) Run(a *app) error {
	p, err := c.load()
	if err != nil {
		var faults *project.Error
		if !c.JSON || !errors.As(err, &faults) {
			return err
		}
		return errors.Join(a.printJSON(report{Faults: faults.Faults, More: faults.More}), exitStatus(exitUsage))
	}
	if !c.JSON {
		return describe(a.stdout, c.Project, p)
	}
	r := report{OK: true, Project: p.Name}
	for _, s := range p.Sources {
		r.Sources = append(r.Sources, s.Name)
	}
	for _, v := range p.Views {
		r.Views = append(r.Views, v.Name)
	}
	for i := range p.Models {
		r.Models = append(r.Models, p.Models[i].Name)
	}
	return a.printJSON(r)
}

// describe says what a project is made of.
func describe(w io.Writer, file string, p *project.Project) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "%s is in order.\n\nproject\t%s\n", file, p.Name)
	for _, s := range p.Sources {
		keyed := "with no key"
		if len(s.KeyedBy) > 0 {
			keyed = "keyed by " + strings.Join(s.KeyedBy, ", ")
		}
		fmt.Fprintf(t, "source\t%s\ttopic %s, %s, %s\n", s.Name, s.Topic, s.Format, keyed)
	}
	for _, plan := range p.Plans {
		fmt.Fprintf(t, "view\t%s\t%s\n", plan.View.Name, describeView(p.Name, plan))
	}
	for i := range p.Models {
		fmt.Fprintf(t, "model\t%s\t%s\n", p.Models[i].Name, describeModel(&p.Models[i]))
	}
	broker, store := fmt.Sprintf("embedded, on port %d", p.Kafka.EmbeddedPort), "embedded"
	if !p.Kafka.Embedded() {
		broker = strings.Join(p.Kafka.Addresses, ", ")
	}
	if r := p.Store.Redis; r != nil {
		store = "Redis, " + strings.Join(r.Addresses, ", ")
	}
	lake := p.Lake.Dir
	if p.Lake.Off {
		lake = "off"
	}
	http := p.HTTP.Listen
	if !onLoopback(http) {
		http += ", open to other machines without a password"
	}
	fmt.Fprintf(t, "Kafka\t%s\nstore\t%s\nlake\t%s\nHTTP\t%s\n", broker, store, lake, http)
	return t.Flush()
}

func describeView(name string, plan *features.Plan) string {
	s := fmt.Sprintf("%d features by %s", len(plan.Outputs()), strings.Join(plan.View.Entity, ", "))
	if !plan.Keyed() {
		s += ", re-keyed to topic " + plan.Topic(name)
	}
	return s
}

func describeModel(m *project.Model) string {
	source := m.Label.Source
	if source == "" {
		source = "/v1/outcomes"
	}
	review := "reviewed"
	if m.Unreviewed {
		review = "not reviewed"
	}
	return fmt.Sprintf("%s, sees %d features, hears from %s (%s), a candidate every %d examples, %s", m.Task, len(m.Inputs), source, m.Label.Join, m.Train.Every, review)
}
