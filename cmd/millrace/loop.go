package main

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/millrace/millrace/deploy"
	"github.com/millrace/millrace/deploy/engines"
	"github.com/millrace/millrace/deploy/project"
	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/trainer"
	"github.com/millrace/millrace/trainer/bundle"
)

// trainerConfig is what the project's trainer works with.
func trainerConfig(e *opened, reg *registry.Registry, keys *bundle.Keys) trainer.Config {
	p := e.project
	c := trainer.Config{
		Project: p.Name, Cluster: e.cluster, Registry: reg, Bundles: p.ModelsDir(), SchemaFile: p.SchemaFile,
		Sign: keys.Private(), Trusted: trusted(p), Code: readVersion().code(), Log: e.log,
	}
	for i := range p.Models {
		c.Models = append(c.Models, p.Models[i].Model)
	}
	return c
}

// deployerConfig is what the project's deployer works with.
func deployerConfig(e *opened, reg *registry.Registry) deploy.Config {
	p := e.project
	c := deploy.Config{
		Project: p.Name, Cluster: e.cluster, Registry: reg, Bundles: p.ModelsDir(), Trusted: trusted(p), Log: e.log,
	}
	for i := range p.Models {
		m := &p.Models[i]
		c.Models = append(c.Models, deploy.Model{
			Name: m.Name, Task: m.Task, Set: bundle.SetID(m.Inputs), Horizon: m.Label.Horizon, Review: !m.Unreviewed, Steps: m.Rollout,
		})
	}
	return c
}

// trusted returns what reads the keys whose bundles may be opened. It reads them
// each time: they come and go while a process runs.
func trusted(p *project.Project) func() ([]ed25519.PublicKey, error) {
	return func() ([]ed25519.PublicKey, error) {
		keys, err := bundle.ReadKeys(p.KeysDir())
		if err != nil {
			return nil, err
		}
		return keys.Trusted(), nil
	}
}

// retrain returns what keeps a project's models up to date: the trainer and the
// deployer, and what keeps them from their work. Of a project without models
// there is nothing.
func retrain(e *opened) (stages []stage, problems func() []string, err error) {
	if e.registry == nil {
		return nil, func() []string { return nil }, nil
	}
	keys, err := bundle.OpenKeys(e.project.KeysDir())
	if err != nil {
		return nil, nil, err
	}
	t, d := trainer.New(trainerConfig(e, e.registry, keys)), deploy.New(deployerConfig(e, e.registry))
	return []stage{t.Run, d.Run}, func() []string { return append(t.Problems(), d.Problems()...) }, nil
}

// withLoop opens what a trainer or a deployer of its own process works with, the
// registry and the log, and nothing else: the process of "millrace run" may have
// the rest.
func withLoop(ctx context.Context, a *app, p *project.Project, do func(*opened) error) (err error) {
	e := &opened{project: p, log: a.log}
	defer func() { err = errors.Join(err, e.close()) }()
	if e.registry, err = registry.Open(p.RegistryFile()); err != nil {
		return err
	}
	kafka := p.Kafka
	if p.Kafka.Embedded() {
		kafka = at(net.JoinHostPort("127.0.0.1", strconv.Itoa(p.Kafka.EmbeddedPort)))
		probe, err := net.Dial("tcp", kafka.Addresses[0])
		if err != nil {
			return fmt.Errorf(`the project's embedded broker does not answer; it is part of "millrace run", so start that first: %w`, err)
		}
		probe.Close()
	}
	if e.cluster, err = engines.Cluster(ctx, kafka); err != nil {
		return err
	}
	if p.Kafka.Embedded() {
		if err := isOurs(ctx, e.cluster, p, kafka.Addresses[0]); err != nil {
			return err
		}
	}
	return do(e)
}

// code names the code for what it makes: the revision, which is the same in all
// builds of a commit, or the version where a build has no revision.
func (v version) code() string {
	name := cmp.Or(v.Revision, v.Version)
	if v.Modified {
		name += "+modified"
	}
	return name
}
