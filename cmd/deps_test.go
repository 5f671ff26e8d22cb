package cmd

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

const module = "github.com/millrace/millrace"

// policy says what each of our packages may import besides the standard
// library: our own packages by their folder, other modules by their path, which
// stands for every package below it. It is a decision and not a record: change
// it with the reason in the commit, and never to get a build through.
//
// What a list leaves out stays out for a reason: features is the arithmetic that
// every path shares and knows no engine, an engine's client has one importer,
// and nothing imports a command.
var policy = map[string][]string{
	"features":                   {"features/expr"},
	"features/expr":              {"cel.dev/cel-go"},
	"features/featurestest":      {"features", "features/expr"},
	"features/profile":           {"features", "features/expr", "gonum.org/v1/gonum"}, // the incomplete gamma function
	"features/offline":           {"features", "features/expr", "streams", "streams/codec", "streams/lake"},
	"features/online":            {"features"},
	"features/online/onlinetest": {"features", "features/online"},
	"features/online/pebble":     {"features/online", "github.com/cockroachdb/pebble/v2"},
	"features/online/redis":      {"features/online", "github.com/redis/go-redis/v9"},

	"streams":        {"github.com/segmentio/kafka-go"},
	"streams/broker": {"github.com/twmb/franz-go/pkg/kfake", "github.com/twmb/franz-go/pkg/kerr", "github.com/twmb/franz-go/pkg/kmsg"},
	"streams/codec":  {"features", "features/expr", "github.com/go-json-experiment/json"},
	"streams/lake":   {"features", "features/expr", "feedback", "streams", "streams/codec", "github.com/apache/arrow/go/v15"},

	"streams/pipeline":      {"features", "features/expr", "features/online", "feedback", "streams", "streams/codec", "streams/lake"},
	"streams/pipeline/beam": {"features", "features/offline", "features/online", "streams/pipeline", "github.com/apache/beam/sdks/v2", "google.golang.org/grpc", "google.golang.org/protobuf"},

	"deploy/alarms":     {"deploy/sqlfile", "feedback/monitor", "trainer/eval"},
	"deploy/client":     {},
	"deploy/dash":       {"deploy/alarms", "deploy/dash/chart", "deploy/observe", "deploy/project", "deploy/registry", "deploy/users", "feedback", "feedback/monitor", "trainer/dataset", "trainer/eval", "trainer/whatif"},
	"deploy/dash/chart": {},
	"deploy/lookout":    {"deploy/alarms", "deploy/registry", "feedback", "feedback/monitor", "streams", "streams/pipeline"},
	"deploy/observe":    {"feedback", "streams", "streams/pipeline", "github.com/prometheus/client_golang", "go.opentelemetry.io/otel"},
	"deploy/serve": {
		"deploy/observe", "deploy/registry", "features", "features/expr", "features/online", "feedback",
		"streams", "streams/codec", "trainer/bundle", "trainer/learn", "github.com/go-json-experiment/json",
	},
	"deploy/project": {"deploy", "deploy/alarms", "features", "features/expr", "feedback", "feedback/monitor", "trainer", "trainer/bundle", "trainer/eval", "trainer/learn", "trainer/learn/ftrl", "trainer/external", "trainer/learn/gbdt", "github.com/goccy/go-yaml"},

	"feedback":         {"features", "features/expr", "github.com/go-json-experiment/json"},
	"feedback/monitor": {"features", "features/expr", "features/profile", "feedback", "trainer/eval"},

	"trainer":          {"deploy/registry", "features", "features/expr", "feedback", "features/profile", "streams", "streams/pipeline", "trainer/bundle", "trainer/dataset", "trainer/eval", "trainer/external", "trainer/learn", "trainer/learn/ftrl", "trainer/learn/gbdt", "trainer/learn/trees"},
	"trainer/bundle":   {"features", "features/expr", "trainer/learn", "trainer/learn/ftrl", "trainer/eval", "trainer/learn", "trainer/learn/ftrl", "trainer/learn/gbdt", "trainer/learn/onnx", "trainer/learn/trees"},
	"trainer/dataset":  {"features", "features/expr", "features/profile", "trainer/eval", "github.com/goccy/go-yaml"},
	"trainer/eval":     {},
	"trainer/external": {"features", "features/expr", "streams/lake", "trainer/learn"},
	"trainer/learn":    {},
	"trainer/whatif": {
		"deploy/registry", "features", "features/expr", "features/offline", "feedback",
		"streams", "streams/lake", "trainer/bundle", "trainer/eval", "trainer/learn",
	},

	"trainer/learn/ftrl":      {"trainer/learn"},
	"trainer/learn/gbdt":      {"trainer/learn", "trainer/learn/trees"},
	"trainer/learn/learntest": {"trainer/learn"},
	"trainer/learn/onnx":      {"trainer/learn", "google.golang.org/protobuf"}, // the wire format of the files
	"trainer/learn/trees":     {"trainer/learn"},

	"deploy":          {"deploy/registry", "features", "features/expr", "feedback", "streams", "streams/pipeline", "trainer/bundle", "trainer/eval", "trainer/learn"},
	"deploy/engines":  {"deploy/project", "features", "features/online", "features/online/pebble", "features/online/redis", "streams", "streams/pipeline"},
	"deploy/registry": {"deploy/sqlfile"},
	"deploy/sqlfile":  {"modernc.org/sqlite"},
	"deploy/users":    {"golang.org/x/crypto/bcrypt"},

	"loadtest": {},
	"loadtest/asking": {
		"loadtest", "loadtest/trades", "deploy/engines", "deploy/project", "deploy/registry", "deploy/serve", "features", "features/expr", "features/online",
		"feedback", "streams", "streams/pipeline", "trainer/bundle", "trainer/learn", "trainer/learn/gbdt", "trainer/learn/trees",
	},
	"loadtest/clicks":     {"loadtest", "trainer/learn", "trainer/learn/ftrl"},
	"loadtest/collisions": {"loadtest", "trainer/eval", "trainer/learn", "trainer/learn/gbdt", "trainer/learn/trees"},
	"loadtest/faults": {
		"features", "features/featurestest", "features/online", "streams", "streams/codec", "streams/pipeline",
		"deploy", "deploy/client", "deploy/project", "trainer", // the processes of the loop
	},
	"loadtest/engines": {},
	"loadtest/flink": {
		"loadtest", "loadtest/faults", "loadtest/trades", "features", "features/online", "features/online/redis",
		"streams", "streams/pipeline", "streams/pipeline/beam", "github.com/redis/go-redis/v9/logging",
	},
	"loadtest/stocks": {"deploy/client", "deploy/project", "features", "features/expr", "streams"},
	"loadtest/trades": {
		"loadtest", "features", "features/expr", "features/online", "features/online/pebble",
		"streams", "streams/broker", "streams/codec", "streams/pipeline",
	},

	// A process decides whether the Redis client writes to stderr by itself.
	"cmd/millrace":      {anyOfOurs, "github.com/alecthomas/kong", "golang.org/x/term", "github.com/redis/go-redis/v9/logging"},
	"cmd/millrace-beam": {anyOfOurs, "github.com/alecthomas/kong"},
}

