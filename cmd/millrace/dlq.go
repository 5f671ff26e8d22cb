package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/millrace/millrace/deploy/engines"
	"github.com/millrace/millrace/deploy/project"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/broker"
	"github.com/millrace/millrace/streams/pipeline"
)

type dlqCmd struct {
	List dlqListCmd `cmd:"" help:"List the dead letters, and count them by reason."`
	Show dlqShowCmd `cmd:"" help:"Show what is known of one event, its bytes included."`
}

func (dlqCmd) Help() string {
	return `An event that cannot be applied, as one that is not JSON or lies in the future, stops nothing: it is set aside as a dead letter, with the reason and its bytes, in the topic PROJECT.deadletters.`
}

type dlqListCmd struct {
	projectFlag
	View   string `placeholder:"VIEW" help:"Only those of this view."`
	Reason string `placeholder:"REASON" help:"Only those with this reason, as too_late."`
	Limit  int    `placeholder:"N" default:"20" help:"List the newest N; all are counted. The default is 20, and 0 lists all."`
	JSON   bool   `help:"Print a JSON object: {\"total\", \"reasons\", \"dead_letters\"}; keys and values are base64."`
}

func (dlqListCmd) Help() string {
	return `Works while the project runs and when it does not.

Examples:

	millrace dlq list
	millrace dlq list --reason too_late --limit 0
	millrace dlq show orders/2/17`
}

type dlqShowCmd struct {
	projectFlag
	Position string `arg:"" placeholder:"TOPIC/PARTITION/OFFSET" help:"Where the event lies, as dlq list prints it: TOPIC/PARTITION/OFFSET."`
	JSON     bool   `help:"Print a JSON object: {\"dead_letters\": [...]}; keys and values are base64."`
}

func (dlqShowCmd) Help() string {
	return `Example:

	millrace dlq show orders/2/17`
}

// A letterList is the answer of dlq list and dlq show.
type letterList struct {
	Total   *int                 `json:"total,omitempty"`
	Reasons map[string]int       `json:"reasons,omitempty"`
	Letters []streams.DeadLetter `json:"dead_letters"`
}

func (c *dlqListCmd) Run(ctx context.Context, a *app) error {
	if c.Limit < 0 {
		return usagef("--limit %d: give a number of dead letters, or 0 for all", c.Limit)
	}
	total, out := 0, letterList{Reasons: map[string]int{}, Letters: []streams.DeadLetter{}}
	err := eachLetter(ctx, a, c.projectFlag, func(d streams.DeadLetter) {
		if c.View != "" && c.View != d.View || c.Reason != "" && c.Reason != d.Reason {
			return
		}
		total++
		out.Reasons[d.Reason]++
		out.keep(d, c.Limit, c.JSON)
	})
	if err != nil {
		return err
	}
	out.Total = &total
	if c.JSON {
		return a.printJSON(out)
	}
	return out.print(a.stdout)
}

// keep adds a letter and forgets the oldest one where there are more than limit,
// which is 0 for none. The bytes of the event, which may be 11 MiB, are kept
// only where whole is set.
func (l *letterList) keep(d streams.DeadLetter, limit int, whole bool) {
	if !whole {
		d.Key, d.Value = nil, nil
	}
	l.Letters = append(l.Letters, d)
	if limit > 0 && len(l.Letters) > limit {
		l.Letters[0] = streams.DeadLetter{} // append copies the others now and then only
		l.Letters = l.Letters[1:]
	}
}

func (l *letterList) print(w io.Writer) error {
	if len(l.Letters) == 0 {
		_, err := fmt.Fprintln(w, "no dead letters")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ARRIVED\tVIEW\tPOSITION\tREASON\tERROR")
	for _, d := range l.Letters {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", arrived(d), cmp.Or(d.View, "(all)"), position(d), d.Reason, oneLine(d.Error, 100))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "\n%s:", count(int64(*l.Total), "dead letter"))
	for _, reason := range slices.Sorted(maps.Keys(l.Reasons)) {
		fmt.Fprintf(w, " %d %s", l.Reasons[reason], reason)
	}
	if more := *l.Total - len(l.Letters); more > 0 {
		fmt.Fprintf(w, "; %d older not listed, see --limit", more)
	}
	_, err := fmt.Fprintln(w)
	return err
}

func (c *dlqShowCmd) Run(ctx context.Context, a *app) error {
	want, err := parsePosition(c.Position)
	if err != nil {
		return err
	}
	out := letterList{Letters: []streams.DeadLetter{}}
	err = eachLetter(ctx, a, c.projectFlag, func(d streams.DeadLetter) {
		if (streams.Position{Topic: d.Topic, Partition: d.Partition, Offset: d.Offset}) == want {
			out.Letters = append(out.Letters, d)
		}
	})
	if err != nil {
		return err
	}
	if len(out.Letters) == 0 {
		return fmt.Errorf("there is no dead letter %s; dlq list shows those that there are", c.Position)
	}
	if c.JSON {
		return a.printJSON(out)
	}
	for i, d := range out.Letters {
		if i > 0 {
			fmt.Fprintln(a.stdout)
		}
		if err := showLetter(a.stdout, d); err != nil {
			return err
		}
	}
	return nil
}

func showLetter(w io.Writer, d streams.DeadLetter) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "position\t%s\narrived\t%s\nstage\t%s\nview\t%s\nreason\t%s\nerror\t%s\n",
		position(d), arrived(d), d.Stage, cmp.Or(d.View, "(all)"), d.Reason, oneLine(d.Error, 4<<10))
	fmt.Fprintf(t, "key\t%s\nvalue\t%s\n", readable(d.Key), readable(d.Value))
	return t.Flush()
}

