package engines

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/millrace/millrace/deploy/project"
	"github.com/millrace/millrace/streams"
)

// Sources makes the topics of the project's sources where they are missing, so that
// events can come in before anything reads them, and checks those that are there.
// What is not in order but can work is logged; topics that would lose events are an
// error that wraps streams.ErrUnfit.
func Sources(ctx context.Context, c *streams.Cluster, p *project.Project, log *slog.Logger) error {
	for _, s := range p.Sources {
		if err := c.Ensure(ctx, s.Topic, s.Partitions, TopicConfig(p)); err != nil {
			return fmt.Errorf("source %s: %w", s.Name, err)
		}
		warnings, err := c.CheckSource(ctx, s.Topic)
		for _, w := range warnings {
			log.Warn("a source's topic is not set as it should be", "source", s.Name, "problem", w)
		}
		if err != nil {
			return fmt.Errorf("source %s: %w", s.Name, err)
		}
	}
	return nil
}
