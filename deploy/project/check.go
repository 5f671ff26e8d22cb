package project

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
)

// Limits of a project. A process holds a consumer for each partition of each
// view and source; these keep that in the thousands.
const (
	maxSources   = 64
	maxViews     = 64
	maxAddresses = 32
)

// Bounds of a request's body: one that holds an event, and one that a server
// can hold a hundred of at a time.
const (
	minBodyBytes = 1 << 10
	maxBodyBytes = 64 << 20
)

// names of projects, sources and views become names of topics and directories,
// which differ by more than case on every file system.
var namePattern = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)

var variablePattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)

// Check fills in the defaults, compiles the views and sets p.Plans. Its error
// is an *Error with everything that is wrong.
func (p *Project) Check() error {
	var faults []Fault
	for _, f := range p.check(nil) {
		faults = append(faults, Fault{Path: shown(f.Path), Problem: f.Problem})
	}
	return newError("", faults)
}

// A checker collects the faults of a project's values. Those of the text, where
// the project comes from a file, are known before: what they are about was
// replaced by something harmless and is not reported again.
type checker struct {
	known   [][]string // paths of the text's faults
	ignored [][]string // paths that say nothing, because of a fault elsewhere
	faults  features.Faults
}

func (c *checker) fault(path []string, format string, args ...any) {
	c.add(features.Fault{Path: path, Problem: fmt.Sprintf(format, args...)})
}

func (c *checker) add(f features.Fault) {
	if !covered(c.known, f.Path) && !covered(c.ignored, f.Path) {
		c.faults = append(c.faults, f)
	}
}

// ignore drops faults at path and below.
func (c *checker) ignore(path ...string) { c.ignored = append(c.ignored, path) }

// covered reports whether path, or what it is a part of, is among paths.
func covered(paths [][]string, path []string) bool {
	return slices.ContainsFunc(paths, func(k []string) bool { return within(path, k) })
}

// within reports whether path is whole or a part of it.
func within(path, whole []string) bool {
	return len(whole) <= len(path) && slices.Equal(whole, path[:len(whole)])
}

// spoilt reports whether what path names, a part of it, or what it is a part of
// could not be read.
func (c *checker) spoilt(path ...string) bool {
	return covered(c.known, path) || slices.ContainsFunc(c.known, func(k []string) bool { return within(k, path) })
}

// check fills in the defaults, sets p.Plans where all is well and returns what
// is wrong besides what is known already.
func (p *Project) check(known [][]string) features.Faults {
	c := &checker{known: known}
	p.engineDefaults()
	p.Plans = nil
	c.name([]string{"project"}, p.Name)
	if p.Clock > features.EventClock {
		c.fault([]string{"clock"}, "%d: give features.WallClock or features.EventClock", p.Clock)
	}
	c.engines(p)
	c.sources(p)
	c.views(p)
	c.models(p)
	c.alarms(p.Alarms)
	if len(c.known)+len(c.faults) > 0 {
		p.Plans = nil
	}
	return c.faults
}

func (p *Project) engineDefaults() {
	p.DataDir = cmp.Or(p.DataDir, DefaultDataDir)
	if !p.Lake.Off {
		p.Lake.Dir = cmp.Or(p.Lake.Dir, filepath.Join(p.DataDir, "lake"))
	}
	if p.Kafka.Embedded() {
		p.Kafka.EmbeddedPort = cmp.Or(p.Kafka.EmbeddedPort, DefaultEmbeddedPort)
	}
	p.HTTP.Listen = cmp.Or(p.HTTP.Listen, DefaultListen)
	p.HTTP.MaxBodyBytes = cmp.Or(p.HTTP.MaxBodyBytes, DefaultMaxBodyBytes)
}

func (c *checker) name(path []string, name string) {
	switch {
	case name == "":
		c.fault(path, "missing; give a name, as shop")
	case !namePattern.MatchString(name):
		c.fault(path, "name %s: use a small letter, then small letters, digits and _, at most 64 in all", quote(name))
	}
}

