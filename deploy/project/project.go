package project

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/millrace/millrace/features"
)

// The defaults, which Check fills in where a value is zero.
const (
	// DefaultDataDir is beside the project file, so that a project is one
	// folder, which can be moved and removed as one.
	DefaultDataDir = "data"

	// DefaultEmbeddedPort is 100 above Kafka's 9092, so that a real Kafka can
	// run on the same machine and nobody takes one for the other.
	DefaultEmbeddedPort = 9192

	// DefaultListen is on loopback: the server asks nobody who they are, so
	// others reach it only where the project says so.
	DefaultListen = "127.0.0.1:8765"

	// DefaultMaxBodyBytes is what Kafka takes in one message by default, so
	// that a body with one event is refused here and not by Kafka. As lines of
	// 200 bytes it holds 5,000 events: more save little per request.
	DefaultMaxBodyBytes = 1 << 20
)

// A Project is what a millrace process runs: sources, views and engines. Load
// and Parse make one from a file; in Go, fill one in and call Check. Zero
// values stand for the defaults.
type Project struct {
	Name    string // part of the names of its topics
	Clock   features.Clock
	Sources []features.Source
	Views   []features.View
	Models  []Model

	DataDir string // where the embedded engines and the lake keep their files
	Kafka   Kafka
	Store   Store
	Lake    Lake
	HTTP    HTTP
	Alarms  Alarms

	// Plans are the compiled Views, in their order. Check sets them.
	Plans []*features.Plan
}

// Kafka says which broker holds the topics.
type Kafka struct {
	Addresses    []string // host:port, any few of the cluster's brokers; empty: the embedded broker
	EmbeddedPort int      // of the embedded broker, on loopback
	TLS          TLS
	SASL         *SASL // nil: the cluster does not ask who we are
}

// Embedded reports whether the project runs on the embedded broker.
func (k Kafka) Embedded() bool { return len(k.Addresses) == 0 }

// Store says which online store holds the rows.
type Store struct {
	Redis *Redis // nil: embedded Pebble
}

// Redis is a Redis or Valkey server or cluster.
type Redis struct {
	Addresses   []string // host:port; several for a cluster
	Username    string   // empty: the default user
	PasswordEnv string   // the environment variable that holds the password; empty: no password
	TLS         TLS
}

// Password returns the password from the environment, or "" where none is
// configured.
func (r Redis) Password() (string, error) {
	if r.PasswordEnv == "" {
		return "", nil
	}
	password, ok := os.LookupEnv(r.PasswordEnv)
	if !ok {
		return "", fmt.Errorf("project: store.redis.password_env: the environment variable %s is not set; set it to the password", r.PasswordEnv)
	}
	return password, nil
}

// Lake says where the topics are kept as Parquet files.
type Lake struct {
	Off bool
	Dir string // default: lake in DataDir
}

// HTTP says where the server listens and what it takes.
type HTTP struct {
	Listen       string // host:port; port 0: any free one
	MaxBodyBytes int64
	UsersFile    string // who may use the page, and for what; empty: whoever reaches it, which must be this machine alone
	PageOff      bool   // no page
}

// BrokerDir is where the embedded broker keeps its log.
func (p *Project) BrokerDir() string { return filepath.Join(p.DataDir, "broker") }

// StoreDir is where the embedded store keeps its rows.
func (p *Project) StoreDir() string { return filepath.Join(p.DataDir, "store") }

// Source returns the source of that name, or nil.
func (p *Project) Source(name string) *features.Source {
	i := slices.IndexFunc(p.Sources, func(s features.Source) bool { return s.Name == name })
	if i < 0 {
		return nil
	}
	return &p.Sources[i]
}

// Plan returns the plan of the view of that name, or nil.
func (p *Project) Plan(view string) *features.Plan {
	i := slices.IndexFunc(p.Plans, func(x *features.Plan) bool { return x.View.Name == view })
	if i < 0 {
		return nil
	}
	return p.Plans[i]
}

// Load reads and checks the project file at path. What is wrong with its
// content is an *Error.
func Load(path string) (*Project, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf(`project: there is no %s; name the project file with -p, or let "millrace init DIR" write an example`, path)
	}
	if err != nil {
		return nil, fmt.Errorf("project: %w", err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("project: %w", err)
	}
	return Parse(path, data)
}

// Parse reads and checks a project file's content. The name is for messages;
// relative directories are taken from its folder. What is wrong is an *Error.
func Parse(name string, data []byte) (*Project, error) {
	root, faults := parseYAML(data)
	if len(faults) > 0 {
		return nil, newError(name, faults)
	}
	d := &decoder{}
	p := &Project{}
	cursor{d, root, nil}.project(p)
	p.rebase(filepath.Dir(name))
	known := make([][]string, len(d.faults))
	for i, f := range d.faults {
		known[i] = f.path
	}
	for _, f := range p.check(known) {
		d.faults = append(d.faults, located{root.lineOf(f.Path), f.Path, f.Problem})
	}
	for _, f := range d.faults {
		faults = append(faults, Fault{f.line, shown(f.path), f.text})
	}
	if err := newError(name, faults); err != nil {
		return nil, err
	}
	return p, nil
}

// rebase makes relative directories relative to the project file's folder.
func (p *Project) rebase(folder string) {
	p.DataDir = cmp.Or(p.DataDir, DefaultDataDir)
	for _, dir := range []*string{&p.DataDir, &p.Lake.Dir, &p.HTTP.UsersFile} {
		if *dir != "" && !filepath.IsAbs(*dir) {
			*dir = filepath.Join(folder, *dir)
		}
	}
	for i := range p.Models {
		for _, l := range p.Models[i].Learners {
			if l.Exec != nil && !filepath.IsAbs(l.Exec.Dir) {
				l.Exec.Dir = filepath.Join(folder, l.Exec.Dir)
			}
		}
	}
	p.Kafka.TLS.rebase(folder)
	if r := p.Store.Redis; r != nil {
		r.TLS.rebase(folder)
	}
}
