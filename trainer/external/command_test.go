package external

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestCheck(t *testing.T) {
	args := []string{"python3", "train.py"}
	if err := (Command{Args: args}).WithDefaults().Check(); err != nil {
		t.Error(err)
	}
	for want, c := range map[string]Command{
		"exec: no program":                         {},
		`exec: argument "a\x00b" has a zero byte`:  {Args: []string{"a\x00b"}},
		"exec: 101 arguments":                      {Args: strings.Split(strings.Repeat("a", 101), "")},
		"exec: 1 arguments of 65537 bytes":         {Args: []string{strings.Repeat("a", 65537)}},
		"timeout: 169h0m0s: give up to 168h0m0s":   {Args: args, Timeout: 169 * time.Hour},
		"timeout: -1s":                             {Args: args, Timeout: -time.Second},
		"memory: 1 bytes: give at least 64 MiB":    {Args: args, Memory: 1},
		"env: 101 variables":                       {Args: args, Env: make([]string, 101)},
		`env: "A=b": give names of variables`:      {Args: args, Env: []string{"A=b"}},
		`env: "MILLRACE_OUT"`:                      {Args: args, Env: []string{"MILLRACE_OUT"}},
		`params: "[1]": not a JSON object`:         {Args: args, Parameters: json.RawMessage("[1]")},
		`params: "null": not a JSON object`:        {Args: args, Parameters: json.RawMessage("null")},
		"params: 1048577 bytes: give at most 1048": {Args: args, Parameters: json.RawMessage(strings.Repeat(" ", 1<<20+1))},
	} {
		if err := c.WithDefaults().Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v, want one with %q", err, want)
		}
		if _, err := c.Train(t.Context(), t.TempDir(), small()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Train's error is %v, want one with %q", err, want)
		}
	}
	c := Command{Args: args, Memory: MinMemory}
	if err := c.WithDefaults().Check(); (err == nil) != memoryLimited {
		t.Errorf("with a limit of memory the error is %v", err)
	}
}

// TestCode holds that a program is another when its arguments or its files are, and
// the same where nothing of it has changed.
func TestCode(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	write := func(dir, name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	write(dir, "train.py", "one")
	write(dir, "run", "one")
	write(elsewhere, "python3", "one")
	write(elsewhere, "shared.py", "one")
	if err := os.Symlink(filepath.Join(elsewhere, "python3"), filepath.Join(dir, "python3")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(elsewhere, "shared.py"), filepath.Join(dir, "shared.py")); err != nil {
		t.Fatal(err)
	}
	code := func(args ...string) string {
		t.Helper()
		c, err := Command{Args: args, Dir: dir}.Code()
		if err != nil || len(c) != 16 {
			t.Fatal(c, err)
		}
		return c
	}
	commands := [][]string{{"python3", "train.py"}, {"python3", "train.py", "-v"}, {"./python3", "train.py"}, {"./run"}, {"./python3", "shared.py"}}
	all := func() (codes []string) {
		for _, args := range commands {
			codes = append(codes, code(args...))
		}
		return codes
	}
	before, again := all(), all()
	seen := map[string]bool{}
	for i := range before {
		if before[i] != again[i] || seen[before[i]] {
			t.Errorf("%q is %s, then %s", commands[i], before[i], again[i])
		}
		seen[before[i]] = true
	}
	changes := func(dir, name string, want string) {
		t.Helper()
		write(dir, name, "two")
		after, got := all(), ""
		for i := range after {
			got += map[bool]string{true: ".", false: "x"}[after[i] == before[i]]
		}
		if got != want {
			t.Errorf("a change of %s changes %s, want %s", name, got, want)
		}
		write(dir, name, "one")
	}
	changes(dir, "train.py", "xxx..")
	changes(dir, "run", "...x.")
	changes(elsewhere, "python3", ".....") // the interpreter of a virtual environment
	changes(elsewhere, "shared.py", "....x")
	if _, err := (Command{Args: []string{"./absent"}, Dir: dir}).Code(); err == nil {
		t.Error("a program that is not there has a code")
	}
}

// TestOutagesOfTheSystem wants what passes to be told from what a person must mend.
func TestOutagesOfTheSystem(t *testing.T) {
	for _, err := range []error{syscall.EMFILE, syscall.ENFILE, syscall.EAGAIN, syscall.ENOMEM} {
		if !passes(&fs.PathError{Op: "fork/exec", Path: "/bin/sh", Err: err}) {
			t.Errorf("%v is taken for a fault of the program", err)
		}
	}
	for _, err := range []error{syscall.ENOENT, syscall.EACCES, syscall.ENOEXEC} {
		if passes(&fs.PathError{Op: "fork/exec", Path: "./train", Err: err}) {
			t.Errorf("%v is taken for an outage", err)
		}
	}
}
