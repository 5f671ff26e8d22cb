package external

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A ProgramError says what a program did that leaves no model. Other errors of
// Train are about this machine or the data set.
type ProgramError struct {
	Program string // as it was started
	What    string // what it did and what to do about it
	Log     string // the end of what it printed; "": it did not start
}

// Error returns what was done, with the last lines that were printed.
func (e *ProgramError) Error() string {
	if e.Log == "" {
		return fmt.Sprintf("external: %s: %s", e.Program, e.What)
	}
	return fmt.Sprintf("external: %s: %s; the last that it printed:%s", e.Program, e.What, lastLines(e.Log))
}

// Train runs the program on a data set and returns what it made. It runs in a new
// folder in dir ("": the system's folder for temporary files), which is removed at
// the end, as are all processes that the program has left. What the program does
// wrong is a *ProgramError; where ctx ends, so does the program, and the error
// wraps that of ctx.
func (c Command) Train(ctx context.Context, dir string, d *Dataset) (*Output, error) {
	c = c.WithDefaults()
	if err := c.Check(); err != nil {
		return nil, fmt.Errorf("external: %w", err)
	}
	w, err := newWorkspace(dir)
	if err != nil {
		return nil, err
	}
	defer c.remove(w)
	rows, err := d.write(ctx, w.data())
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(w.params(), c.Parameters, 0o600); err != nil {
		return nil, fmt.Errorf("external: writing the parameters: %w", err)
	}
	info, err := os.Stat(w.data())
	if err != nil {
		return nil, fmt.Errorf("external: the data set: %w", err)
	}
	args, err := c.resolved()
	if err != nil {
		return nil, err
	}
	r := &run{c: &c, w: w, args: append(args, "--data", w.data(), "--params", w.params(), "--out", w.out()), given: info.Size()}
	if err := r.do(ctx); err != nil {
		return nil, err
	}
	out, err := collect(w.dir, c.limits.model, rows)
	if err != nil {
		return nil, r.fault("%v", err)
	}
	out.Log = r.printed.text()
	return out, nil
}

// folderPrefix begins the names of workspaces.
const folderPrefix = "millrace-learner-"

// newWorkspace makes the folder of a run, and removes those that a process which
// was killed has left: no run takes that long.
func newWorkspace(dir string) (*workspace, error) {
	if dir == "" {
		dir = os.TempDir()
	}
	dir, err := filepath.Abs(dir)
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		return nil, fmt.Errorf("external: a folder for the program: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("external: a folder for the program: %w", err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err == nil && e.IsDir() && strings.HasPrefix(e.Name(), folderPrefix) && time.Since(info.ModTime()) > MaxTimeout+time.Hour {
			_ = removeAll(filepath.Join(dir, e.Name())) // the next run tries again
		}
	}
	own, err := os.MkdirTemp(dir, folderPrefix)
	if err != nil {
		return nil, fmt.Errorf("external: a folder for the program: %w", err)
	}
	w := &workspace{own}
	for _, sub := range []string{w.out(), w.home(), w.temp()} {
		if err := os.Mkdir(sub, 0o700); err != nil {
			_ = os.RemoveAll(own) // it is empty, and tried again
			return nil, fmt.Errorf("external: a folder for the program: %w", err)
		}
	}
	return w, nil
}

func (c *Command) remove(w *workspace) {
	if err := removeAll(w.dir); err != nil {
		c.Log.Warn("the folder of a learner cannot be removed", "folder", w.dir, "error", err)
	}
}

// removeAll removes a folder even where the program has taken its own rights away.
func removeAll(dir string) error {
	if os.RemoveAll(dir) == nil {
		return nil
	}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return nil // what matters shows below
		}
		return os.Chmod(path, 0o700)
	})
	return errors.Join(err, os.RemoveAll(dir))
}