// anyOfOurs lets a command wire whatever we have. Other modules it must name.
const anyOfOurs = "*"

// inTests is what a test file may import besides what its package may: the
// suites and generators made for tests, and the engines that tests run on.
var inTests = []string{
	"features", "features/expr", "streams", "deploy/serve", // what a client's test talks to
	"deploy/registry", "feedback", "trainer/bundle", "trainer/learn", "trainer/learn/ftrl", // what it serves
	"features/featurestest", "features/online/onlinetest", "trainer/learn/learntest",
	"features/online", "features/online/pebble", "features/online/redis", "streams/broker", "streams/codec",
	"loadtest/stocks",                           // real data
	"trainer/learn/onnx", "trainer/learn/trees", // score what programs have trained
	"loadtest/faults", "loadtest/engines", // work for a pipeline, and what it runs on
	"github.com/prometheus/client_model", "github.com/prometheus/common", // read what we export
	"go.opentelemetry.io/proto/otlp", "google.golang.org/protobuf", // and what we send
	"github.com/rogpeppe/go-internal/testscript",
	"golang.org/x/net/html",                                     // reads our pages
	"github.com/segmentio/kafka-go", "github.com/twmb/franz-go", // one checks the other
}

// pure packages do no I/O, so that the stream, the training set, the server and
// the tests can all run them: the standard library's ways out are closed, too.
var pure = []string{"features", "features/expr", "features/profile", "feedback", "feedback/monitor", "deploy/dash/chart", "trainer/eval", "trainer/learn", "trainer/learn/ftrl", "trainer/learn/gbdt", "trainer/learn/onnx", "trainer/learn/trees"}

