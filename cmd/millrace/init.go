package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/millrace/millrace/deploy/project"
)

type initCmd struct {
	Dir string `arg:"" placeholder:"DIR" help:"The folder to write to. It is made if need be; files in it are never overwritten."`
}

func (initCmd) Help() string {
	return `Writes project.yaml, a commented project of a small web shop, and orders.jsonl, events for it.

Example:

	millrace init shop`
}

func (c *initCmd) Run(a *app) error {
	if err := writeSample(c.Dir); err != nil {
		return err
	}
	cd := ""
	if dir := filepath.Clean(c.Dir); dir != "." {
		cd = "  cd " + quoteForShell(dir) + "\n"
	}
	fmt.Fprintf(a.stdout, `Wrote %s and %s. To see it work:

%s  millrace run

and in another terminal, in the same folder:

  millrace ingest orders.jsonl
  millrace features get customer anna ben --request amount=80
  curl -d '{"entity": {"customer": "anna"}}' http://127.0.0.1:8765/v1/predict/large_order

The customer's next order says what came true: "millrace join --stats" counts it,
and "millrace models list" shows what is learned from it.

Then put your own events into project.yaml; "millrace check" says what is wrong with it.
`, filepath.Join(c.Dir, "project.yaml"), filepath.Join(c.Dir, "orders.jsonl"), cd)
	return nil
}

// writeSample writes the files of the example, all or, where one of them is
// there already, none.
func writeSample(dir string) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return fmt.Errorf("init: %w", err)
	}
	sample := project.Sample()
	entries, err := fs.ReadDir(sample, ".")
	if err != nil {
		return fmt.Errorf("init: %w", err)
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			return usagef("init: %s is there already; name another folder, or move it away", path)
		}
	}
	if err := os.CopyFS(dir, sample); err != nil {
		return fmt.Errorf("init: %w", err)
	}
	return nil
}

// quoteForShell quotes a path that a shell would take apart.
func quoteForShell(path string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+,:@%", r)
	}
	if strings.ContainsFunc(path, func(r rune) bool { return !plain(r) }) {
		return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
	}
	return path
}