func (c *checker) engines(p *Project) {
	if k := p.Kafka; !k.Embedded() && k.EmbeddedPort != 0 {
		c.fault([]string{"kafka", "embedded_port"}, "belongs to the embedded broker, and addresses name another; remove one of the two")
	} else if k.Embedded() && (k.EmbeddedPort < 1 || k.EmbeddedPort > 65535) {
		c.fault([]string{"kafka", "embedded_port"}, "%d: give 1 to 65535", k.EmbeddedPort)
	}
	c.addresses(p.Kafka.Addresses, "kafka", "addresses")
	c.kafka(p.Kafka)
	if r := p.Store.Redis; r != nil {
		if len(r.Addresses) == 0 {
			c.fault([]string{"store", "redis", "addresses"}, "missing; give the server's host:port, as [127.0.0.1:6379]")
		}
		c.addresses(r.Addresses, "store", "redis", "addresses")
		// The value is not shown: it may be the password itself.
		if r.PasswordEnv != "" && !variablePattern.MatchString(r.PasswordEnv) {
			c.fault([]string{"store", "redis", "password_env"}, "not the name of an environment variable; write the variable's name here, as REDIS_PASSWORD, and the password in the variable")
		}
		c.tls(r.TLS, "store", "redis", "tls")
	}
	if p.Lake.Off && p.Lake.Dir != "" {
		c.fault([]string{"lake"}, "is off and has a directory; remove one of the two")
	}
	if _, err := splitAddress(p.HTTP.Listen, 0); err != nil {
		c.fault([]string{"http", "listen"}, "%v", err)
	}
	if n := p.HTTP.MaxBodyBytes; n < minBodyBytes || n > maxBodyBytes {
		c.fault([]string{"http", "max_body"}, "%d bytes: give 1KiB to 64MiB", n)
	}
}

func (c *checker) addresses(addresses []string, path ...string) {
	if len(addresses) > maxAddresses {
		c.fault(path, "%d addresses; a few are enough to find the others: give at most %d", len(addresses), maxAddresses)
		return
	}
	for i, a := range addresses {
		at := append(slices.Clip(path), index(i))
		host, err := splitAddress(a, 1)
		switch {
		case err != nil:
			c.fault(at, "%v", err)
		case host == "":
			c.fault(at, "%s has no host; write host:port", quote(a))
		case slices.Contains(addresses[:i], a):
			c.fault(at, "%s is listed twice; remove one", quote(a))
		}
	}
}

// splitAddress returns the host of host:port.
func splitAddress(address string, minPort int) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err == nil && !strings.ContainsAny(host, " /@") {
		if n, err := strconv.ParseUint(port, 10, 16); err == nil && int(n) >= minPort {
			return host, nil
		}
	}
	return "", fmt.Errorf("%s is not host:port, as localhost:9092", quote(address))
}

func (c *checker) sources(p *Project) {
	if len(p.Sources) == 0 {
		c.fault([]string{"sources"}, "missing; describe at least one topic")
	}
	if len(p.Sources) > maxSources {
		c.fault([]string{"sources"}, "%d sources; at most %d in a project", len(p.Sources), maxSources)
		return
	}
	for i := range p.Sources {
		c.source(p, i)
	}
}

