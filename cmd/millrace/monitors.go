package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"text/tabwriter"
	"time"

	"github.com/millrace/millrace/deploy/alarms"
	"github.com/millrace/millrace/deploy/lookout"
	"github.com/millrace/millrace/feedback/monitor"
)

type monitorsCmd struct {
	Alarms monitorsAlarmsCmd `cmd:"" help:"List the alarms."`
	Ack    monitorsAckCmd    `cmd:"" help:"Acknowledge an alarm."`
	Show   monitorsShowCmd   `cmd:"" help:"Show how each monitor of a model stands."`
	Test   monitorsTestCmd   `cmd:"" help:"Measure how often monitors raise a false alarm, beside what is stated."`
}

func (monitorsCmd) Help() string {
	return `A model's monitors watch what it sees, says and is told. "millrace run" and "millrace dash" keep them:

	drift     the distribution of a feature, of scores or of labels over the window, against that of the reference: what the serving version learned from, or for labels the time before the window
	std       the deviation of a series (unit means of scores, of labels, and of the features in monitor.std) over the window, against that of the time before it
	quality   the loss of what was answered, against that of the base rate known at the time

False alarms are a contract: monitor.false_alarms says how many of all these together you put up with while nothing changes, and the thresholds follow from it. They are found on stretches of time that are put together from blocks of the reference.`
}

type monitorsAlarmsCmd struct {
	projectFlag
	Model string `arg:"" optional:"" placeholder:"MODEL" help:"Only this model's."`
	Open  bool   `help:"Only those that are not over."`
	Limit int    `default:"50" placeholder:"N" help:"At most so many, the newest; the default is 50."`
	JSON  bool   `help:"Print a JSON array."`
}

func (monitorsAlarmsCmd) Help() string {
	return `Needs no server: it reads alarms.db in the project's data. Times are event times, the ends of the units of time at which a monitor was looked at.

Examples:

	millrace monitors alarms --open
	millrace monitors alarms big_move --json`
}

func (c *monitorsAlarmsCmd) Run(ctx context.Context, a *app) error {
	if c.Limit < 1 || c.Limit > alarms.MaxList {
		return usagef("--limit %d: give 1 to %d", c.Limit, alarms.MaxList)
	}
	book, err := c.book()
	if err != nil {
		return err
	}
	found := []alarms.Entry{}
	if book != nil {
		defer book.Close()
		if found, err = book.List(ctx, alarms.Filter{Model: c.Model, Open: c.Open, Limit: c.Limit}); err != nil {
			return err
		}
	}
	if c.JSON {
		return a.printJSON(found)
	}
	if len(found) == 0 {
		_, err := fmt.Fprintln(a.stdout, "no alarms")
		return err
	}
	t := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ONSET\tOVER\tACKNOWLEDGED\tALARM\tID")
	for _, e := range found {
		over, by := "open", "no"
		if e.Over != 0 {
			over = day(e.Over)
		}
		if !e.Acknowledged.IsZero() {
			by = "by " + e.Who
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", day(e.Onset), over, by, e.Text, e.ID)
	}
	return t.Flush()
}

// day writes a time of the log to the minute.
func day(micros int64) string { return time.UnixMicro(micros).UTC().Format("2006-01-02 15:04") }

// book opens the project's book of alarms, or returns nil where there is none yet:
// looking makes no file.
func (f projectFlag) book() (*alarms.Book, error) {
	p, err := f.load()
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(p.AlarmsFile()); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return alarms.Open(p.AlarmsFile())
}

type monitorsAckCmd struct {
	projectFlag
	ID string `arg:"" placeholder:"ID" help:"The alarm, as \"millrace monitors alarms\" names it."`
	reviewer
	Comment string `placeholder:"TEXT" help:"What is being done about it, for the others."`
}

func (c *monitorsAckCmd) Run(ctx context.Context, a *app) error {
	who, err := c.name()
	if err != nil {
		return err
	}
	book, err := c.book()
	if err != nil {
		return err
	}
	if book == nil {
		return errors.New(`there are no alarms yet; "millrace run" and "millrace dash" keep the monitors`)
	}
	defer book.Close()
	if err := book.Acknowledge(ctx, c.ID, who, c.Comment); err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.stdout, "%s has acknowledged %s\n", who, c.ID)
	return err
}

