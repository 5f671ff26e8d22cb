package external

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/millrace/millrace/trainer/learn"
)

// A Command is a program that trains a model.
type Command struct {
	// Args are the program and its arguments. One that is a path of a file in Dir is
	// given as its absolute path, since the program runs in a folder of its own; the
	// program itself only where it has a slash, as in shells.
	Args []string
	Dir  string // of the project; "": the working directory

	Task       learn.Task      // what the program is told that it predicts
	Parameters json.RawMessage // an object, as the program gets it; nil: an empty one
	Timeout    time.Duration   // after which it is ended; 0: DefaultTimeout

	// Memory bounds what all processes of the program hold together, in bytes; 0: no
	// limit. It is the memory that only they use and what they share, without files
	// that they have mapped. It is looked at every 50 ms, and the program is killed
	// where it is above; until then it can have taken more. The limit of address space
	// that systems have is of no use here: libraries of Python reserve several times what
	// they use. Linux only: elsewhere Check refuses it.
	Memory int64

	Env []string     // names of further variables of this process that it may see
	Log *slog.Logger // gets the lines that it prints; nil: slog.Default

	limits limits
}

// The bounds of a Command.
const (
	DefaultTimeout = time.Hour
	MaxTimeout     = 7 * 24 * time.Hour
	MinMemory      = 64 << 20 // no interpreter with numpy is smaller

	maxArgs       = 100
	maxArgBytes   = 64 << 10 // of all arguments
	maxParameters = 1 << 20
	maxEnv        = 100
)

// limits are what only tests change.
type limits struct {
	model   int64         // bytes of a model
	scratch int64         // bytes of all that the program writes in its folder
	files   int           // in its folder
	grace   time.Duration // from the request to end to the end
	look    time.Duration // between two looks at its memory
	tidy    time.Duration // for its processes to end after a kill
}

var ordinary = limits{
	model:   512 << 20,
	scratch: 8 << 30,
	files:   100_000,
	grace:   2 * time.Second,
	look:    50 * time.Millisecond,
	tidy:    5 * time.Second,
}

// WithDefaults returns c with its defaults.
func (c Command) WithDefaults() Command {
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if len(c.Parameters) == 0 {
		c.Parameters = json.RawMessage("{}")
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.limits == (limits{}) {
		c.limits = ordinary
	}
	return c
}

// Check says what is wrong with a Command that has its defaults. It does not look
// for the program.
func (c Command) Check() error {
	size := 0
	for _, a := range c.Args {
		if strings.ContainsRune(a, 0) {
			return fmt.Errorf("exec: argument %q has a zero byte", a)
		}
		size += len(a)
	}
	switch {
	case len(c.Args) == 0 || c.Args[0] == "":
		return fmt.Errorf("exec: no program: give it with its arguments, as [python3, train.py]")
	case len(c.Args) > maxArgs || size > maxArgBytes:
		return fmt.Errorf("exec: %d arguments of %d bytes: give at most %d of %d bytes; parameters come in a file", len(c.Args), size, maxArgs, maxArgBytes)
	case c.Timeout < 0 || c.Timeout > MaxTimeout:
		return fmt.Errorf("timeout: %v: give up to %v", c.Timeout, MaxTimeout)
	case c.Memory != 0 && c.Memory < MinMemory:
		return fmt.Errorf("memory: %d bytes: give at least %d MiB, or leave it out for no limit", c.Memory, MinMemory>>20)
	case c.Memory != 0 && !memoryLimited:
		return fmt.Errorf("memory: it can only be limited on Linux: leave it out here")
	case len(c.Env) > maxEnv:
		return fmt.Errorf("env: %d variables: give at most %d", len(c.Env), maxEnv)
	case len(c.Parameters) > maxParameters:
		return fmt.Errorf("params: %d bytes: give at most %d", len(c.Parameters), maxParameters)
	}
	for _, name := range c.Env {
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.HasPrefix(name, "MILLRACE_") {
			return fmt.Errorf("env: %q: give names of variables, and none that begins with MILLRACE_", name)
		}
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(c.Parameters, &object); err != nil || object == nil {
		return fmt.Errorf("params: %.100q: not a JSON object; give keys with values, as {rounds: 300}", c.Parameters)
	}
	return nil
}

// resolved returns the arguments with the files of the project as absolute paths.
func (c *Command) resolved() ([]string, error) {
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("external: the folder of the project: %w", err)
	}
	args := make([]string, len(c.Args))
	for i, a := range c.Args {
		args[i] = a
		if filepath.IsAbs(a) || i == 0 && !strings.ContainsRune(a, filepath.Separator) {
			continue
		}
		path := filepath.Join(dir, a)
		if info, err := os.Stat(path); i == 0 || err == nil && info.Mode().IsRegular() {
			args[i] = path
		}
	}
	return args, nil
}

// Code returns a name for what the program is: 16 hex digits over its arguments and
// the content of those that are files in Dir. It is for telling whether a training
// would be of the same code. What these files import is not part of it, nor is what
// is installed, as the interpreter of a virtual environment in Dir.
func (c Command) Code() (string, error) {
	args, err := c.resolved()
	if err != nil {
		return "", err
	}
	h := sha256.New()
	for i, a := range args {
		fmt.Fprintf(h, "%q\n", c.Args[i])
		if a == c.Args[i] || i == 0 && c.outside(a) {
			continue
		}
		if err := hashFile(h, a); err != nil {
			return "", fmt.Errorf("external: reading the program: %w", err)
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:8]), nil
}

// outside reports whether a path in Dir leads elsewhere, as the interpreter of a
// virtual environment does.
func (c *Command) outside(path string) bool {
	dir, err := filepath.EvalSymlinks(filepath.Clean(c.Dir))
	if err != nil {
		return false
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return false
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return false
	}
	return !strings.HasPrefix(real, dir+string(filepath.Separator))
}

func hashFile(h io.Writer, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	n, err := io.Copy(h, f)
	fmt.Fprintf(h, "\n%d\n", n)
	return err
}