var waysOut = []string{"database/sql", "log", "net", "os", "syscall"}

func TestImportPolicy(t *testing.T) {
	// Read here and not by go list: the test cache sees the files that a test
	// opens, but not those that a child process opens, and would go on saying ok.
	packages, err := readImports(os.DirFS(".."))
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range faults(packages, policy) {
		t.Error(fault)
	}
}

// An edge is one import of one file.
type edge struct {
	file string
	path string
	test bool // a _test.go file imports it
}

// readImports returns the imports of each package of the module at root, by
// folder. Other modules in folders below, testdata and hidden folders are left
// out, as the go command leaves them out.
func readImports(root fs.FS) (map[string][]edge, error) {
	packages := make(map[string][]edge)
	err := fs.WalkDir(root, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		if entry.IsDir() {
			return enter(root, name)
		}
		if !strings.HasSuffix(name, ".go") || ignored(path.Base(name)) {
			return nil
		}
		edges, err := readFile(root, name)
		pkg := path.Dir(name)
		packages[pkg] = append(packages[pkg], edges...)
		return err
	})
	return packages, err
}

// enter returns fs.SkipDir for folders that hold none of the module's packages.
func enter(root fs.FS, dir string) error {
	if base := path.Base(dir); ignored(base) || base == "testdata" {
		return fs.SkipDir
	}
	if _, err := fs.Stat(root, path.Join(dir, "go.mod")); err == nil {
		return fs.SkipDir
	}
	return nil
}

func ignored(base string) bool {
	return strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_")
}

// readFile returns a file's imports. The first edge has no path: it stands for
// the file itself, so that a package without imports is seen as well.
func readFile(root fs.FS, name string) ([]edge, error) {
	source, err := fs.ReadFile(root, name)
	if err != nil {
		return nil, err
	}
	file, err := parser.ParseFile(token.NewFileSet(), name, source, parser.ImportsOnly)
	if err != nil {
		return nil, err
	}
	test := strings.HasSuffix(name, "_test.go")
	edges := []edge{{file: name, test: test}}
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, fmt.Errorf("%s: import %s: %w", name, spec.Path.Value, err)
		}
		edges = append(edges, edge{file: name, path: imported, test: test})
	}
	return edges, nil
}

// faults returns what the packages do against the policy, and what the policy
// says about packages that do not exist, in a stable order.
func faults(packages map[string][]edge, policy map[string][]string) []string {
	var found []string
	exists := make(map[string]bool)
	for pkg, edges := range packages {
		allowed, listed := policy[pkg]
		exists[pkg] = slices.ContainsFunc(edges, func(e edge) bool { return !e.test })
		if exists[pkg] && !listed {
			found = append(found, fmt.Sprintf("package %s has no line in the policy of cmd/deps_test.go: give it one", pkg))
			continue
		}
		refused := make(map[string]bool) // one fault an import path, not one a file
		for _, e := range edges {
			if why := refuse(pkg, e, allowed); why != "" && !refused[e.path] {
				refused[e.path] = true
				found = append(found, fmt.Sprintf("%s: package %s must not import %s: %s", e.file, pkg, e.path, why))
			}
		}
	}
	for pkg := range policy {
		if !exists[pkg] {
			found = append(found, fmt.Sprintf("the policy names package %s, which does not exist: remove its line", pkg))
		}
	}
	slices.Sort(found)
	return found
}

