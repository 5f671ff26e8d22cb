package beam

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/offline"
	"github.com/millrace/millrace/loadtest/faults"
)

// datasetFiles are the work's events and some probes, each of an event a moment
// later.
func datasetFiles(t *testing.T, work *faults.Work) offline.Files {
	t.Helper()
	dir := t.TempDir()
	events, probes := []byte(nil), "key,as_of,label\n"
	for i, rec := range work.Records {
		events = append(append(events, rec.Value...), '\n')
		if i%3 == 0 {
			probes += fmt.Sprintf("%s,%s,%d\n", rec.Key, time.UnixMicro(rec.Time).Add(time.Minute).UTC().Format(time.RFC3339Nano), i)
		}
	}
	f := offline.Files{Events: filepath.Join(dir, "events.jsonl"), Probes: filepath.Join(dir, "probes.csv"), Out: filepath.Join(dir, "set.csv")}
	for path, text := range map[string][]byte{f.Events: events, f.Probes: []byte(probes)} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// TestDatasetEqualsBuildFiles builds a dataset on Prism: it is that of
// offline.BuildFiles, and so are the counts.
func TestDatasetEqualsBuildFiles(t *testing.T) {
	work, err := faults.NewWork(faults.Spec{Seed: 7, Partitions: 5, Events: 4000, Entities: 60})
	if err != nil {
		t.Fatal(err)
	}
	OpenPlan = func(Project, string) (*features.Plan, error) { return work.Plan, nil }
	f := datasetFiles(t, work)
	want, err := offline.BuildFiles(t.Context(), work.Plan, f, offline.Options{ExcludeCurrent: true})
	if err != nil {
		t.Fatal(err)
	}
	wantText := readAndRemove(t, f.Out)
	pieces, err := offline.NewPieces(t.Context(), work.Plan, f, true)
	if err != nil {
		t.Fatal(err)
	}
	pieces.SectionBytes, pieces.PageProbes = 50_000, 300
	if err := RunPrism(t.Context(), Dataset{Name: "set", View: work.Plan.View.Name, Pieces: pieces}.Pipeline()); err != nil {
		t.Fatal(err)
	}
	if got := readAndRemove(t, f.Out); got != wantText || strings.Count(got, "\n") < 1000 {
		t.Errorf("on Prism\n%.1000s\nwant\n%.1000s", got, wantText)
	}
	var got offline.Counts
	if err := json.Unmarshal([]byte(readAndRemove(t, CountsFile(f.Out))), &got); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) || got.Rejected["bad_json"] != work.Bad() {
		t.Errorf("counts %+v, want %+v", got, want)
	}
}

func readAndRemove(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err == nil {
		err = os.Remove(path)
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestDatasetFails has an event that does not say when it arrived, which a probe
// asks: the job ends with that line, and without a dataset.
func TestDatasetFails(t *testing.T) {
	work, err := faults.NewWork(faults.Spec{Seed: 7, Partitions: 2, Events: 100, Entities: 6})
	if err != nil {
		t.Fatal(err)
	}
	OpenPlan = func(Project, string) (*features.Plan, error) { return work.Plan, nil }
	f := datasetFiles(t, work)
	f.KnownByArrival = true
	pieces, err := offline.NewPieces(t.Context(), work.Plan, f, false)
	if err != nil {
		t.Fatal(err)
	}
	err = RunPrism(t.Context(), Dataset{Name: "none", View: work.Plan.View.Name, Pieces: pieces}.Pipeline())
	if err == nil || !strings.Contains(err.Error(), f.Events+":1: known_by asks when events arrived") {
		t.Error(err)
	}
	if _, err := os.Stat(f.Out); err == nil {
		t.Error("there is a dataset")
	}
}