func (c *checker) source(p *Project, i int) {
	s := &p.Sources[i]
	path := []string{"sources", s.Name}
	c.name(path, s.Name)
	if slices.ContainsFunc(p.Sources[:i], func(x features.Source) bool { return x.Name == s.Name }) {
		c.fault(path, "another source has that name; rename one")
	}
	*s = s.WithDefaults()
	c.topic(p, i)
	for _, f := range s.Fields {
		if f.Kind == expr.Missing || f.Kind > expr.Time || f.Unit > features.EpochMicros {
			c.fault([]string{"sources", s.Name, "fields", f.Name}, "has no type; make it with features.ParseField")
		}
	}
	if c.spoilt("sources", s.Name, "fields") {
		// What names a field cannot be judged without the fields.
		c.ignore("sources", s.Name, "event_time")
		c.ignore("sources", s.Name, "keyed_by")
		c.ignore("sources", s.Name, "id")
	}
	if s.EventTime == "" {
		c.ignore("sources", s.Name, "fields", "") // EventFields lists it all the same
	}
	// A view without anything is faulty, but its source is checked in full.
	_, err := features.Compile(p.Clock, *s, features.View{})
	c.compiled(err, path...)
}

// topic refuses topics of our own and topics that two sources read differently.
func (c *checker) topic(p *Project, i int) {
	s, path := p.Sources[i], []string{"sources", p.Sources[i].Name, "topic"}
	if rest, ours := strings.CutPrefix(s.Topic, p.Name+"."); ours && p.Name != "" {
		if slices.Contains([]string{"feedback", "examples", "deadletters", "models"}, rest) || strings.Contains(rest, ".by.") {
			c.fault(path, "%s is a topic that this project writes itself; use another", quote(s.Topic))
		}
	}
	for _, other := range p.Sources[:i] {
		if other.Topic == s.Topic {
			c.fault(path, "source %s reads %s, too; give both views one source", other.Name, quote(s.Topic))
		}
	}
}

// compiled adds those of Compile's faults that are about what path names, which
// is a source or a view. Its name has been checked here, and more strictly.
func (c *checker) compiled(err error, path ...string) {
	var faults features.Faults
	if err != nil && !errors.As(err, &faults) {
		c.fault(path, "%v", err)
	}
	for _, f := range faults {
		if len(f.Path) == len(path) && !namePattern.MatchString(path[1]) {
			continue
		}
		if within(f.Path, path) {
			c.add(f)
		}
	}
}

func (c *checker) views(p *Project) {
	if len(p.Views) == 0 {
		c.fault([]string{"views"}, "missing; describe at least one view")
	}
	if len(p.Views) > maxViews {
		c.fault([]string{"views"}, "%d views; at most %d in a project", len(p.Views), maxViews)
		return
	}
	for i, v := range p.Views {
		path := []string{"views", v.Name}
		c.name(path, v.Name)
		if slices.ContainsFunc(p.Views[:i], func(x features.View) bool { return x.Name == v.Name }) {
			c.fault(path, "another view has that name; rename one")
		}
		c.view(p, v)
	}
}

func (c *checker) view(p *Project, v features.View) {
	path := []string{"views", v.Name, "source"}
	src := p.Source(v.Source)
	switch {
	case v.Source == "":
		c.fault(path, "missing; name one of the sources")
		return
	case src == nil && !c.spoilt("sources"):
		c.fault(path, "there is no source %s%s", quote(v.Source), hint(v.Source, p.Sources))
		return
	case src == nil:
		return
	}
	// Without the fields or the derivations, every expression that uses them
	// would be a fault more.
	if c.spoilt("sources", src.Name, "fields") || c.spoilt("views", v.Name, "derive") {
		return
	}
	plan, err := features.Compile(p.Clock, *src, v)
	c.compiled(err, "views", v.Name)
	if err != nil && len(c.known)+len(c.faults) == 0 {
		c.fault([]string{"views", v.Name}, "%v", err) // never a view without a plan or a fault
	}
	if plan != nil {
		p.Plans = append(p.Plans, plan)
	}
}

func hint(name string, sources []features.Source) string {
	var names []string
	for _, s := range sources {
		names = append(names, s.Name)
	}
	if near := closest(name, names); near != "" {
		return "; did you mean " + near + "?"
	}
	if len(names) == 0 {
		return ""
	}
	return "; there are " + strings.Join(names[:min(len(names), 12)], ", ")
}
