package sqlfile

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
)

var shelf = Kind{Name: "shelf", ApplicationID: 0x73686c66, Migrations: []string{`CREATE TABLE books (name TEXT) STRICT`}}

func open(t *testing.T, path string) *File {
	t.Helper()
	f, err := Open(path, shelf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func add(t *testing.T, f *File, name string) {
	t.Helper()
	if _, err := f.Writes.ExecContext(t.Context(), `INSERT INTO books VALUES (?)`, name); err != nil {
		t.Fatal(err)
	}
}

func books(t *testing.T, f *File) (n int) {
	t.Helper()
	if err := f.Reads.QueryRowContext(t.Context(), `SELECT count(*) FROM books`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestFilesAreForThisUserAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data", "shelf.db")
	add(t, open(t, path), "Ulysses")
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if info, err := os.Stat(path + suffix); err != nil || info.Mode() != 0o600 {
			t.Errorf("shelf.db%s: mode %v, %v", suffix, info.Mode(), err)
		}
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".shelf-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestCommitsAreOnDisk asks SQLite whether it waits for the disk at each commit.
func TestCommitsAreOnDisk(t *testing.T) {
	f := open(t, filepath.Join(t.TempDir(), "shelf.db"))
	const full = 2
	var synchronous int
	if err := f.Writes.QueryRowContext(t.Context(), `PRAGMA synchronous`).Scan(&synchronous); err != nil || synchronous != full {
		t.Errorf("synchronous is %d, %v; want %d", synchronous, err, full)
	}
	if _, err := f.Reads.ExecContext(t.Context(), `INSERT INTO books VALUES ('x')`); err == nil {
		t.Error("a connection for reading has written")
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
		path := filepath.Join(t.TempDir(), "data", "shelf.db")
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				f, err := Open(path, shelf)
				if err != nil {
					t.Error(err)
					return
				}
				defer f.Close()
				if _, err := f.Writes.ExecContext(context.Background(), `INSERT INTO books VALUES ('x')`); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := books(t, open(t, path)); n != 8 {
			t.Errorf("%d books", n)
		}
	}
}

// TestANewerSchema is made of an older file, and what is in it stays.
func TestANewerSchema(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shelf.db")
	f := open(t, path)
	add(t, f, "Ulysses")
	f.Close()
	newer := shelf
	newer.Migrations = append(newer.Migrations[:1:1], `ALTER TABLE books ADD COLUMN pages INTEGER`, `UPDATE books SET pages = 732`)
	f, err := Open(path, newer)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var name string
	if err := f.Reads.QueryRowContext(t.Context(), `SELECT name FROM books WHERE pages = 732`).Scan(&name); err != nil || name != "Ulysses" {
		t.Errorf("%q, %v", name, err)
	}
	if _, err := Open(path, shelf); err == nil || !strings.Contains(err.Error(), "has schema 3, and this millrace knows none after 1; use the millrace that wrote it") {
		t.Errorf("an older millrace: %v", err)
	}
}

// TestAMigrationThatFails leaves the file as it was.
func TestAMigrationThatFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shelf.db")
	f := open(t, path)
	add(t, f, "Ulysses")
	f.Close()
	newer := shelf
	newer.Migrations = append(newer.Migrations[:1:1], `DELETE FROM books`, `nonsense`)
	if _, err := Open(path, newer); err == nil || !strings.Contains(err.Error(), "migration 3: file "+path) {
		t.Fatal(err)
	}
	if n := books(t, open(t, path)); n != 1 {
		t.Errorf("%d books", n)
	}
}

// TestFilesOfAnotherKind are refused, and nothing in them is changed.
func TestFilesOfAnotherKind(t *testing.T) {
	for _, c := range []struct {
		name, want string
		make       func(path string) error
	}{
		{"text", "is no SQLite database; move it away, and a new shelf is made", func(path string) error {
			return os.WriteFile(path, bytes.Repeat([]byte("project: shop\n"), 100), 0o644)
		}},
		{"another program's", "is a SQLite database of another program; move it away, and a new shelf is made", func(path string) error {
			return inSQL(path, `CREATE TABLE t (x)`)
		}},
		{"another program's, empty", "is a SQLite database of another program", func(path string) error {
			return inSQL(path, `PRAGMA application_id = 7; CREATE TABLE t (x); DROP TABLE t`)
		}},
		{"newer", "has schema 99, and this millrace knows none after 1", func(path string) error {
			f, err := Open(path, shelf)
			if err != nil {
				return err
			}
			f.Close()
			return inSQL(path, `PRAGMA user_version = 99`)
		}},
		{"a folder", "unable to open database file", func(path string) error { return os.Mkdir(path, 0o755) }},
		{"a text where its folder should be", "not a directory", func(path string) error {
			return os.WriteFile(filepath.Dir(path), nil, 0o644)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			path := filepath.Join(dir, "shelf.db")
			if !strings.HasPrefix(c.name, "a text") {
				if err := os.Mkdir(dir, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.make(path); err != nil {
				t.Fatal(err)
			}
			before := contents(t, dir)
			f, err := Open(path, shelf)
			if err == nil {
				f.Close()
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), dir) {
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
	path := filepath.Join(t.TempDir(), "shelf.db")
	f := open(t, path)
	add(t, f, "Ulysses")
	f.Close()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := 4096; i < len(b); i++ {
		b[i] = 0xaa
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err = Open(path, shelf)
	if err == nil {
		defer f.Close()
		var n int
		err = f.Explain(f.Reads.QueryRowContext(t.Context(), `SELECT count(*) FROM books`).Scan(&n))
	}
	if err == nil || !strings.Contains(err.Error(), "shelf.db: it is damaged; stop what has it open and put a copy in its place") {
		t.Errorf("error %v", err)
	}
	if other := errors.New("other"); f != nil && !errors.Is(f.Explain(other), other) {
		t.Error("an error of another's is not left alone")
	}
}
