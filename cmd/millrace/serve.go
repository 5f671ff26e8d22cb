package main

import (
	"context"
	"fmt"
	"net"

	"github.com/millrace/millrace/deploy/observe"
	"github.com/millrace/millrace/deploy/serve"
	"github.com/millrace/millrace/streams/pipeline"
)

type serveCmd struct {
	projectFlag
}

func (serveCmd) Help() string {
	return `Serves HTTP only: lookups of features from Redis, predictions, and events and outcomes for the topics in Kafka. "millrace pipeline" beside it applies the events, and "millrace join" the outcomes. Where the project has models, registry.db, models/ and keys/ of the project's data have to be in its data folder, too. Start as many as you like.

Example:

	millrace serve -p shop/project.yaml`
}

func (c *serveCmd) Run(ctx context.Context, a *app) error {
	p, err := c.load()
	if err != nil {
		return err
	}
	if err := needShared("serve", p); err != nil {
		return err
	}
	return withEngines(ctx, p, a.log, func(e *opened) error {
		server, err := newServer(ctx, e, nil, nil)
		if err != nil {
			return err
		}
		ln, err := listen(e)
		if err != nil {
			return err
		}
		return server.Serve(ctx, ln)
	})
}

// listen takes the address of the HTTP server.
func listen(e *opened) (net.Listener, error) {
	ln, err := net.Listen("tcp", e.project.HTTP.Listen)
	if err != nil {
		return nil, fmt.Errorf("HTTP: cannot listen on %s; set http.listen in the project file, or stop what has the port: %w", e.project.HTTP.Listen, err)
	}
	if !onLoopback(e.project.HTTP.Listen) {
		e.log.Warn("HTTP is open to other machines and asks nobody who they are: whoever reaches it reads features and predictions, and writes events and outcomes, which models learn from", "address", ln.Addr().String())
	}
	return ln, nil
}

// onLoopback reports whether only this machine reaches an address. Of a name
// other than localhost it does not know, and says no.
func onLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	return err == nil && (host == "localhost" || net.ParseIP(host).IsLoopback())
}

// newServer returns the HTTP server of open engines. Host is nil in a process
// that runs no pipeline, and pages in one that shows none; more says what else keeps
// the process from its work.
func newServer(ctx context.Context, e *opened, host *pipeline.Host, pages func(*serve.Config) error, more ...func() []string) (*serve.Server, error) {
	metrics, err := observe.New()
	if err != nil {
		return nil, err
	}
	if err := metrics.Traces(e.traces); err != nil {
		return nil, err
	}
	watched := append([]func() []string{e.problems}, more...)
	if host != nil {
		watched = append(watched, host.Problems)
		if err := metrics.Host(host); err != nil {
			return nil, err
		}
	}
	c := serve.Config{
		Project: e.project.Name, Sources: e.project.Sources, Plans: e.project.Plans,
		Store: e.store, Producer: e.producer, Log: e.log, MaxBody: e.project.HTTP.MaxBodyBytes,
		Problems: func() (all []string) {
			for _, problems := range watched {
				all = append(all, problems()...)
			}
			return all
		},
		LogProblems: e.problems, Metrics: metrics, Traces: e.traces,
	}
	if e.registry != nil {
		if err := addModels(ctx, e, &c); err != nil {
			return nil, err
		}
	}
	if pages != nil {
		if err := pages(&c); err != nil {
			return nil, err
		}
	}
	return serve.New(c)
}

// addModels gives a server the project's models, with what serves now loaded,
// and the spool, which closes with the engines. What cannot be loaded is in the
// server's readiness.
func addModels(ctx context.Context, e *opened, c *serve.Config) (err error) {
	p := e.project
	if err := addJoinStats(ctx, e, c); err != nil {
		return err
	}
	var configs []serve.ModelConfig
	for i := range p.Models {
		m := &p.Models[i]
		configs = append(configs, serve.ModelConfig{Name: m.Name, Task: m.Task, Inputs: m.Inputs, Entity: m.Entity, Labeler: m.Labeler})
	}
	if c.Models, err = serve.NewModels(e.registry, p.ModelsDir(), trusted(p), configs, e.log); err != nil {
		return err
	}
	_ = c.Models.Refresh(ctx)
	e.models = c.Models
	e.spool, err = serve.OpenSpool(p.SpoolDir(), serve.DefaultSpool, e.log)
	c.Spool = e.spool
	return err
}
