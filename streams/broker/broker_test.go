package broker

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// TestMain turns the test binary into a broker on a directory when it is asked
// to, for the tests that need another process.
func TestMain(m *testing.M) {
	dir := os.Getenv("BROKER_DIR")
	if dir == "" {
		os.Exit(m.Run())
	}
	b, err := Start(Options{Dir: dir, Log: quiet})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(b.Addr())
	select {}
}

// startChild runs a broker in a child process and returns its address.
func startChild(t *testing.T, dir string) (*exec.Cmd, string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "BROKER_DIR="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	addr := strings.TrimSpace(line)
	if _, _, err := net.SplitHostPort(addr); err != nil {
		t.Fatal(line)
	}
	return cmd, addr
}

func start(t *testing.T, o Options) *Broker {
	t.Helper()
	o.Log = quiet
	b, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func clusterID(t *testing.T, addr string) string {
	t.Helper()
	tr := &kafka.Transport{}
	defer tr.CloseIdleConnections()
	c := &kafka.Client{Addr: kafka.TCP(addr), Transport: tr, Timeout: 10 * time.Second}
	m, err := c.Metadata(t.Context(), &kafka.MetadataRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return m.ClusterID
}

// TestClusterID stays with the directory, and differs between directories.
func TestClusterID(t *testing.T) {
	dir := t.TempDir()
	var ids []string
	for _, d := range []string{dir, dir, t.TempDir(), "", ""} {
		b := start(t, Options{Dir: d})
		ids = append(ids, clusterID(t, b.Addr()))
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if ids[0] != ids[1] || len(ids[0]) != 22 {
		t.Errorf("one directory: %q, then %q", ids[0], ids[1])
	}
	seen := make(map[string]bool)
	for _, id := range ids[1:] {
		if seen[id] {
			t.Errorf("the id %q serves twice: %q", id, ids)
		}
		seen[id] = true
	}
}

// TestKilled writes to a broker in another process, kills it, and finds every
// acknowledged record and the same cluster.
func TestKilled(t *testing.T) {
	const rounds, n = 3, 200
	dir := t.TempDir()
	id := ""
	for round := range rounds {
		cmd, addr := startChild(t, dir)
		if got := clusterID(t, addr); id == "" {
			id = got
		} else if got != id {
			t.Errorf("round %d: cluster %q, was %q", round, got, id)
		}
		conn := dial(t, addr, round == 0)
		for i := range n {
			if _, err := conn.WriteMessages(kafka.Message{Value: []byte(strconv.Itoa(round*n + i))}); err != nil {
				t.Fatal(err)
			}
		}
		cmd.Process.Kill()
		cmd.Wait()
	}
	b := start(t, Options{Dir: dir})
	conn := dial(t, b.Addr(), false)
	if _, last, err := conn.ReadOffsets(); err != nil || last != rounds*n {
		t.Fatalf("the log ends at %d, %v; want %d", last, err, rounds*n)
	}
	for i := range rounds * n {
		m, err := conn.ReadMessage(1 << 20)
		if err != nil || string(m.Value) != strconv.Itoa(i) {
			t.Fatalf("record %d is %q, %v", i, m.Value, err)
		}
	}
}

// dial connects to partition 0 of topic t, making the topic first if asked to.
func dial(t *testing.T, addr string, create bool) *kafka.Conn {
	t.Helper()
	if create {
		c, err := kafka.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.CreateTopics(kafka.TopicConfig{Topic: "t", NumPartitions: 1, ReplicationFactor: 1}); err != nil {
			t.Fatal(err)
		}
	}
	conn, err := kafka.DialLeader(t.Context(), "tcp", addr, "t", 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// TestDirectoryInUse names the directory and the process that has it.
func TestDirectoryInUse(t *testing.T) {
	dir := t.TempDir()
	cmd, _ := startChild(t, dir)
	_, err := Start(Options{Dir: dir, Log: quiet})
	want := fmt.Sprintf("directory %s is in use by process %d", dir, cmd.Process.Pid)
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q in it", err, want)
	}
	cmd.Process.Kill()
	cmd.Wait()
	b := start(t, Options{Dir: dir}) // the lock went with the process
	if _, err := Start(Options{Dir: dir, Log: quiet}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("twice in one process: %v", err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	start(t, Options{Dir: dir})
}

// TestPortTaken names the port and the option, and lets go of the directory.
func TestPortTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	dir := t.TempDir()
	_, err = Start(Options{Dir: dir, Port: port, Log: quiet})
	if want := fmt.Sprintf("port %d of 127.0.0.1 is taken", port); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q in it", err, want)
	}
	l.Close()
	b := start(t, Options{Dir: dir, Port: port})
	if want := fmt.Sprintf("127.0.0.1:%d", port); b.Addr() != want {
		t.Errorf("Addr() = %q, want %q", b.Addr(), want)
	}
}

// TestStartLog says what the broker is for.
func TestStartLog(t *testing.T) {
	var out strings.Builder
	b, err := Start(Options{Log: slog.New(slog.NewTextHandler(&out, nil))})
	if err != nil {
		t.Fatal(err)
	}
	b.Close()
	for _, want := range []string{"for trying out and tests", "data=memory", b.Addr()} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q, want %q in it", out.String(), want)
		}
	}
}
