package redis

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"

	"github.com/millrace/millrace/features/online/onlinetest"
)

func refused(t *testing.T, address, want string) {
	t.Helper()
	s, err := Open(t.Context(), Options{Addresses: []string{address}})
	if err == nil {
		s.Close()
	}
	if err == nil || !strings.Contains(err.Error(), address) || !strings.Contains(err.Error(), want) {
		t.Errorf("Open: %v, want an error of %s with %q", err, address, want)
	}
}

// TestEvictingPolicyIsRefused takes every policy that the server knows.
func TestEvictingPolicyIsRefused(t *testing.T) {
	server := onlinetest.StartRedis(t)
	c := client(t, server)
	for _, policy := range []string{"allkeys-lru", "allkeys-lfu", "allkeys-random", "volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"} {
		if err := c.ConfigSet(t.Context(), "maxmemory-policy", policy).Err(); err != nil {
			t.Fatal(err)
		}
		refused(t, server.Addr, "maxmemory-policy is "+policy+", which drops rows when the memory is full and makes features wrong; set it to noeviction")
	}
	if err := c.ConfigSet(t.Context(), "maxmemory-policy", "noeviction").Err(); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, Options{Addresses: []string{server.Addr}})
}

// TestNoConfig has a server that does not answer CONFIG, as those for hire.
func TestNoConfig(t *testing.T) {
	server := onlinetest.StartRedis(t, "--rename-command", "CONFIG", "")
	log := captureLog(t)
	mustOpen(t, Options{Addresses: []string{server.Addr}})
	if !strings.Contains(log.String(), "cannot check maxmemory-policy, it must be noeviction") {
		t.Errorf("no warning; logged %q", log.String())
	}
}

func captureLog(t *testing.T) *bytes.Buffer {
	var log bytes.Buffer
	was := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	t.Cleanup(func() { slog.SetDefault(was) })
	return &log
}

func TestReplicaIsRefused(t *testing.T) {
	master, replica := onlinetest.StartRedis(t), onlinetest.StartRedis(t)
	s := mustOpen(t, Options{Addresses: []string{replica.Addr}}) // while it is a master
	host, port, _ := net.SplitHostPort(master.Addr)
	if err := client(t, replica).ReplicaOf(t.Context(), host, port).Err(); err != nil {
		t.Fatal(err)
	}
	refused(t, replica.Addr, "is a replica, which takes no commits; give the address of its master")
	if err := s.Commit(t.Context(), commitOf([16]byte{}, 1, 1)); err == nil || !strings.Contains(err.Error(), "give the address of the master") {
		t.Errorf("a commit to what has become a replica: %v", err)
	}
}

// TestOtherServersAreRefused has servers that this machine lacks say on the wire
// what they say.
func TestOtherServersAreRefused(t *testing.T) {
	for _, test := range []struct{ hello, want string }{
		{helloOf("6.2.14", "standalone"), "is redis 6.2.14; use Redis 7.0 or newer, or Valkey"},
		{helloOf("6.0.0", "cluster"), "is redis 6.0.0; use Redis 7.0"},
		{helloOf("", "standalone"), "is redis ; use Redis 7.0"},
		{helloOf("7.0.15", "sentinel"), "is a Sentinel, which keeps no rows; give the address of the master that it watches"},
		{"-ERR unknown command `HELLO`, with args beginning with: \r\n", "does not know HELLO; use Redis 7.0 or newer, or Valkey, and no proxy before it"},
	} {
		refused(t, fakeServer(t, test.hello), test.want)
	}
	for _, h := range []hello{{"redis", "7.0.0", "standalone", "master"}, {"redis", "8.2.3", "cluster", "replica"}, {"valkey", "9.1.2", "standalone", "master"}, {"redis", "10.0", "cluster", "master"}} {
		if err := h.checkKind(); err != nil {
			t.Errorf("%+v: %v", h, err)
		}
	}
}

func helloOf(version, mode string) string {
	var b strings.Builder
	b.WriteString("*10\r\n")
	for _, s := range []string{"server", "redis", "version", version, "proto", "2", "mode", mode, "role", "master"} {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(s), s)
	}
	return b.String()
}

// fakeServer answers HELLO, and everything else with OK.
func fakeServer(t *testing.T, hello string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go answerHello(c, hello)
		}
	}()
	return l.Addr().String()
}

func answerHello(c net.Conn, hello string) {
	defer c.Close()
	r := bufio.NewReader(c)
	for {
		var n int
		if _, err := fmt.Fscanf(r, "*%d\r\n", &n); err != nil {
			return
		}
		command := ""
		for i := range n {
			var size int
			if _, err := fmt.Fscanf(r, "$%d\r\n", &size); err != nil {
				return
			}
			arg := make([]byte, size+2)
			if _, err := io.ReadFull(r, arg); err != nil {
				return
			}
			if i == 0 {
				command = strings.ToUpper(string(arg[:size]))
			}
		}
		answer := "+OK\r\n"
		if command == "HELLO" {
			answer = hello
		}
		if _, err := io.WriteString(c, answer); err != nil {
			return
		}
	}
}

// TestPolicyOfEachMaster has one master of a cluster evict.
func TestPolicyOfEachMaster(t *testing.T) {
	c := newCluster(t, 3, 0)
	if err := client(t, c.nodes[1]).ConfigSet(t.Context(), "maxmemory-policy", "volatile-ttl").Err(); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), Options{Addresses: []string{c.nodes[0].Addr}})
	if err == nil || !strings.HasPrefix(err.Error(), "redis "+c.nodes[1].Addr+": maxmemory-policy is volatile-ttl") {
		t.Errorf("Open: %v", err)
	}
}
