package project

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/deploy"
	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/feedback"
	"github.com/millrace/millrace/trainer"
	"github.com/millrace/millrace/trainer/eval"
	"github.com/millrace/millrace/trainer/learn"
	"github.com/millrace/millrace/trainer/learn/ftrl"
)

var update = flag.Bool("update", false, "write the messages of testdata/*.bad.yaml to their *.txt")

// TestBadFiles compares the whole message of each faulty file with the text
// beside it.
func TestBadFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/*.bad.yaml")
	if err != nil || len(files) < 25 {
		t.Fatalf("%d faulty files, error %v; want at least 25", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".bad.yaml"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			p, err := Parse(filepath.Base(file), data)
			if err == nil || p != nil {
				t.Fatalf("no error, project %+v", p)
			}
			got, golden := err.Error()+"\n", strings.TrimSuffix(file, ".yaml")+".txt"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
			windows := "\ufeff" + strings.ReplaceAll(string(data), "\n", "\r\n")
			if _, err := Parse(filepath.Base(file), []byte(windows)); err == nil || err.Error()+"\n" != string(want) {
				t.Errorf("with a byte order mark and \\r\\n, got:\n%v\nwant:\n%s", err, want)
			}
		})
	}
}

// inGo is testdata/example.yaml, in Go.
func inGo(t *testing.T) *Project {
	t.Helper()
	var fields []features.Field
	for _, f := range [][2]string{{"symbol", "string"}, {"row", "int"}, {"open", "float"}, {"close", "float"}, {"volume", "int?"}} {
		field, err := features.ParseField(f[0], f[1])
		if err != nil {
			t.Fatal(err)
		}
		fields = append(fields, field)
	}
	const day = 24 * time.Hour
	return &Project{
		Name:    "stocks",
		Clock:   features.EventClock,
		DataDir: "testdata/state",
		Kafka:   Kafka{Addresses: []string{"localhost:9092", "[::1]:9093"}},
		Store:   Store{Redis: &Redis{Addresses: []string{"localhost:6379"}, Username: "millrace", PasswordEnv: "REDIS_PASSWORD", TLS: TLS{On: true}}},
		Lake:    Lake{Dir: "/var/lib/millrace/lake"},
		HTTP:    HTTP{Listen: ":8080", MaxBodyBytes: 64_000},
		Sources: []features.Source{{
			Name: "prices", Topic: "daily.prices", KeyedBy: []string{"symbol"}, Format: "csv", EventTime: "time", ID: "row",
			Dedup: 36 * time.Hour, Lateness: day, MaxAhead: 90 * time.Minute, MaxJump: 60 * day, Partitions: 8, AllowNonfinite: true,
			Fields: fields,
		}},
		Views: []features.View{{
			Name: "daily", Source: "prices", Entity: []string{"symbol"}, Where: "volume > 0",
			Derive: []features.Named{{Name: "ret", Expr: "log(close / open)"}, {Name: "big", Expr: "abs(ret)\n  > 0.02"}},
			Features: []features.Feature{
				{Name: "ret_mean_30d", Agg: "mean", Of: "ret", Window: features.Window{Size: 30 * day}},
				{Name: "ret_std_30d", Agg: "std", Of: "ret", Window: features.Window{Size: 30 * day, Hop: day}},
				{Name: "days_30d", Agg: "count", Of: "*", Window: features.Window{Size: 30 * day}},
				{Name: "max_exact", Agg: "max", Of: "close", Window: features.Window{Size: 7 * day, Exact: true, MaxValues: 100}},
				{Name: "ever", Agg: "sum", Of: "volume", Window: features.Window{Kind: features.Lifetime}},
				{Name: "hour", Agg: "last", Of: "close", Window: features.Window{Kind: features.Tumbling, Size: time.Hour, Offset: 15 * time.Minute, Open: true}},
			},
			OnDemand: []features.Named{{Name: "ret_z", Expr: "(request.ret - ret_mean_30d) / ret_std_30d"}},
		}},
		Models: []Model{{
			Model: trainer.Model{
				Name: "big_move", Task: learn.Binary,
				Label: feedback.Label{
					Source: "prices", Join: feedback.NextEvent, Value: "abs(close / open - 1.0) >= 0.02", Horizon: 10 * day, Grace: day / 2,
				},
				Learners: []trainer.Learner{{FTRL: &ftrl.Params{Alpha: 0.05, Beta: 2, L1: 0.5, L2: 1, HashBits: 12, Epochs: 3}}},
				Train:    trainer.Schedule{Every: 500, AtMost: 2, Per: day, Window: 10_000},
				Gate: eval.Gate{
					Rows: 800, Confidence: 0.9, Margin: 0.001, Tolerance: 0.05, Slices: []string{"symbol"}, MinSlice: 50,
					Block: 15 * day, Periods: 10, Replicates: 500, Seed: 3, PerYear: 2,
				},
			},
			Features:  []string{"daily.ret_mean_30d", "daily.ret_std_30d", "daily.ret_z"},
			Reviewers: []string{"ann", "bo"},
			Rollout:   deploy.Steps{Shadow: 50, Watch: 500, WorseBy: 0.01, Confidence: 0.99},
		}},
	}
}

// TestFileAndGoValues loads a file with every key and compares it with the same
// project in Go, plans included.
func TestFileAndGoValues(t *testing.T) {
	got, err := Load("testdata/example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := inGo(t)
	if err := want.Check(); err != nil {
		t.Fatal(err)
	}
	if len(got.Plans) != 1 || len(want.Plans) != 1 || got.Plan("daily").ID != want.Plan("daily").ID {
		t.Errorf("plans %v and %v differ", got.Plans, want.Plans)
	}
	m := got.Model("big_move")
	if m == nil || len(m.Inputs) != 3 || m.Inputs[2].Name != "daily.ret_z" || m.Inputs[2].Fingerprint == "" || m.Labeler == nil || len(m.Entity) != 1 {
		t.Fatalf("the model is not resolved: %+v", m)
	}
	got.Plans, want.Plans = nil, nil
	m.Labeler, want.Models[0].Labeler = nil, nil // a program, which has no equality
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestDefaults(t *testing.T) {
	p, err := Load("testdata/smallest.yaml")
	if err != nil {
		t.Fatal(err)
	}
	plan := p.Plan("orders_of_customer")
	if p.Clock != features.WallClock || p.DataDir != "testdata/data" || !p.Lake.Off || p.Lake.Dir != "" || p.Store.Redis != nil {
		t.Errorf("got %+v", p)
	}
	if !p.Kafka.Embedded() || p.Kafka.EmbeddedPort != 9192 || p.HTTP != (HTTP{Listen: "127.0.0.1:8765", MaxBodyBytes: 1 << 20}) {
		t.Errorf("got %+v, %+v", p.Kafka, p.HTTP)
	}
	if p.BrokerDir() != "testdata/data/broker" || p.StoreDir() != "testdata/data/store" {
		t.Errorf("directories %s and %s", p.BrokerDir(), p.StoreDir())
	}
	// Who reads a topic without a view needs the same defaults as the plan has.
	of := plan.Source
	of.Fields = p.Sources[0].Fields
	if !reflect.DeepEqual(p.Sources[0], of) {
		t.Errorf("source %+v, in the plan %+v", p.Sources[0], of)
	}
	with, err := Parse("elsewhere/p.yaml", []byte(strings.Replace(smallest(t), "lake: off", "kafka: {}", 1)))
	if err != nil || with.Lake.Dir != "elsewhere/data/lake" {
		t.Errorf("lake %+v, error %v", with, err)
	}
}

func smallest(t testing.TB) string {
	t.Helper()
	data, err := os.ReadFile("testdata/smallest.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestCheckGoValues finds in Go values what a file cannot say, and what it can.
func TestCheckGoValues(t *testing.T) {
	p := inGo(t)
	p.Name, p.Clock = "", 7
	p.Sources = append(p.Sources, p.Sources[0])
	p.Sources[0].Fields[1] = features.Field{Name: "row"}
	p.Views = append(p.Views, p.Views[0])
	p.Lake.Off = true
	p.HTTP.MaxBodyBytes = -1
	err := p.Check()
	var faults *Error
	if !errors.As(err, &faults) || p.Plans != nil {
		t.Fatalf("error %v, plans %v", err, p.Plans)
	}
	for _, want := range []string{
		"project: project: missing; give a name, as shop",
		"project: clock: 7: give features.WallClock or features.EventClock",
		"project: sources.prices: another source has that name; rename one",
		"project: sources.prices.fields.row: has no type; make it with features.ParseField",
		"project: views.daily: another view has that name; rename one",
		"project: lake: is off and has a directory; remove one of the two",
		"project: http.max_body: -1 bytes: give 1KiB to 64MiB",
	} {
		if !strings.Contains(err.Error()+"\n", want+"\n") {
			t.Errorf("no %q in:\n%v", want, err)
		}
	}
}

func TestLoadReads(t *testing.T) {
	if _, err := Load("testdata/absent.yaml"); err == nil || !strings.Contains(err.Error(), "there is no testdata/absent.yaml") {
		t.Errorf("absent file: %v", err)
	}
	large := filepath.Join(t.TempDir(), "large.yaml")
	if err := os.WriteFile(large, []byte(smallest(t)+strings.Repeat("#\n", maxFileBytes/2)), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(large); err == nil || !strings.Contains(err.Error(), "more than 1048576 bytes") {
		t.Errorf("large file: %v", err)
	}
	if _, err := Load("testdata"); err == nil {
		t.Error("a directory was loaded")
	}
}

func TestPassword(t *testing.T) {
	r := Redis{PasswordEnv: "MILLRACE_TEST_PASSWORD"}
	if _, err := r.Password(); err == nil || !strings.Contains(err.Error(), "MILLRACE_TEST_PASSWORD is not set") {
		t.Errorf("without the variable: %v", err)
	}
	t.Setenv("MILLRACE_TEST_PASSWORD", "hunter2")
	if got, err := r.Password(); got != "hunter2" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := (Redis{}).Password(); got != "" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}
