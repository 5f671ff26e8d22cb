package project

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/millrace/millrace/deploy/alarms"
	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/feedback/monitor"
	"github.com/millrace/millrace/trainer/bundle"
)

// Monitoring says how a model is monitored.
type Monitoring struct {
	monitor.Config
	Off bool
}

// Alarms says who is told of alarms, besides those who look at the page.
type Alarms struct {
	Webhook    string // URL that they are posted to; empty, as WebhookEnv: nobody is told
	WebhookEnv string // the environment variable that holds the URL, where that is a secret
	TokenEnv   string // the environment variable that holds its bearer token; empty: none
}

// Told reports whether anybody is told of alarms.
func (a Alarms) Told() bool { return a.Webhook != "" || a.WebhookEnv != "" }

// Target returns where alarms are told, with its secrets from the environment.
func (a Alarms) Target() (t alarms.Target, err error) {
	read := func(key, name string) (value string) {
		value, ok := os.LookupEnv(name)
		if !ok {
			err = fmt.Errorf("project: alarms.%s: the environment variable %s is not set", key, name)
		}
		return value
	}
	t.URL = alarms.Secret(a.Webhook)
	if a.WebhookEnv != "" {
		t.URL = alarms.Secret(read("webhook_env", a.WebhookEnv))
	}
	if a.TokenEnv != "" {
		t.Token = alarms.Secret("Bearer " + read("token_env", a.TokenEnv))
	}
	return t, err
}

// AlarmsFile is where alarms, and what people did on the page, are kept.
func (p *Project) AlarmsFile() string { return filepath.Join(p.DataDir, "alarms.db") }

// Monitored describes a model for its monitors.
func (m *Model) Monitored() monitor.Model {
	out := monitor.Model{
		Name: m.Name, Binary: m.Label.Binary, Set: bundle.SetID(m.Inputs), Slices: m.Gate.Slices,
		Horizon: m.Label.Horizon, Grace: m.Label.Grace,
	}
	for _, f := range m.Entity {
		out.Entity = append(out.Entity, f.Name)
	}
	for _, in := range m.Inputs {
		out.Inputs = append(out.Inputs, features.Field{Name: in.Name, Kind: in.Kind})
	}
	return out
}

func (c cursor) monitoring(m *Monitoring) {
	if c.node.kind != mapping {
		if c.node.kind == text && c.node.text == "off" {
			m.Off = true
			return
		}
		c.fail("write off, or how it is monitored, as {window: 30d}")
		return
	}
	c.mapping(keys{
		"every":        func(c cursor) { m.Every = c.duration() },
		"window":       func(c cursor) { m.Window = c.duration() },
		"reference":    func(c cursor) { m.Reference = c.duration() },
		"false_alarms": func(c cursor) { m.False, m.Per = c.rate() },
		"block":        func(c cursor) { m.Block = c.duration() },
		"factor":       func(c cursor) { m.Factor = c.above() },
		"distance": func(c cursor) {
			m.Distance = one(c, map[string]monitor.Distance{
				string(monitor.JensenShannon): monitor.JensenShannon, string(monitor.LInfinity): monitor.LInfinity,
				string(monitor.PSI): monitor.PSI, string(monitor.KS): monitor.KS,
			})
		},
		"std":     func(c cursor) { m.Std = c.names("features") },
		"retrain": func(c cursor) { m.Retrain = c.bool() },
		"seed":    func(c cursor) { m.Seed = uint64(c.positive()) },
	}, nil)
}

func (c cursor) alarms(a *Alarms) {
	c.mapping(keys{
		"webhook":     func(c cursor) { a.Webhook = c.name("a URL") },
		"webhook_env": func(c cursor) { a.WebhookEnv = c.name("the name of an environment variable") },
		"token_env":   func(c cursor) { a.TokenEnv = c.name("the name of an environment variable") },
	}, absent{"token": "a secret does not belong in this file; put it in an environment variable and write the variable's name as token_env"})
}

// monitoring checks how a model is monitored.
func (c *checker) monitoring(m *Model, path []string) {
	if m.Monitor.Off {
		return
	}
	m.Monitor.Config = m.Monitor.WithDefaults(m.Label.Horizon)
	if err := m.Monitor.Check(); err != nil {
		c.fault(path, "%v", err)
	}
	for i, name := range m.Monitor.Std {
		k := slices.IndexFunc(m.Inputs, func(in bundle.Input) bool { return in.Name == name })
		at := append(slices.Clip(path), "std", index(i))
		switch {
		case k < 0:
			c.fault(at, "%s is no feature of the model; scores and labels are watched anyway", quote(name))
		case m.Inputs[k].Kind == expr.String:
			c.fault(at, "%s is a text, which has no deviation", name)
		}
	}
}

// alarms checks whom alarms are told.
func (c *checker) alarms(a Alarms) {
	path := []string{"alarms", "webhook"}
	if a.TokenEnv != "" && !variablePattern.MatchString(a.TokenEnv) {
		c.fault([]string{"alarms", "token_env"}, "%s is no name of an environment variable", quote(a.TokenEnv))
	}
	if a.WebhookEnv != "" && !variablePattern.MatchString(a.WebhookEnv) {
		c.fault([]string{"alarms", "webhook_env"}, "%s is no name of an environment variable", quote(a.WebhookEnv))
	}
	switch {
	case a.Webhook != "" && a.WebhookEnv != "":
		c.fault([]string{"alarms", "webhook_env"}, "webhook says it, too; remove one of the two")
	case a.Webhook == "" && a.WebhookEnv == "" && a.TokenEnv != "":
		c.fault(path, "missing; say where alarms are posted to, or remove token_env")
	}
	if a.Webhook == "" {
		return
	}
	if err := (alarms.Target{URL: alarms.Secret(a.Webhook)}).Check(); err != nil {
		c.fault(path, "%v", err)
	}
}
