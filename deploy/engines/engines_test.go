package engines

import (
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/millrace/millrace/deploy/project"
	"github.com/millrace/millrace/streams"
	"github.com/millrace/millrace/streams/broker"
)

const shop = `project: shop
sources:
  orders: {keyed_by: [customer], event_time: at, fields: {customer: string, amount: float, paid: bool, at: time}}
  visits: {keyed_by: [customer], event_time: at, fields: {customer: string, at: time}}
views:
  spend: {source: orders, entity: [customer], features: {sum_30d: {sum: amount, window: 30d}}}
models:
  pays: {task: binary, features: [spend.sum_30d], label: {source: orders, join: next_event, value: paid, horizon: 7d}}
`

func parse(t *testing.T, more string) *project.Project {
	t.Helper()
	p, err := project.Parse(t.TempDir()+"/shop.yaml", []byte(shop+more))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestConfig checks which stages a process of each kind is told to run.
func TestConfig(t *testing.T) {
	own := parse(t, "")
	both := parse(t, "kafka: {addresses: [localhost:9092]}\nstore: {redis: {addresses: [localhost:6379]}}\n")
	for _, c := range []struct {
		p             *project.Project
		does          Part
		plans, labels int
		group         string
		keeps         bool // what it reads stays in the log
	}{
		{own, All, 1, 1, "", true},
		{both, All, 1, 1, "shop", false},
		{both, Views, 1, 0, "shop", false},
		{both, Join, 0, 1, "shop", false},
	} {
		got := Config(c.p, c.does)
		if len(got.Plans) != c.plans || len(got.Labels) != c.labels || got.Group != c.group {
			t.Errorf("part %d: %d plans, %d labels, group %q; want %d, %d, %q", c.does, len(got.Plans), len(got.Labels), got.Group, c.plans, c.labels, c.group)
		}
		if keeps := got.TopicConfig["retention.ms"] == "-1"; keeps != c.keeps {
			t.Errorf("part %d: topics with %v", c.does, got.TopicConfig)
		}
		if len(got.Sources) != 2 || !slices.Equal(got.Unviewed, []string{"visits"}) {
			t.Errorf("part %d: %d sources, without a view are %v", c.does, len(got.Sources), got.Unviewed)
		}
	}
}

// TestCluster opens a broker that is there, and one that is not.
func TestCluster(t *testing.T) {
	b, err := broker.Start(broker.Options{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	c, err := Cluster(t.Context(), project.Kafka{Addresses: []string{b.Addr()}})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close() // a port where nobody listens
	away := ln.Addr().String()
	if _, err = Cluster(t.Context(), project.Kafka{Addresses: []string{away}}); err == nil || !strings.Contains(err.Error(), "no answer from Kafka at "+away+"; start it") {
		t.Errorf("without a broker: %v", err)
	}
}

// TestStore opens the embedded store, of which there is one owner, and asks for
// a password that is not there.
func TestStore(t *testing.T) {
	p := parse(t, "")
	s, err := Store(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if second, err := Store(t.Context(), p); err == nil || second != nil {
		t.Errorf("a second owner got %v, %v", second, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}

	p.Store.Redis = &project.Redis{Addresses: []string{"127.0.0.1:1"}, PasswordEnv: "NO_SUCH_PASSWORD_IS_SET"}
	if _, err := Store(t.Context(), p); !errors.As(err, new(*SettingError)) || !strings.Contains(err.Error(), "NO_SUCH_PASSWORD_IS_SET is not set") {
		t.Errorf("without the password: %v", err)
	}
}

// TestSources opens a project whose topics are missing, and one whose topic was
// made with settings that lose events.
func TestSources(t *testing.T) {
	b, err := broker.Start(broker.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	p := parse(t, "")
	c, err := Cluster(t.Context(), project.Kafka{Addresses: []string{b.Addr()}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var out strings.Builder
	log := slog.New(slog.NewTextHandler(&out, nil))
	if err := Sources(t.Context(), c, p, log); err != nil || out.Len() > 0 {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if n, err := c.Partitions(t.Context(), "visits"); n != p.Sources[1].Partitions || err != nil {
		t.Errorf("topic visits has %d partitions, %v", n, err)
	}
	for i, config := range []map[string]string{{"retention.ms": "7200000"}, {"cleanup.policy": "compact"}} {
		p.Sources[i].Topic += "2"
		if err := c.Ensure(t.Context(), p.Sources[i].Topic, p.Sources[i].Partitions, config); err != nil {
			t.Fatal(err)
		}
	}
	if err := Sources(t.Context(), c, p, log); !errors.Is(err, streams.ErrUnfit) || !strings.Contains(err.Error(), "source visits: ") {
		t.Errorf("with a compacted topic: %v", err)
	}
	if !strings.Contains(out.String(), "level=WARN") || !strings.Contains(out.String(), "source=orders") {
		t.Errorf("the log says %q", out.String())
	}
}