// caughtUp gives do the monitors of a model, when they have read all that the log
// has. Alarms are written nowhere.
func caughtUp(ctx context.Context, a *app, f projectFlag, model string, do func(*monitor.Fleet) error) error {
	p, err := f.load()
	if err != nil {
		return err
	}
	m := p.Model(model)
	if m == nil {
		return usagef("the project has no model %q", model)
	}
	if m.Monitor.Off {
		return usagef("model %s is not monitored: monitor: off in the project file", model)
	}
	return withLoop(ctx, a, p, func(e *opened) error {
		l, err := lookout.New(lookout.Config{
			Project: p.Name, Models: []lookout.Model{{Model: m.Monitored(), Config: m.Monitor.Config}},
			Cluster: e.cluster, Registry: e.registry, Log: a.log,
		})
		if err != nil {
			return err
		}
		defer l.Close()
		bar := newProgress(a.stderr, 0)
		for more := true; more; {
			if more, err = l.Step(ctx); err != nil {
				return err
			}
			read, of := l.Progress()
			bar.total = of
			bar.show(read, read)
		}
		bar.clear()
		l.View(model, func(fleet *monitor.Fleet) { err = do(fleet) })
		return err
	})
}

type monitorsShowCmd struct {
	projectFlag
	Model string `arg:"" placeholder:"MODEL" help:"The model."`
	JSON  bool   `help:"Print a JSON array."`
}

func (monitorsShowCmd) Help() string {
	return `Reads the log from its beginning, as the monitors do when they start. "millrace run" may work at the same time.

VALUE is the distance that is watched, or of a deviation its ratio to the reference's; an alarm is raised beyond THRESHOLD (of a deviation also below the lower one), and a ratio has to be beyond monitor.factor, too. A dash is no value, or no threshold: there is nothing to compare with yet, or no threshold would keep to the stated rate.`
}

func (c *monitorsShowCmd) Run(ctx context.Context, a *app) error {
	return caughtUp(ctx, a, c.projectFlag, c.Model, func(f *monitor.Fleet) error {
		readings := f.Readings()
		if c.JSON {
			return a.printJSON(readings)
		}
		t := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(t, "MONITOR\tCOLUMN\tSTATE\tVALUE\tTHRESHOLD\tROWS\tREFERENCE\tAS OF")
		for _, r := range readings {
			at := "-"
			if r.Look != 0 {
				at = day(r.Look)
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%d\t%d\t%s\n", r.Kind, r.Column, r.State, ifAny(r.Value), ifAny(r.Threshold), r.Rows, r.Reference, at)
		}
		return t.Flush()
	})
}

// ifAny writes a number, and a dash for what is none: there is no value, or no
// threshold that keeps to the stated rate.
func ifAny(x float64) string {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return "-"
	}
	return fmt.Sprintf("%.4g", x)
}

type monitorsTestCmd struct {
	projectFlag
	Model     string `arg:"" placeholder:"MODEL" help:"The model."`
	Stretches int    `default:"1000" placeholder:"N" help:"How many stretches of time; the default is 1000."`
	Seed      uint64 `default:"1" placeholder:"N" help:"Another seed, other stretches."`
	JSON      bool   `help:"Print a JSON object."`
}

func (monitorsTestCmd) Help() string {
	return `Puts together stretches of time in which nothing changes, from blocks of the newest reference and with another seed than the thresholds were found with, runs all monitors over them, and counts those with an alarm. The share should be what monitor.false_alarms states, within what chance does to so many stretches.

Example:

	millrace monitors test big_move --stretches 5000`
}

func (c *monitorsTestCmd) Run(ctx context.Context, a *app) error {
	if c.Stretches < 100 || c.Stretches > 1_000_000 {
		return usagef("--stretches %d: give 100 to 1000000", c.Stretches)
	}
	return caughtUp(ctx, a, c.projectFlag, c.Model, func(f *monitor.Fleet) error {
		t, err := f.MeasureFalse(ctx, c.Stretches, c.Seed)
		if err != nil {
			return err
		}
		if c.JSON {
			return a.printJSON(t)
		}
		_, err = fmt.Fprintf(a.stdout, "%d of %d stretches of %s in which nothing changes have an alarm of any of %d monitors: %.1f %%.\nStated are %.1f %%; the 95 %% interval of the measured share is %.1f to %.1f %%.\n",
			t.Alarmed, t.Stretches, length(t.Length), t.Monitors, 100*float64(t.Alarmed)/float64(t.Stretches), 100*t.Stated, 100*t.Lo, 100*t.Hi)
		return err
	})
}

// length writes a length of time in days where it has some.
func length(d time.Duration) string {
	if d >= 48*time.Hour {
		return fmt.Sprintf("%.4g days", d.Hours()/24)
	}
	return d.String()
}
