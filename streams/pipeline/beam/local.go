package beam

import (
	"context"
	"flag"
	"fmt"

	sdk "github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/runners/dataflow"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/runners/prism"
)

// RunPrism runs a pipeline in this process, on Beam's runner for tests, until it
// ends or ctx does.
func RunPrism(ctx context.Context, p Pipeline) error {
	built, err := p.build()
	if err != nil {
		return err
	}
	_, err = prism.Execute(ctx, built)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// SubmitDataflow gives a pipeline to Google Cloud Dataflow, with the flags of the
// SDK's runner. Nobody of us has run it there.
func SubmitDataflow(ctx context.Context, p Pipeline, flags []string) error {
	if err := flag.CommandLine.Parse(flags); err != nil {
		return fmt.Errorf("beam: flags of the Dataflow runner: %w", err)
	}
	if rest := flag.Args(); len(rest) > 0 {
		return fmt.Errorf("beam: flags of the Dataflow runner: %q is none", rest[0])
	}
	built, err := p.build()
	if err != nil {
		return err
	}
	_, err = dataflow.Execute(ctx, built)
	return err
}

func (p *Pipeline) build() (*sdk.Pipeline, error) {
	out, scope := sdk.NewPipelineWithRoot()
	return out, p.Build(scope)
}
