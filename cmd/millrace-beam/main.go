// Millrace-beam runs the pipeline of a project on a Flink cluster, through Apache
// Beam, where one machine is not enough. It is a program of its own, so that Beam
// stays out of millrace; the workers on the cluster are this program, too. Each
// file here is one command, flags and wiring only; worker.go opens the engines.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"reflect"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/millrace/millrace/deploy/project"
	"github.com/millrace/millrace/streams/pipeline/beam"
)

// The codes that a command ends with, as those of millrace.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2 // wrong usage or configuration
)

type cli struct {
	LogLevel slog.Level `placeholder:"LEVEL" help:"Least level of what is logged to stderr, and by the workers to the log of the runner: debug, info, warn or error. The default is info." env:"MILLRACE_LOG_LEVEL"`

	Run      runCmd      `cmd:"" help:"Run the pipeline of a project on a cluster."`
	Backfill backfillCmd `cmd:"" help:"Fill rows as a job that ends."`
	Status   statusCmd   `cmd:"" help:"Say how the job of a project is."`
	Stop     stopCmd     `cmd:"" help:"Stop the job of a project."`
	Version  versionCmd  `cmd:"" help:"Print the version, and which Beam and Flink it works with."`
}

// stopLimit is for how long a command may take to end after a signal. Nothing is
// lost where it is cut off: all that counts is committed or acknowledged.
const stopLimit = 4500 * time.Millisecond

const description = `Millrace-beam runs the pipeline of a project on a Flink cluster, through Apache
Beam: the same project file as with millrace, where one machine is not enough. To
begin, with a cluster and Beam's job server on this machine:

	millrace-beam run -p shop/project.yaml --parallelism 2

Exit status: 0 done, 1 failed, 2 wrong usage or configuration.`

// projectFlag is the flag of every command that works on a project.
type projectFlag struct {
	Project string `short:"p" placeholder:"FILE" default:"project.yaml" env:"MILLRACE_PROJECT" help:"The project file. The default is project.yaml here."`
}

// load reads the project file. What is wrong with it is a usageError.
func (f projectFlag) load() (*project.Project, error) {
	p, err := project.Load(f.Project)
	if err != nil {
		return nil, usageError{err}
	}
	return p, nil
}

// jobFlags name a job on a cluster.
type jobFlags struct {
	REST string `placeholder:"URL" default:"http://127.0.0.1:8081" env:"MILLRACE_FLINK_REST" help:"Flink's REST service. The default is http://127.0.0.1:8081."`
	Name string `placeholder:"NAME" help:"The name of the job. The default is millrace- and the name of the project."`
}

func (f jobFlags) name(p *project.Project) string {
	if f.Name != "" {
		return f.Name
	}
	return "millrace-" + p.Name
}

func (f jobFlags) flink() (*beam.Flink, error) {
	flink, err := beam.NewFlink(f.REST)
	if err != nil {
		return nil, usageError{err}
	}
	return flink, nil
}

// A usageError is what the user has to set otherwise: flags or the project file.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// An app is the process around a command.
type app struct {
	stdout io.Writer
	log    *slog.Logger
	level  slog.Level
}

// printJSON prints v for machines: one object, on one line.
func (a *app) printJSON(v any) error {
	e := json.NewEncoder(a.stdout)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

func main() {
	beam.Open, beam.OpenPlan = openWorker, openPlan
	beam.Boot()
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	ctx, stop := untilSignal()
	defer stop()
	var c cli
	parser := kong.Must(&c,
		kong.Name("millrace-beam"),
		kong.Description(description),
		kong.ConfigureHelp(kong.HelpOptions{NoExpandSubcommands: true, WrapUpperBound: 100}),
		kong.TypeMapper(reflect.TypeFor[slog.Level](), kong.MapperFunc(decodeLevel)),
		kong.BindTo(ctx, (*context.Context)(nil)),
	)
	if len(args) == 0 {
		parser.Stdout, parser.Exit = os.Stderr, func(int) {}
		_, _ = parser.Parse([]string{"--help"})
		return exitUsage
	}
	command, err := parser.Parse(args)
	if err != nil {
		return fail(usagef("%w; see millrace-beam --help", err))
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: c.LogLevel}))
	slog.SetDefault(log) // Beam's
	return fail(command.Run(&app{os.Stdout, log, c.LogLevel}))
}

// untilSignal returns a context that ends with the first SIGINT or SIGTERM, for
// the command to end in order. A second one ends the process at once, and so
// does the end of stopLimit.
func untilSignal() (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		if _, ok := <-signals; !ok {
			return
		}
		cancel()
		late := time.NewTimer(stopLimit)
		defer late.Stop()
		select {
		case _, ok := <-signals:
			if !ok {
				return
			}
			fmt.Fprintln(os.Stderr, "millrace-beam: ended at once; what was not committed is read again at the next start")
		case <-late.C:
			fmt.Fprintf(os.Stderr, "millrace-beam: not everything had stopped %v after the signal; what was not committed is read again at the next start\n", stopLimit)
		}
		os.Exit(exitFailed)
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(signals)
		cancel()
	}
}

// fail says what went wrong, if anything did, and returns the exit status.
func fail(err error) int {
	if err == nil {
		return exitDone
	}
	fmt.Fprintf(os.Stderr, "millrace-beam: %v\n", err)
	if errors.As(err, new(usageError)) {
		return exitUsage
	}
	return exitFailed
}

func decodeLevel(ctx *kong.DecodeContext, target reflect.Value) error {
	var text string
	if err := ctx.Scan.PopValueInto("level", &text); err != nil {
		return err
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(text)); err != nil {
		return fmt.Errorf("%q is none of debug, info, warn and error", text)
	}
	target.Set(reflect.ValueOf(level))
	return nil
}
