package external

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// The test binary is also the program of the tests: as "fake NAME ...".
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "fake" {
		fakes()[os.Args[2]]()
		return
	}
	os.Setenv("GORACE", "atexit_sleep_ms=0") // programs pass it on, and end at once
	os.Exit(m.Run())
}

// What good programs leave.
const (
	goodXGBoost  = `{"learner":{},"version":[3,2,0]}`
	goodLightGBM = "tree\nversion=v4\n"
)

// fakes are what the program does.
func fakes() map[string]func() {
	return map[string]func(){
		"good":     func() { leave("model.json", goodXGBoost) },
		"tell":     tell,
		"fail":     fail,
		"hang":     hang,
		"host":     host,
		"tellpid":  func() { fmt.Println("pid", os.Getpid()); hang() },
		"stubborn": func() { signal.Ignore(syscall.SIGTERM); fmt.Println("ready"); hang() },
		"polite":   polite,
		"orphan":   func() { fmt.Println("child", start("hang", false)); leave("model.json", goodXGBoost) },
		"escape":   func() { fmt.Println("child", start("hang", true)); leave("model.json", goodXGBoost) },
		"orphaned": func() { fmt.Println("child", start("hang", true)); hang() },
		"hungry":   func() { fill(1 << 30); hang() },
		"hungry2":  func() { start("eat", false); start("eat", true); hang() },
		"eat":      func() { fill(60 << 20); hang() },
		"map":      mapFile,
		"chatty":   chatty,
		"garbage": func() {
			os.Stdout.Write([]byte("\x1b[31mred\xff\x00\r50%\r100%\r\nend"))
			leave("model.json", goodXGBoost)
		},
		"scribble": func() { scribble(9<<30, 1); hang() },
		"litter":   func() { scribble(0, 1000); hang() },
		"quick":    func() { scribble(1<<20, 1); leave("model.json", goodXGBoost) },
		"lightgbm": func() { leave("model.txt", goodLightGBM) },
		"onnx":     func() { leave("model.onnx", "\x08\x08") },
		"report": func() {
			leave("model.json", goodXGBoost, "metrics.json", "{ \"auc\": 0.5 }", "predictions.json", "[0.25, 1]")
		},
		"nothing":   func() {},
		"pickle":    func() { leave("model.pkl", "x", "model.ubj", "y") },
		"two":       func() { leave("model.txt", goodLightGBM, "model.json", goodXGBoost) },
		"large":     func() { leave("model.onnx", strings.Repeat("x", 2000)) },
		"empty":     func() { leave("model.onnx", "") },
		"nojson":    func() { leave("model.json", "{") },
		"dump":      func() { leave("model.json", `{"nodeid": 0}`) },
		"pickled":   func() { leave("model.txt", "\x80\x04\x95") },
		"link":      func() { must(os.Symlink("/etc/passwd", out("model.txt"))) },
		"folder":    func() { must(os.Mkdir(out("model.onnx"), 0o700)) },
		"pipe":      func() { must(syscall.Mkfifo(out("model.onnx"), 0o600)) },
		"elsewhere": elsewhere,
		"locked":    func() { leave("model.json", goodXGBoost); must(os.MkdirAll("a/b/c", 0o700)); must(os.Chmod("a/b", 0)) },
		"badreport": func() { leave("model.json", goodXGBoost, "metrics.json", `{"auc": NaN}`) },
		"null":      func() { leave("model.json", goodXGBoost, "predictions.json", "[1, null]") },
		"many":      func() { leave("model.json", goodXGBoost, "predictions.json", "[1, 2, 3, 4, 5]") },
		"words":     func() { leave("model.json", goodXGBoost, "predictions.json", `["a"]`) },
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func out(name string) string { return filepath.Join(os.Getenv("MILLRACE_OUT"), name) }

// leave writes files of the output folder, each a name and its content.
func leave(files ...string) {
	for pair := range slices.Chunk(files, 2) {
		must(os.WriteFile(out(pair[0]), []byte(pair[1]), 0o600))
	}
}

// tell leaves what the program was given.
func tell() {
	stdin, err := io.ReadAll(os.Stdin)
	must(err)
	wd, err := os.Getwd()
	must(err)
	given, err := json.Marshal(map[string]any{"args": os.Args, "env": os.Environ(), "stdin": string(stdin), "wd": wd})
	must(err)
	params, err := os.ReadFile(os.Getenv("MILLRACE_PARAMS"))
	must(err)
	data, err := os.ReadFile(os.Getenv("MILLRACE_DATA"))
	must(err)
	if !bytes.HasPrefix(data, []byte("PAR1")) {
		panic("no Parquet")
	}
	leave("model.json", `{"learner": `+string(params)+`}`, "metrics.json", string(given))
}

func fail() {
	for i := range 100 {
		fmt.Println("line", i)
	}
	fmt.Fprintln(os.Stderr, "ValueError: no")
	os.Exit(3)
}

// hang waits for good, in a way that the runtime does not take for a deadlock.
func hang() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1)
	<-signals
}

func polite() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	fmt.Println("ready")
	<-signals
	fmt.Println("asked to end")
}

// start starts another fake, away from the session of the program or in it, and
// returns its process once it runs.
func start(name string, away bool) int {
	cmd := exec.Command(os.Args[0], "fake", name)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: away, Setpgid: !away}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr // so that it holds the pipe
	must(cmd.Start())
	return cmd.Process.Pid
}

// host is a process that trains with a program that hangs.
func host() {
	c := fake("tellpid")
	c.Log = lines(func(line string) { fmt.Println(line) })
	_, err := c.Train(context.Background(), os.Args[3], small())
	fmt.Println("host ends", err)
}

// fill takes memory and writes to all of it.
func fill(bytes int) {
	for block := 1 << 20; bytes > 0; bytes -= block {
		b := make([]byte, block)
		for i := 0; i < block; i += 4096 {
			b[i] = 1
		}
		filled = append(filled, b)
	}
}

var filled [][]byte

// mapFile reads a mapped file that is larger than the memory allowed, for a while.
func mapFile() {
	f, err := os.OpenFile("big", os.O_RDWR|os.O_CREATE, 0o600)
	must(err)
	const size = 3 * MinMemory
	must(f.Truncate(size))
	data, err := syscall.Mmap(int(f.Fd()), 0, size, syscall.PROT_READ, syscall.MAP_SHARED)
	must(err)
	sum := 0
	for range 5 {
		for i := 0; i < size; i += 4096 {
			sum += int(data[i])
		}
	}
	leave("model.json", fmt.Sprintf(`{"learner": %d}`, sum))
}

func chatty() {
	w := bufio.NewWriter(os.Stdout)
	for i := range 20_000 {
		fmt.Fprintln(w, "line", i)
	}
	must(w.Flush())
	leave("model.json", goodXGBoost)
}

// scribble writes files in the program's own folder.
func scribble(bytes, files int) {
	for i := range files {
		f, err := os.Create(fmt.Sprintf("%d.tmp", i))
		must(err)
		must(f.Truncate(int64(bytes)))
		must(f.Close())
	}
}

// elsewhere makes the output folder a link to another.
func elsewhere() {
	must(os.Remove(os.Getenv("MILLRACE_OUT")))
	must(os.Symlink(os.Args[3], os.Getenv("MILLRACE_OUT")))
	leave("model.json", goodXGBoost)
}
