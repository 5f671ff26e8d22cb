package main

import (
	"github.com/millrace/millrace/deploy/dash"
	"github.com/millrace/millrace/deploy/observe"
	"github.com/millrace/millrace/deploy/project"
	"github.com/millrace/millrace/deploy/serve"
	"github.com/millrace/millrace/deploy/users"
	"github.com/millrace/millrace/streams/pipeline"
)

// checkPage refuses to show the page to other machines while nobody is asked who
// they are: it approves models.
func checkPage(p *project.Project) error {
	if p.HTTP.PageOff || p.HTTP.UsersFile != "" || onLoopback(p.HTTP.Listen) {
		return nil
	}
	return usagef("http.listen %s is open to other machines, and the page, where people approve models, would ask nobody who they are: name a file of users as http.users_file and add some by \"millrace users add\", or write page: off", p.HTTP.Listen)
}

// addPage gives a server the page, where the project has one.
func addPage(e *opened, w *watch, host *pipeline.Host, c *serve.Config) error {
	p := e.project
	if err := w.show(e, c.Metrics); err != nil {
		return err
	}
	if p.HTTP.PageOff {
		return nil
	}
	d := dash.Config{
		Project: p, Registry: e.registry, JoinStats: c.JoinStats, Problems: c.Problems, Log: e.log,
		Lab: newLab(p, e.registry),
	}
	if w.lookout != nil {
		d.Lookout, d.Alarms = w.lookout, e.book
	}
	if host != nil {
		d.Status = func() []observe.Shard { return observe.Shards(host.Status()) }
	}
	var err error
	if p.HTTP.UsersFile == "" {
		d.Reviewer, err = reviewer{}.name()
	} else if d.Users, err = users.Read(p.HTTP.UsersFile); err == nil {
		d.Users.Log = e.log
	}
	if err != nil {
		return err
	}
	page, err := dash.New(d)
	c.Pages = page
	return err
}
