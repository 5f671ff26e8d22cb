package project

import (
	"fmt"
	"strings"

	"github.com/millrace/millrace/features"
)

// project reads the whole file.
func (c cursor) project(p *Project) {
	c.mapping(keys{
		"project": func(c cursor) { p.Name = c.name("the project's name") },
		"clock": func(c cursor) {
			p.Clock = one(c, map[string]features.Clock{"wall": features.WallClock, "event": features.EventClock})
		},
		"data_dir": func(c cursor) { p.DataDir = c.name("a directory") },
		"kafka":    func(c cursor) { c.kafka(&p.Kafka) },
		"store":    func(c cursor) { c.store(&p.Store) },
		"lake":     func(c cursor) { c.lake(&p.Lake) },
		"http":     func(c cursor) { c.http(&p.HTTP) },
		"alarms":   func(c cursor) { c.alarms(&p.Alarms) },
		"sources": func(c cursor) {
			for e, v := range c.each() {
				p.Sources = append(p.Sources, v.source(e.key))
			}
		},
		"views": func(c cursor) {
			for e, v := range c.each() {
				p.Views = append(p.Views, v.view(e.key))
			}
		},
		"models": func(c cursor) {
			for e, v := range c.each() {
				p.Models = append(p.Models, v.model(e.key))
			}
		},
	}, nil)
}

func (c cursor) kafka(k *Kafka) {
	c.mapping(keys{
		"addresses":     func(c cursor) { k.Addresses = c.names("host:port") },
		"embedded_port": func(c cursor) { k.EmbeddedPort = c.positive() },
		"tls":           func(c cursor) { c.tls(&k.TLS) },
		"sasl": func(c cursor) {
			k.SASL = &SASL{}
			c.sasl(k.SASL)
		},
	}, nil)
}

func (c cursor) store(s *Store) {
	c.mapping(keys{"redis": func(c cursor) {
		s.Redis = &Redis{}
		c.redis(s.Redis)
	}}, absent{"pebble": "Pebble is the store of a project without redis, and keeps its rows in data_dir; remove the key"})
}

func (c cursor) redis(r *Redis) {
	c.mapping(keys{
		"addresses":    func(c cursor) { r.Addresses = c.names("host:port") },
		"username":     func(c cursor) { r.Username = c.name("a user's name") },
		"password_env": func(c cursor) { r.PasswordEnv = c.name("the name of an environment variable") },
		"tls":          func(c cursor) { c.tls(&r.TLS) },
	}, absent{"password": "a secret does not belong in this file; put it in an environment variable and write the variable's name as password_env"})
}

func (c cursor) lake(l *Lake) {
	switch {
	case c.node.kind == mapping:
		c.mapping(keys{"dir": func(c cursor) { l.Dir = c.name("a directory") }}, nil)
	case c.node.kind == text && c.node.text == "off":
		l.Off = true
	default:
		c.fail("write off, or {dir: DIRECTORY}")
	}
}

func (c cursor) http(h *HTTP) {
	c.mapping(keys{
		"listen":     func(c cursor) { h.Listen = c.name("host:port") },
		"max_body":   func(c cursor) { h.MaxBodyBytes = c.size() },
		"users_file": func(c cursor) { h.UsersFile = c.name("a file") },
		"page":       func(c cursor) { h.PageOff = one(c, map[string]bool{"on": false, "off": true}) },
	}, nil)
}

func (c cursor) source(name string) features.Source {
	s := features.Source{Name: name}
	c.mapping(keys{
		"topic":           func(c cursor) { s.Topic = c.name("a topic") },
		"keyed_by":        func(c cursor) { s.KeyedBy = c.names("fields") },
		"format":          func(c cursor) { s.Format = c.format() },
		"event_time":      func(c cursor) { s.EventTime = c.name("a field") },
		"id":              func(c cursor) { s.ID = c.name("a field") },
		"dedup":           func(c cursor) { s.Dedup = c.duration() },
		"lateness":        func(c cursor) { s.Lateness = c.duration() },
		"max_ahead":       func(c cursor) { s.MaxAhead = c.duration() },
		"max_jump":        func(c cursor) { s.MaxJump = c.duration() },
		"partitions":      func(c cursor) { s.Partitions = c.positive() },
		"allow_nonfinite": func(c cursor) { s.AllowNonfinite = c.bool() },
		"fields": func(c cursor) {
			for e, v := range c.each() {
				s.Fields = append(s.Fields, v.field(e.key))
			}
		},
	}, absent{"schema": "this version has no schemas by file or registry; write the fields as fields: {name: type}"})
	return s
}

