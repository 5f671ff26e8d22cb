package onlinetest

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A Redis is a Redis or Valkey server of a test, on a free port of the loopback
// interface, with its files in a directory of its own. It ends with the test,
// or with the test's process.
type Redis struct {
	Addr string // host:port, the same after Start
	Dir  string // where the server writes its files

	args    []string
	process *exec.Cmd
	leash   io.Closer // closing it kills the server
}

// StartRedis starts a server with more arguments, as `--appendonly yes`. By
// default it writes nothing to disk unless told to SAVE. Without a server on
// this machine it skips the test, or fails it where CI is set.
func StartRedis(t testing.TB, args ...string) *Redis {
	t.Helper()
	return StartServer(t, redisBinary(t), args...)
}

// StartServer is StartRedis with another program than that of this machine's
// packages.
func StartServer(t testing.TB, program string, args ...string) *Redis {
	t.Helper()
	dir := t.TempDir()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := listener.Addr().String()
	listener.Close()
	_, port, _ := net.SplitHostPort(addr)
	r := &Redis{Addr: addr, Dir: dir}
	r.args = append([]string{program, "--port", port, "--bind", "127.0.0.1", "--dir", dir, "--logfile", filepath.Join(dir, "log"), "--save", ""}, args...)
	r.Start(t)
	t.Cleanup(r.Kill)
	return r
}

func redisBinary(t testing.TB) string {
	t.Helper()
	for _, name := range []string{"redis-server", "valkey-server"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("CI") != "" {
		t.Fatal("no redis-server on this machine; install it (Debian: apt-get install redis-server)")
	}
	t.Skip("no redis-server on this machine; install it (Debian: apt-get install redis-server)")
	return ""
}

// Start starts the server again after Kill, on its old files, and waits until
// it answers.
func (r *Redis) Start(t testing.TB) {
	t.Helper()
	// A shell holds the server and kills it when its own input ends, so that no
	// server is left behind when the test's process dies without cleaning up.
	r.process = exec.Command("/bin/sh", append([]string{"-c", `"$@" & server=$!; read _; kill -9 $server; wait $server`, "sh"}, r.args...)...)
	leash, err := r.process.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	r.leash = leash
	if err := r.process.Start(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(20 * time.Second)
	for err := r.answers(); err != nil; err = r.answers() {
		if time.Now().After(deadline) {
			log, _ := os.ReadFile(filepath.Join(r.Dir, "log"))
			r.Kill()
			t.Fatalf("redis-server on %s: %v; its log ends with:\n%s", r.Addr, err, log[max(0, len(log)-2000):])
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// answers asks the server for its directory, to be sure that it is ours and
// has loaded its files.
func (r *Redis) answers() error {
	conn, err := net.DialTimeout("tcp", r.Addr, time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, "PING\r\nCONFIG GET dir\r\nQUIT\r\n"); err != nil {
		return err
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		return err
	}
	if bytes.HasPrefix(answer, []byte("-NOAUTH")) || bytes.HasPrefix(answer, []byte("+PONG")) && bytes.Contains(answer, []byte(r.Dir)) {
		return nil
	}
	if bytes.HasPrefix(answer, []byte("+PONG")) && bytes.Contains(answer, []byte("unknown command 'CONFIG'")) {
		return nil // a test took the command away
	}
	return fmt.Errorf("answered %q", strings.TrimSpace(string(answer)))
}

// Kill ends the server at once, as SIGKILL does. Its files stay.
func (r *Redis) Kill() {
	if r.process == nil {
		return
	}
	r.leash.Close()
	r.process.Wait() // an error only says that the server was killed
	r.process = nil
}
