package main

import (
	"cmp"
	"crypto/ed25519"

	"github.com/millrace/millrace/deploy"
	"github.com/millrace/millrace/deploy/project"
	"github.com/millrace/millrace/deploy/registry"
	"github.com/millrace/millrace/trainer"
	"github.com/millrace/millrace/trainer/bundle"
)

// trainerConfig is what the project's trainer works with.
func trainerConfig(e *engines, reg *registry.Registry, keys *bundle.Keys) trainer.Config {
	p := e.project
	c := trainer.Config{
		Project: p.Name, Cluster: e.cluster, Registry: reg, Bundles: p.ModelsDir(), SchemaFile: p.SchemaFile,
		Sign: keys.Private(), Trusted: keys.Trusted(), Code: readVersion().code(), Log: e.log,
	}
	for i := range p.Models {
		c.Models = append(c.Models, p.Models[i].Model)
	}
	return c
}

// deployerConfig is what the project's deployer works with.
func deployerConfig(e *engines, reg *registry.Registry) deploy.Config {
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
func retrain(e *engines) (stages []stage, problems func() []string, err error) {
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

// code names the code for what it makes: the revision, which is the same in all
// builds of a commit, or the version where a build has no revision.
func (v version) code() string {
	name := cmp.Or(v.Revision, v.Version)
	if v.Modified {
		name += "+modified"
	}
	return name
}
