package beam

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/apache/beam/sdks/v2/go/container/pool"
	"github.com/apache/beam/sdks/v2/go/container/tools"
	sdk "github.com/apache/beam/sdks/v2/go/pkg/beam"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/core/runtime/harness"
	beamlog "github.com/apache/beam/sdks/v2/go/pkg/beam/log"
	fnpb "github.com/apache/beam/sdks/v2/go/pkg/beam/model/fnexecution_v1"
	"github.com/apache/beam/sdks/v2/go/pkg/beam/util/grpcx"
)

// Boot makes this process what a runner started it as: a worker, by Beam's
// contract for containers, or a pool that starts workers. It then does not
// return. Otherwise it makes the SDK ready and returns. The first call of main.
//
// The program is its own boot program: where Beam's asks the runner for the
// worker's binary, keeps it in a file and runs that, this one asks for the
// options only and becomes the worker.
func Boot() {
	args := parseBoot(os.Args[1:])
	var err error
	switch {
	case args.pool:
		err = runPool()
	case args.worker:
		err = runWorker(args)
	case args.booted:
		err = bootWorker(args)
	default:
		beamlog.SetLogger(quietLog{})
		sdk.Init()
		return
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "millrace-beam worker %s: %v\n", args.id, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// bootArgs are the flags that a runner starts a worker with.
type bootArgs struct {
	booted bool // there is a provision endpoint, as no command of ours has
	worker bool // this is the second start, after the provision
	pool   bool

	id, provision, logging, control, options string
}

// parseBoot reads a runner's flags, with one dash or two, and with "=" or a
// space before the value. Those that are not known are left alone: runners pass
// more of them with each version.
func parseBoot(args []string) (b bootArgs) {
	values := map[string]string{}
	for i := 0; i < len(args); i++ {
		name, dashed := strings.CutPrefix(args[i], "-")
		if !dashed {
			continue
		}
		name, value, inOne := strings.Cut(strings.TrimPrefix(name, "-"), "=")
		if next := i + 1; !inOne && next < len(args) && !strings.HasPrefix(args[next], "-") {
			value, i = args[next], next
		}
		values[name] = value
	}
	is := func(name string) bool { v, ok := values[name]; return ok && v != "false" }
	b = bootArgs{
		booted: is("provision_endpoint"), worker: is("worker") && is("control_endpoint"), pool: is("worker_pool"),
		id: values["id"], provision: values["provision_endpoint"],
		logging: values["logging_endpoint"], control: values["control_endpoint"], options: values["options"],
	}
	return b
}

// provisionWait is for how long a runner's provision service is asked.
const provisionWait = time.Minute

// optionsEnv names the file that has the worker's options, as with Beam's boot
// program; oursEnv says that the worker is to remove it.
const (
	optionsEnv = "PIPELINE_OPTIONS_FILE"
	oursEnv    = "MILLRACE_BEAM_OPTIONS"
)

// bootWorker asks the runner for the worker's options and becomes the worker.
// What goes wrong is also sent to the runner's log: it throws away what a process
// says to stderr.
func bootWorker(args bootArgs) error {
	ctx := grpcx.WriteWorkerID(context.Background(), args.id)
	err := provision(ctx, &args)
	if err == nil {
		err = become(args)
	}
	if args.logging != "" {
		logger := &tools.Logger{Endpoint: args.logging}
		logger.Errorf(ctx, "millrace-beam worker %s: %v", args.id, err)
		logger.Close()
	}
	return err
}

// provision completes args with what the runner says.
func provision(ctx context.Context, args *bootArgs) error {
	if args.id == "" {
		return errors.New("started with --provision_endpoint and no --id; it is for runners to start workers, see millrace-beam --help")
	}
	ctx, cancel := context.WithTimeout(ctx, provisionWait)
	defer cancel()
	info, err := tools.ProvisionInfo(ctx, args.provision)
	if err != nil {
		return fmt.Errorf("the runner's provision service at %s: %w", args.provision, err)
	}
	if url := info.GetLoggingEndpoint().GetUrl(); url != "" {
		args.logging = url
	}
	if url := info.GetControlEndpoint().GetUrl(); url != "" {
		args.control = url
	}
	if args.control == "" {
		return fmt.Errorf("the runner says no control endpoint: neither by --control_endpoint nor by the provision service at %s", args.provision)
	}
	return keepOptions(info)
}

// keepOptions leaves the options for the worker: in a file, since arguments and
// the environment show in the list of processes, and options may hold secrets.
func keepOptions(info *fnpb.ProvisionInfo) error {
	options, err := tools.ProtoToJSON(info.GetPipelineOptions())
	if err != nil {
		return fmt.Errorf("the options of the pipeline: %w", err)
	}
	file, err := os.CreateTemp("", "millrace-beam-options-*.json")
	if err != nil {
		return fmt.Errorf("the options of the pipeline: %w", err)
	}
	_, err = file.WriteString(options)
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("the options of the pipeline: %w", err)
	}
	for name, value := range map[string]string{
		optionsEnv: file.Name(), oursEnv: file.Name(),
		"RUNNER_CAPABILITIES": strings.Join(info.GetRunnerCapabilities(), " "),
		"STATUS_ENDPOINT":     info.GetStatusEndpoint().GetUrl(),
	} {
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	return nil
}

// become replaces this process by the worker, which keeps its id, by which the
// runner ends it.
func become(args bootArgs) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	err = syscall.Exec(self, []string{
		self, "--worker=true", "--id=" + args.id, "--logging_endpoint=" + args.logging, "--control_endpoint=" + args.control,
	}, os.Environ())
	return fmt.Errorf("%s cannot start itself as a worker: %w", self, err)
}

// runWorker does the runner's work until it has no more. The SDK's own worker
// mode would then stay for good, with the engines open.
func runWorker(args bootArgs) error {
	beamlog.SetLogger(stderrLog{}) // until the harness has the runner's
	slog.SetDefault(slog.New(newRunnerLog()))
	if err := importOptions(args.options); err != nil {
		return err
	}
	sdk.Init()
	ctx, cancel := context.WithCancel(grpcx.WriteWorkerID(context.Background(), args.id))
	defer cancel()
	return harness.MainWithOptions(ctx, args.logging, args.control, harness.Options{
		RunnerCapabilities: strings.Fields(os.Getenv("RUNNER_CAPABILITIES")),
		StatusEndpoint:     os.Getenv("STATUS_ENDPOINT"),
	})
}

// importOptions gives the SDK the options of the pipeline.
func importOptions(options string) error {
	if path := os.Getenv(optionsEnv); path != "" {
		text, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("the options of the pipeline: %w", err)
		}
		if os.Getenv(oursEnv) == path {
			os.Remove(path)
		}
		options = string(text)
	}
	if options == "" {
		return nil
	}
	var wrapped runtime.RawOptionsWrapper
	if err := json.Unmarshal([]byte(options), &wrapped); err != nil {
		return fmt.Errorf("the options of the pipeline: %w", err)
	}
	runtime.GlobalOptions.Import(wrapped.Options)
	return nil
}

// poolPort is where a pool of workers listens, as Beam's containers do.
const poolPort = 50000

// runPool starts workers for a runner's environment of the kind EXTERNAL.
func runPool() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	p, err := pool.New(context.Background(), poolPort, self)
	if err != nil {
		return fmt.Errorf("the pool of workers: %w", err)
	}
	return p.ServeAndWait()
}