func (c cursor) format() string {
	s := c.name("json or csv")
	if s == "avro" || s == "protobuf" {
		c.fail("this version has no %s yet; it reads json and csv", s)
		return ""
	}
	return s
}

func (c cursor) field(name string) features.Field {
	typ, ok := c.scalar("a type, as float")
	if !ok {
		return features.Field{Name: name}
	}
	f, err := features.ParseField(name, typ)
	if err != nil {
		c.fail("%v", err)
	}
	return f
}

func (c cursor) view(name string) features.View {
	v := features.View{Name: name}
	c.mapping(keys{
		"source":    func(c cursor) { v.Source = c.name("a source") },
		"entity":    func(c cursor) { v.Entity = c.names("fields") },
		"where":     func(c cursor) { v.Where = c.expression() },
		"derive":    func(c cursor) { v.Derive = c.expressions() },
		"on_demand": func(c cursor) { v.OnDemand = c.expressions() },
		"features": func(c cursor) {
			for e, f := range c.each() {
				v.Features = append(v.Features, f.feature(e.key))
			}
		},
	}, nil)
	return v
}

func (c cursor) expressions() []features.Named {
	var all []features.Named
	for e, v := range c.each() {
		all = append(all, features.Named{Name: e.key, Expr: v.expression()})
	}
	return all
}

// expression reads an expression. A number, true and false are expressions.
func (c cursor) expression() string {
	s, ok := c.scalar("an expression")
	if ok && strings.TrimSpace(s) == "" {
		c.fail("is an empty text; write an expression, or remove the key")
	}
	return s
}

// What the design names and this version does not have.
const laterAggregations = "skew kurtosis first_n last_n rate ewma count_distinct quantile top_k histogram covariance correlation slope realised_variance"

// laterFeatureKeys says which aggregations and windows there are instead.
func laterFeatureKeys() absent {
	later := absent{"session": "this version has no session windows yet; it has window: 30d, window: lifetime and tumbling: 1h"}
	for name := range strings.FieldsSeq(laterAggregations) {
		later[name] = fmt.Sprintf("this version has no %s yet; it has %s", name, strings.Join(features.Aggregations(), ", "))
	}
	return later
}

// feature reads an aggregation over a window. What cannot be read is replaced
// by count: "*" and lifetime, so that the rest of the view can be checked.
func (c cursor) feature(name string) features.Feature {
	before := len(c.faults)
	f := features.Feature{Name: name}
	var aggs, windows []string
	known := c.windowKeys(&f.Window, &windows)
	for _, agg := range features.Aggregations() {
		known[agg] = func(c cursor) {
			if agg == "last" && c.node.kind == number {
				c.fail("this version has no windows of the last n events yet; it has window: 30d, window: lifetime and tumbling: 1h")
				return
			}
			aggs = append(aggs, agg)
			f.Agg, f.Of = agg, c.name(`a field or derivation, or "*" with count`)
		}
	}
	c.mapping(known, laterFeatureKeys())
	clean := len(c.faults) == before
	switch {
	case len(aggs) > 1:
		c.fail("has %s; a feature has one aggregation: write two features", strings.Join(aggs, " and "))
	case clean && len(aggs) == 0:
		c.fail("has no aggregation; write one of %s, as mean: FIELD", strings.Join(features.Aggregations(), ", "))
	}
	switch {
	case len(windows) > 1:
		c.fail("has %s; a feature has one window: write two features", strings.Join(windows, " and "))
	case clean && len(windows) == 0:
		c.fail("has no window; write window: 30d, window: lifetime or tumbling: 1h")
	}
	if len(aggs) != 1 || f.Of == "" {
		f.Agg, f.Of = "count", "*"
	}
	if len(c.faults) > before {
		f.Window = features.Window{Kind: features.Lifetime}
	}
	return f
}

// windowKeys are the keys of a window, and note which kinds are given.
func (c cursor) windowKeys(w *features.Window, given *[]string) keys {
	return keys{
		"window": func(c cursor) {
			*given = append(*given, "window")
			if c.node.kind == text && c.node.text == "lifetime" {
				w.Kind = features.Lifetime
				return
			}
			w.Size = c.duration()
		},
		"tumbling": func(c cursor) {
			*given = append(*given, "tumbling")
			w.Kind, w.Size = features.Tumbling, c.duration()
		},
		"hop":        func(c cursor) { w.Hop = c.duration() },
		"exact":      func(c cursor) { w.Exact = c.bool() },
		"max_values": func(c cursor) { w.MaxValues = c.positive() },
		"offset":     func(c cursor) { w.Offset = c.duration() },
		"open":       func(c cursor) { w.Open = c.bool() },
	}
}
