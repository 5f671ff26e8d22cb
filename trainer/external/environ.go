package external

import (
	"os"
	"path/filepath"
)

// inherited are the variables of this process that a program gets where they are
// set: where programs and libraries are, the language, and how many threads and
// which devices it may use. All else stays here: passwords and tokens are in
// variables.
var inherited = []string{
	"PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV", "CONDA_PREFIX", "R_LIBS", "JAVA_HOME",
	"LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "TZ",
	"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_MAX_THREADS", "POLARS_MAX_THREADS",
	"CUDA_HOME", "CUDA_VISIBLE_DEVICES",
}

// environ returns the environment of a program that runs in w.
func (c *Command) environ(w *workspace) []string {
	env := []string{
		"HOME=" + w.home(), "TMPDIR=" + w.temp(), "PWD=" + w.dir,
		// What it prints comes at once and is there when it is killed, the order of
		// sets and dicts is the same in each run, and nothing is written beside the
		// scripts of the project.
		"PYTHONUNBUFFERED=1", "PYTHONHASHSEED=0", "PYTHONDONTWRITEBYTECODE=1",
		"MILLRACE_DATA=" + w.data(), "MILLRACE_PARAMS=" + w.params(), "MILLRACE_OUT=" + w.out(),
		"MILLRACE_TASK=" + string(c.Task),
	}
	for _, names := range [][]string{inherited, c.Env} {
		for _, name := range names {
			if value, ok := os.LookupEnv(name); ok {
				env = append(env, name+"="+value)
			}
		}
	}
	return env
}

// A workspace is the folder of one run.
type workspace struct{ dir string }

func (w *workspace) data() string   { return filepath.Join(w.dir, "train.parquet") }
func (w *workspace) params() string { return filepath.Join(w.dir, "params.json") }
func (w *workspace) out() string    { return filepath.Join(w.dir, outName) }
func (w *workspace) home() string   { return filepath.Join(w.dir, "home") }
func (w *workspace) temp() string   { return filepath.Join(w.dir, "tmp") }
