package engines

import (
	"slices"

	"github.com/millrace/millrace/deploy/project"
	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/streams/pipeline"
)

// A Part is what a process does of a pipeline.
type Part int

// The parts: one of them in a process of several, or all.
const (
	All Part = iota
	Views
	Join
)

// Config returns the configuration of a host of the project's views, of its
// join, or of both; Cluster, Producer, Store and Log are still to be set. Where
// neither the log nor the rows are the process's alone, the host shares the
// partitions with others.
func Config(p *project.Project, does Part) pipeline.Config {
	c := pipeline.Config{Project: p.Name, Clock: p.Clock, TopicConfig: TopicConfig(p)}
	if does != Join {
		c.Plans = p.Plans
	}
	for i := range p.Models {
		if does != Views {
			c.Labels = append(c.Labels, p.Models[i].Labeler)
		}
	}
	for _, s := range p.Sources {
		c.Sources = append(c.Sources, s)
		if !slices.ContainsFunc(p.Plans, func(x *features.Plan) bool { return x.Source.Name == s.Name }) {
			c.Unviewed = append(c.Unviewed, s.Name)
		}
	}
	if Shared(p) {
		c.Group = p.Name
	}
	return c
}

// TopicConfig is for topics that we make. A real Kafka has its own defaults; in
// the embedded broker events stay, for nothing else keeps them.
func TopicConfig(p *project.Project) map[string]string {
	if !p.Kafka.Embedded() {
		return nil
	}
	return map[string]string{"retention.ms": "-1"}
}

// Shared reports whether several processes can work on a project.
func Shared(p *project.Project) bool { return !p.Kafka.Embedded() && p.Store.Redis != nil }
