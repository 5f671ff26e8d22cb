package registry

import (
	"bytes"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
)

func TestWhatWasDecidedIsThereAfterAReopen(t *testing.T) {
	w := newWorld(t)
	w.done()
	w.watched()
	before := w.everything()
	w.must(w.Close())
	w.Registry = open(t, w.path)
	if after := w.everything(); !reflect.DeepEqual(before, after) {
		t.Errorf("after a reopen\n%+v\nbefore\n%+v", after, before)
	}
	w.check()
}

func TestTheFilesAreForThisUserAlone(t *testing.T) {
	w := newWorld(t)
	w.candidate()
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if info, err := os.Stat(w.path + suffix); err != nil || info.Mode() != 0o600 {
			t.Errorf("registry.db%s: mode %v, %v", suffix, info.Mode(), err)
		}
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(w.path), ".registry-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestCommitsAreOnDisk asks SQLite whether it waits for the disk at each commit.
func TestCommitsAreOnDisk(t *testing.T) {
	w := newWorld(t)
	const full = 2
	var synchronous int
	if err := w.writes.QueryRowContext(t.Context(), `PRAGMA synchronous`).Scan(&synchronous); err != nil || synchronous != full {
		t.Errorf("synchronous is %d, %v; want %d", synchronous, err, full)
	}
}

// TestPathsAreTakenAsTheyAre opens files whose names mean something in URIs.
func TestPathsAreTakenAsTheyAre(t *testing.T) {
	for _, name := range []string{"a?mode=memory", "b%20c", "d#e", "f g&h"} {
		path := filepath.Join(t.TempDir(), name, name+".db")
		open(t, path).Close()
		if info, err := os.Stat(path); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
}

// TestSeveralOpenANewFileAtOnce: one of them makes the schema.
func TestSeveralOpenANewFileAtOnce(t *testing.T) {
	for range 3 {
		path := filepath.Join(t.TempDir(), "data", "registry.db")
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				r, err := Open(path)
				if err != nil {
					t.Error(err)
					return
				}
				defer r.Close()
				if _, err := r.Serving(t.Context(), model); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
}

// TestFilesThatAreNoRegistry are refused, and nothing in them is changed.
func TestFilesThatAreNoRegistry(t *testing.T) {
	for _, c := range []struct {
		name, want string
		make       func(path string) error
	}{
		{"text", "is no SQLite database; move it away", func(path string) error {
			return os.WriteFile(path, bytes.Repeat([]byte("project: shop\n"), 100), 0o644)
		}},
		{"another program's", "is a SQLite database of another program", func(path string) error {
			return inSQL(path, `CREATE TABLE t (x)`)
		}},
		{"another program's, empty", "is a SQLite database of another program", func(path string) error {
			return inSQL(path, `PRAGMA application_id = 7; CREATE TABLE t (x); DROP TABLE t`)
		}},
		{"newer", "has schema 99, and this millrace knows none after 2; use the millrace that wrote it", func(path string) error {
			r, err := Open(path)
			if err != nil {
				return err
			}
			r.Close()
			return inSQL(path, `PRAGMA user_version = 99`)
		}},
		{"a folder", "unable to open database file", func(path string) error { return os.Mkdir(path, 0o755) }},
		{"a text where its folder should be", "not a directory", func(path string) error {
			return os.WriteFile(filepath.Dir(path), nil, 0o644)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			path := filepath.Join(dir, "registry.db")
			if !strings.HasPrefix(c.name, "a text") {
				if err := os.Mkdir(dir, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.make(path); err != nil {
				t.Fatal(err)
			}
			before := contents(t, dir)
			r, err := Open(path)
			if err == nil {
				r.Close()
			}
			if err == nil || !strings.HasPrefix(err.Error(), "registry: open: ") || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), dir) {
				t.Errorf("error %v, want one with %q and the path", err, c.want)
			}
			if after := contents(t, dir); !reflect.DeepEqual(before, after) {
				t.Error("something was changed")
			}
		})
	}
}

func inSQL(path, statements string) error {
	db, err := sql.Open("sqlite", path)
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.Exec(statements)
	return err
}

// contents returns the bytes of all files below dir.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		all[path] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestADamagedFileIsSaidToBe writes over all pages but the first, which has the
// schema.
func TestADamagedFileIsSaidToBe(t *testing.T) {
	w := newWorld(t)
	w.candidate()
	w.must(w.Close())
	b, err := os.ReadFile(w.path)
	w.must(err)
	for i := 4096; i < len(b); i++ {
		b[i] = 0xaa
	}
	w.must(os.WriteFile(w.path, b, 0o600))
	r, err := Open(w.path)
	if err == nil {
		defer r.Close()
		_, err = r.Versions(t.Context(), model)
	}
	if err == nil || !strings.Contains(err.Error(), "registry.db: it is damaged; stop what has it open and put a copy in its place") {
		t.Errorf("error %v", err)
	}
}

// TestMigrationsAreOnlyAddedTo: files that have had one must read as those that
// are made today. A new migration adds its sum here.
func TestMigrationsAreOnlyAddedTo(t *testing.T) {
	want := []string{
		"d203c0aa2bf4ca43fd598d8124687eff0d33ee2dce1f603180b8bf62da57fad9",
		"b0459f8bd0f4c9cc17422c3e749958e66ed73cf7954ae6ea4208e9483664b6c3",
	}
	if len(migrations) != len(want) {
		t.Fatalf("%d migrations, and %d sums", len(migrations), len(want))
	}
	for i, m := range migrations {
		sum := sha256.Sum256([]byte(m))
		if got := hex.EncodeToString(sum[:]); got != want[i] {
			t.Errorf("migration %d has the sum %s, want %s", i+1, got, want[i])
		}
	}
}

func TestTheHistoryIsOnlyAddedTo(t *testing.T) {
	w := newWorld(t)
	w.done()
	before, err := w.History(t.Context(), model)
	w.must(err)
	if len(before) < 5 {
		t.Fatalf("history %+v", before)
	}
	for _, statement := range []string{
		`UPDATE history SET why = 'otherwise'`,
		`UPDATE history SET who = 'ben' WHERE seq = 2`,
		`DELETE FROM history`,
		`DELETE FROM history WHERE seq = 1`,
		`INSERT OR REPLACE INTO history SELECT * FROM history WHERE seq = 1`,
	} {
		if _, err := w.writes.ExecContext(t.Context(), statement); err == nil || !strings.Contains(err.Error(), "the history is only added to") {
			t.Errorf("%s: %v", statement, err)
		}
	}
	after, err := w.History(t.Context(), "")
	w.must(err)
	if !reflect.DeepEqual(before, after) {
		t.Errorf("history %+v, want %+v", after, before)
	}
	for i, e := range after {
		if e.Seq != int64(i+1) || e.Who == "" || e.Time.IsZero() || i > 0 && e.Time.Before(after[i-1].Time) {
			t.Errorf("line %d: %+v", i, e)
		}
	}
}

func TestReadersCannotWrite(t *testing.T) {
	w := newWorld(t)
	if _, err := w.reads.ExecContext(t.Context(), `INSERT INTO serving (model) VALUES ('x')`); err == nil {
		t.Error("a connection for reading has written")
	}
}