// refuse says why package pkg must not have the edge, or nothing if it may.
func refuse(pkg string, e edge, allowed []string) string {
	own, ours := strings.CutPrefix(e.path, module+"/")
	first, _, _ := strings.Cut(e.path, "/")
	switch {
	case e.path == "":
		return ""
	case e.path == "C":
		return "the module builds without cgo"
	case ours && below("cmd", own):
		return "nothing imports a command"
	case !ours && !strings.Contains(first, "."): // the standard library
		if !e.test && slices.Contains(pure, pkg) && slices.ContainsFunc(waysOut, func(out string) bool { return below(out, e.path) }) {
			return "it is pure: no files, no network, no log"
		}
		return ""
	case ours && own == pkg && e.test: // an external test package
		return ""
	}
	if e.test {
		allowed = slices.Concat(allowed, inTests)
	}
	for _, a := range allowed {
		if ours && (a == anyOfOurs || a == own) || !ours && below(a, e.path) {
			return ""
		}
	}
	return "the policy in cmd/deps_test.go does not allow it"
}

// below reports whether an import path is root or lies below it.
func below(root, imported string) bool {
	return imported == root || strings.HasPrefix(imported, root+"/")
}

// TestPolicyFindsFaults breaks every rule once, in a module that is not there.
func TestPolicyFindsFaults(t *testing.T) {
	file := func(imports ...string) *fstest.MapFile {
		source := "package p\n"
		for _, imported := range imports {
			source += "import " + strconv.Quote(imported) + "\n"
		}
		return &fstest.MapFile{Data: []byte(source)}
	}
	root := fstest.MapFS{
		"features/a.go":           file("fmt", "time", module+"/features/expr"),
		"features/b.go":           file("net/http"),
		"features/b_test.go":      file("os", module+"/features", module+"/loadtest"),
		"features/expr/a.go":      file("cel.dev/cel-go/cel", "cel.dev/cel-gone", module+"/features"),
		"streams/a.go":            file("C", "github.com/segmentio/kafka-go/sasl"),
		"loadtest/a.go":           file(),
		"loadtest/testdata/x.go":  file("unheard.of/x"),
		"cmd/millrace/main.go":    file(module+"/streams", module+"/loadtest", "unheard.of/x"),
		"deploy/a.go":             file(module + "/cmd/millrace"),
		"deploy/docker/go.mod":    {},
		"deploy/docker/a_test.go": file("unheard.of/x"),
		"only/tests/a_test.go":    file("unheard.of/x"),
	}
	rules := map[string][]string{
		"features":      {"features/expr"},
		"features/expr": {"cel.dev/cel-go"},
		"streams":       {"github.com/segmentio/kafka-go"},
		"cmd/millrace":  {anyOfOurs},
		"deploy":        {anyOfOurs},
		"trainer":       {},
	}
	want := []string{
		"cmd/millrace/main.go: package cmd/millrace must not import unheard.of/x",
		"deploy/a.go: package deploy must not import " + module + "/cmd/millrace",
		"features/b.go: package features must not import net/http",
		"features/b_test.go: package features must not import " + module + "/loadtest",
		"features/expr/a.go: package features/expr must not import cel.dev/cel-gone",
		"features/expr/a.go: package features/expr must not import " + module + "/features",
		"only/tests/a_test.go: package only/tests must not import unheard.of/x",
		"package loadtest has no line in the policy of cmd/deps_test.go",
		"streams/a.go: package streams must not import C",
		"the policy names package trainer, which does not exist",
	}
	packages, err := readImports(root)
	if err != nil {
		t.Fatal(err)
	}
	got := faults(packages, rules)
	if !slices.EqualFunc(got, want, strings.HasPrefix) { // the reason follows
		t.Errorf("faults:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
