package alarms

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/millrace/millrace/feedback/monitor"
)

// TestMigrationsAreOnlyAddedTo: files that have had one must read as those that
// are made today. A new migration adds its sum here.
func TestMigrationsAreOnlyAddedTo(t *testing.T) {
	want := []string{"562c351e8d2079be78fd9cbc3e89d61de15f944c3d95932747c971d04a39ae0f"}
	if len(kind.Migrations) != len(want) {
		t.Fatalf("%d migrations, and %d sums", len(kind.Migrations), len(want))
	}
	for i, m := range kind.Migrations {
		sum := sha256.Sum256([]byte(m))
		if got := hex.EncodeToString(sum[:]); got != want[i] {
			t.Errorf("migration %d has the sum %s, want %s", i+1, got, want[i])
		}
	}
}

func TestTheFileIsForThisUserAlone(t *testing.T) {
	b, path := newBook(t)
	a := alarm("m", "f", 100, 0)
	put(t, b, Report{Look: a.Onset, Alarms: []monitor.Alarm{a}})
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if info, err := os.Stat(path + suffix); err != nil || info.Mode() != 0o600 {
			t.Errorf("alarms.db%s: mode %v, %v", suffix, info.Mode(), err)
		}
	}
}

// TestListsUseIndexes: a page must not read a million alarms to show twenty.
func TestListsUseIndexes(t *testing.T) {
	b, _ := newBook(t)
	for index, where := range map[string]string{
		"alarms_by_onset":       ``,
		"alarms_by_model":       `WHERE model = 'm'`,
		"alarms_open":           `WHERE over = 0 AND delivery != 'held'`,
		"alarms_unacknowledged": `WHERE acknowledged = 0 AND delivery NOT IN ('held', 'past')`,
	} {
		rows, err := b.file.Reads.QueryContext(t.Context(), `EXPLAIN QUERY PLAN `+selectEntries+where+` ORDER BY onset DESC, seq DESC LIMIT 20`)
		must(t, err)
		var plan []string
		for rows.Next() {
			var id, parent, unused int
			var step string
			must(t, rows.Scan(&id, &parent, &unused, &step))
			plan = append(plan, step)
		}
		must(t, rows.Err())
		rows.Close()
		if text := strings.Join(plan, "; "); !strings.Contains(text, index) || strings.Contains(text, "TEMP B-TREE") {
			t.Errorf("%s: %s", index, text)
		}
	}
}
