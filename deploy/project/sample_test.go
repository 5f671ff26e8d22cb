package project

import (
	"bytes"
	"io/fs"
	"regexp"
	"testing"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/streams/codec"
	"github.com/millrace/millrace/trainer/external"
	"github.com/millrace/millrace/trainer/learn/gbdt"
)

func sample(t testing.TB, name string) []byte {
	t.Helper()
	data, err := fs.ReadFile(Sample(), name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestSampleEventsDecode decodes the sample's events as its source says, and
// makes sure that none would be set aside for its time.
func TestSampleEventsDecode(t *testing.T) {
	p, err := Parse("project.yaml", sample(t, "project.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	src := p.Source("orders")
	decoder, err := codec.New(*src)
	if err != nil {
		t.Fatal(err)
	}
	var ev features.Event
	var newest int64
	customers := map[string]bool{}
	for line := range bytes.Lines(sample(t, "orders.jsonl")) {
		if err := decoder.Decode(line, &ev); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if newest != 0 && (ev.Time < newest || ev.Time-newest > (10*24*time.Hour).Microseconds()) {
			t.Errorf("%s: out of order, or long after the order before", line)
		}
		newest = ev.Time
		customers[string(ev.Values[1].Str)] = true
	}
	if len(customers) != 5 {
		t.Errorf("%d customers; want 5", len(customers))
	}
}

// TestSampleOptionsLoad switches on every setting that the sample shows
// commented out.
func TestSampleOptionsLoad(t *testing.T) {
	text := sample(t, "project.yaml")
	off := regexp.MustCompile(`(?m)^( *)#((?: {2})*[a-z_]+:)`)
	if n := len(off.FindAllIndex(text, -1)); n < 15 {
		t.Fatalf("%d settings are commented out", n)
	}
	p, err := Parse("project.yaml", off.ReplaceAll(text, []byte("$1$2")))
	if err != nil {
		t.Fatal(err)
	}
	if p.Kafka.Embedded() || p.Store.Redis == nil || p.Sources[0].Lateness != 24*time.Hour {
		t.Errorf("settings are missing in %+v", p)
	}
	learners := p.Models[0].Learners
	if len(learners) != 3 || learners[0].FTRL == nil || learners[1].GBDT == nil || learners[2].Exec == nil || string(learners[2].Exec.Parameters) != `{"rounds":300}` {
		t.Errorf("the learners are %+v", learners)
	}
	// What the sample shows are the defaults.
	if g, d := *learners[1].GBDT, (gbdt.Params{}).WithDefaults(); g != d {
		t.Errorf("gbdt is shown as %+v, and by default it is %+v", g, d)
	}
	if learners[2].Exec.Timeout != external.DefaultTimeout {
		t.Errorf("exec is shown with a timeout of %v", learners[2].Exec.Timeout)
	}
}