func position(d streams.DeadLetter) string {
	return fmt.Sprintf("%s/%d/%d", d.Topic, d.Partition, d.Offset)
}

// parsePosition reads TOPIC/PARTITION/OFFSET. A topic's name has no slash.
func parsePosition(s string) (p streams.Position, err error) {
	parts := strings.Split(s, "/")
	if len(parts) == 3 {
		p.Topic = parts[0]
		p.Partition, err = strconv.Atoi(parts[1])
		if err == nil {
			p.Offset, err = strconv.ParseInt(parts[2], 10, 64)
		}
	}
	if len(parts) != 3 || err != nil {
		return p, usagef("%q is not TOPIC/PARTITION/OFFSET, as orders/2/17", s)
	}
	return p, nil
}

func arrived(d streams.DeadLetter) string {
	return time.UnixMicro(d.Arrival).UTC().Format("2006-01-02 15:04:05Z")
}

// readable shows bytes to people: as they are, or quoted where a terminal would
// be confused by them.
func readable(b []byte) string {
	switch s := string(b); {
	case b == nil:
		return "(none)"
	case utf8.Valid(b) && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return s
	default:
		return strconv.Quote(s)
	}
}

// oneLine shortens a text for a table.
func oneLine(s string, most int) string {
	s = readable([]byte(s))
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return s
}

// eachLetter calls do for each dead letter of a project.
func eachLetter(ctx context.Context, a *app, flag projectFlag, do func(streams.DeadLetter)) error {
	p, err := flag.load()
	if err != nil {
		return err
	}
	cluster, done, err := visit(ctx, p, a.log)
	if err != nil {
		return err
	}
	defer done()
	return readLetters(ctx, cluster, pipeline.DeadLetters(p.Name), lettersPatience, a.log, do)
}

// lettersPatience is for how long dead letters are waited for. A Kafka at work
// has the next ones within milliseconds.
const lettersPatience = 10 * time.Second

// readLetters calls do for each dead letter of a topic. It fails when none comes
// for as long as patience.
func readLetters(ctx context.Context, cluster *streams.Cluster, topic string, patience time.Duration, log *slog.Logger, do func(streams.DeadLetter)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	late := time.AfterFunc(patience, func() {
		cancel(fmt.Errorf("dead letters: Kafka gave no more of topic %s for %v; see whether it runs, and try again", topic, patience))
	})
	defer late.Stop()
	for d, err := range streams.ReadDeadLetters(ctx, cluster, topic) {
		late.Reset(patience)
		switch {
		case errors.Is(err, streams.ErrNoTopic):
			return nil // nothing has run yet
		case errors.Is(err, streams.ErrBadDeadLetter):
			log.Warn("a record of the topic of dead letters is not one", "error", err)
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			return err
		default:
			do(d)
		}
	}
	return nil
}

// visit connects to the log of a project as a guest: to its Kafka, or to the
// embedded broker of the process that runs it, or, where none does, to one on
// the same directory for as long as this command takes.
func visit(ctx context.Context, p *project.Project, log *slog.Logger) (c *streams.Cluster, done func(), err error) {
	if !p.Kafka.Embedded() {
		if c, err = engines.Cluster(ctx, p.Kafka); err != nil {
			return nil, nil, err
		}
		return c, c.Close, nil
	}
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(p.Kafka.EmbeddedPort))
	if conn, err := net.DialTimeout("tcp", address, time.Second); err == nil {
		conn.Close()
		c, err := engines.Cluster(ctx, at(address))
		if err != nil {
			return nil, nil, err
		}
		return c, c.Close, isOurs(ctx, c, p, address)
	}
	if _, err := os.Stat(p.BrokerDir()); err != nil {
		return nil, nil, fmt.Errorf(`there is no log in %s yet; start "millrace run" first`, p.BrokerDir())
	}
	b, err := broker.Start(broker.Options{Dir: p.BrokerDir(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, nil, err
	}
	if c, err = engines.Cluster(ctx, at(b.Addr())); err != nil {
		b.Close()
		return nil, nil, err
	}
	return c, func() {
		c.Close()
		if err := b.Close(); err != nil {
			log.Warn("the log was not closed in order", "error", err)
		}
	}, nil
}

// isOurs refuses the embedded broker of another project on the same port.
func isOurs(ctx context.Context, c *streams.Cluster, p *project.Project, address string) error {
	topic := p.Sources[0].Topic
	_, err := c.Partitions(ctx, topic)
	if errors.Is(err, streams.ErrNoTopic) {
		return fmt.Errorf("the broker on %s has no topic %s: it may be another project's; stop that one, or give this one its own kafka.embedded_port", address, topic)
	}
	return err
}
