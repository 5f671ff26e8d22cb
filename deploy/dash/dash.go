// Package dash is the web page of millrace: HTML below /ui/ that shows whether the
// loop is healthy and lets people act. Pages are made on the server and work
// without JavaScript; modules of our own make figures live and charts movable.
// Nothing is loaded from another host.
//
// A page is a route (routes.go), a handler that gathers what it shows, and a
// template that defines "main". What a handler returns as an error becomes a page
// that says what to do. Every list is cut and searched on the server.
package dash

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"time"

	"github.com/millrace/millrace/deploy/alarms"
	"github.com/millrace/millrace/deploy/observe"
	"github.com/millrace/millrace/deploy/project"
	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/deploy/users"
	"github.com/millrace/millrace/feedback"
)

// A Config is what the pages show and who may look. Project and Log are needed;
// pages say so where the rest is missing.
type Config struct {
	Project  *project.Project
	Registry *registry.Registry // nil: the project has no models

	// Lookout keeps the monitors; nil: there are none.
	Lookout Monitors

	// Lab answers what-if, and has values over time; nil: nothing does.
	Lab Lab

	// Alarms is the book of alarms; nil: there is none.
	Alarms *alarms.Book

	// Status returns where the shards of the pipeline are; nil: it runs elsewhere.
	Status func() []observe.Shard

	// JoinStats counts what became of predictions and outcomes; nil: no models.
	JoinStats func(context.Context) (feedback.Stats, error)

	// Problems says why the process is not ready, one line each; nil: nobody knows.
	Problems func() []string

	// Users are who may look and act; nil: nobody is asked, and whoever reaches the
	// page may do anything, as Reviewer.
	Users *users.Users

	// Reviewer is who acts while nobody is asked who they are.
	Reviewer string

	Now func() time.Time // nil: time.Now
	Log *slog.Logger
}

// A Dash serves the pages. It is a handler of GET / and of all below /ui/.
type Dash struct {
	cfg     Config
	mux     *http.ServeMux
	pages   map[string]*template.Template // by the name of the file
	assets  map[string]*asset             // by the name of the file
	key     []byte                        // of this process, for tokens of forms
	origins http.CrossOriginProtection
	live    live
	streams turns // of browsers that follow
	asked   turns // of questions to the lab

	fresh, beat time.Duration // freshFor and beatEvery; tests have less patience
}

// New returns the pages.
func New(cfg Config) (*Dash, error) {
	if cfg.Project == nil || cfg.Log == nil {
		return nil, errors.New("dash: Config needs a Project and a Log")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	d := &Dash{cfg: cfg, mux: http.NewServeMux(), key: make([]byte, 32), streams: make(turns, maxStreams), asked: make(turns, maxAsked), fresh: freshFor, beat: beatEvery}
	_, _ = rand.Read(d.key) // it never fails
	var err error
	if d.assets, err = readAssets(); err != nil {
		return nil, fmt.Errorf("dash: %w", err)
	}
	if d.pages, err = d.readPages(); err != nil {
		return nil, fmt.Errorf("dash: %w", err)
	}
	d.addRoutes()
	return d, nil
}
