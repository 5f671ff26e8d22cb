package beam

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"

	sdk "github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/runners/dataflow"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/runners/prism"
)

// RunPrism runs a pipeline in this process, on Beam's runner for tests, until it
// ends or ctx does.
//
// With ctx it does not end the pipeline, but leaves that to the end of the
// process, which has to come next. Prism cannot be cancelled in order: it closes
// channels that its bundles still send to, which is a data race, and takes what
// follows for failures. Nothing is lost: what counts is committed or acknowledged.
func RunPrism(ctx context.Context, p Pipeline) error {
	built, err := p.build()
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() {
		_, err := prism.Execute(context.WithoutCancel(ctx), built)
		ended <- err
	}()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return nil
	}
}

// ErrFlags is what SubmitDataflow says of flags that are none.
var ErrFlags = errors.New("beam: flags of the Dataflow runner")

// SubmitDataflow gives a pipeline to Google Cloud Dataflow, with the flags of the
// SDK's runner. Nobody of us has run it there.
func SubmitDataflow(ctx context.Context, p Pipeline, flags []string) error {
	flag.CommandLine.Init("dataflow", flag.ContinueOnError) // the SDK's flags are global
	flag.CommandLine.SetOutput(io.Discard)
	if err := flag.CommandLine.Parse(flags); err != nil {
		return fmt.Errorf("%w: %w", ErrFlags, err)
	}
	if rest := flag.Args(); len(rest) > 0 {
		return fmt.Errorf("%w: %q is none", ErrFlags, rest[0])
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
