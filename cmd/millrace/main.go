// Millrace turns events on Kafka topics into features to look up, and learns from
// what came true to predict. Each file
// here is one command, flags and wiring only; engines.go wires the engines.
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
	"github.com/redis/go-redis/v9/logging"

	"github.com/millrace/millrace/deploy/engines"
	"github.com/millrace/millrace/deploy/project"
)

// The codes that a command ends with.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2 // wrong usage or configuration
)

type cli struct {
	LogLevel slog.Level `placeholder:"LEVEL" help:"Least level of what is logged to stderr: debug, info, warn or error. The default is info." env:"MILLRACE_LOG_LEVEL"`

	Demo     demoCmd     `cmd:"" help:"See thirteen years of stock prices become features, predictions and better models."`
	Init     initCmd     `cmd:"" help:"Write an example project to begin with."`
	Check    checkCmd    `cmd:"" help:"Say what is wrong with a project file."`
	Run      runCmd      `cmd:"" help:"Run a project: pipeline, lake, HTTP server, join, training and rollout in one process."`
	Ingest   ingestCmd   `cmd:"" help:"Send the events of a file to a running server."`
	Features featuresCmd `cmd:"" help:"Look up features from a running server."`
	Dataset  datasetCmd  `cmd:"" help:"Build, describe and check training sets."`
	Models   modelsCmd   `cmd:"" help:"See the versions of models, and decide which serve."`
	Train    trainCmd    `cmd:"" help:"Train and judge candidates only, in one of several processes."`
	Deploy   deployCmd   `cmd:"" help:"Bring approved versions into service only, in one of several processes."`
	Runs     runsCmd     `cmd:"" help:"See the trainings."`
	Monitors monitorsCmd `cmd:"" help:"See alarms and how the monitors of models stand, and measure their false alarms."`
	Whatif   whatifCmd   `cmd:"" help:"Ask what a model would have said, had features other values or windows."`
	Serve    serveCmd    `cmd:"" help:"Serve HTTP only, in one of several processes."`
	Dash     dashCmd     `cmd:"" help:"Serve the page and keep the monitors only, in one of several processes."`
	Pipeline pipelineCmd `cmd:"" help:"Apply events only, in one of several processes."`
	Join     joinCmd     `cmd:"" help:"Join predictions with what came true, in one of several processes, or count them."`
	DLQ      dlqCmd      `cmd:"" name:"dlq" help:"Look at the dead letters: events that could not be applied."`
	Users    usersCmd    `cmd:"" help:"Say who may use the page, and for what."`
	Keys     keysCmd     `cmd:"" help:"Say whose trained models are trusted."`
	Bench    benchCmd    `cmd:"" help:"Measure the speed of this machine."`
	Version  versionCmd  `cmd:"" help:"Print the version."`
}

// stopLimit is for how long a command may take to end after a signal. Nothing is
// lost where it is cut off: all that counts is committed or acknowledged.
const stopLimit = 4500 * time.Millisecond

const description = `Millrace turns events on Kafka topics into features to look up, and learns from
what came true to predict.

A project file says which events there are and which features they become. To
begin:

	millrace init shop
	cd shop
	millrace run

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

// A usageError is what the user has to set otherwise: flags or the project file.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// A command may end with this status after it has itself said why.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// An app is the process around a command.
type app struct {
	stdin          io.Reader
	stdout, stderr *os.File
	log            *slog.Logger
}

// printJSON prints v for machines: one object, on one line.
func (a *app) printJSON(v any) error {
	e := json.NewEncoder(a.stdout)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	ctx, stop := untilSignal()
	defer stop()
	var c cli
	parser := kong.Must(&c,
		kong.Name("millrace"),
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
		return fail(usagef("%w; see millrace --help", err))
	}
	logging.Disable() // the Redis client's own lines on stderr repeat what its errors say
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: c.LogLevel}))
	return fail(command.Run(&app{os.Stdin, os.Stdout, os.Stderr, log}))
}

// untilSignal returns a context that ends with the first SIGINT or SIGTERM, for
// the command to end in order. A second one ends the process at once, and so
// does the end of stopLimit.
func untilSignal() (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	// Kept to the end: the default action, to which one could go back for the
	// second signal, is to ignore it where a shell started us in the background.
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
			fmt.Fprintln(os.Stderr, "millrace: ended at once; what was not committed is read again at the next start")
		case <-late.C:
			fmt.Fprintf(os.Stderr, "millrace: not everything had stopped %v after the signal; what was not committed is read again at the next start\n", stopLimit)
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
	var status exitStatus
	if err == nil {
		return exitDone
	} else if errors.As(err, &status) {
		return int(status)
	}
	fmt.Fprintf(os.Stderr, "millrace: %v\n", err)
	if errors.As(err, new(usageError)) || errors.As(err, new(*engines.SettingError)) {
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
