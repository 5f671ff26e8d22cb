package project

import (
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

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
	Webhook  string // URL that they are posted to; empty: nobody is told
	TokenEnv string // the environment variable that holds its bearer token; empty: none
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
		"webhook":   func(c cursor) { a.Webhook = c.name("a URL") },
		"token_env": func(c cursor) { a.TokenEnv = c.name("the name of an environment variable") },
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
	if a.Webhook == "" {
		if a.TokenEnv != "" {
			c.fault(path, "missing; say where alarms are posted to, or remove token_env")
		}
		return
	}
	if err := webhook(a.Webhook); err != nil {
		c.fault(path, "%v", err)
	}
}

// webhook refuses what is no URL for alarms: they say how a product does, and
// their token is a secret, so that only this machine gets them without TLS.
func webhook(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return fmt.Errorf("%s is no URL, as https://alarms.example.com/hook", quote(text))
	case u.User != nil:
		return fmt.Errorf("a secret does not belong in this file; put it in an environment variable and write the variable's name as token_env")
	case u.Scheme == "http" && !strings.EqualFold(u.Hostname(), "localhost") && !net.ParseIP(u.Hostname()).IsLoopback():
		return fmt.Errorf("%s: to another machine only https goes", quote(text))
	}
	return nil
}
