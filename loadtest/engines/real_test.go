//go:build engines

package engines

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// TestNodes expects as many addresses as nodes, that all of them take connections,
// and that each Redis serves.
func TestNodes(t *testing.T) {
	one := func(f func(testing.TB) string) func(testing.TB) []string {
		return func(t testing.TB) []string { return []string{f(t)} }
	}
	for _, c := range []struct {
		group string
		addrs func(testing.TB) []string
		want  int
	}{
		{"kafka", Kafka, 1}, {"kafka3", Kafka3, 3},
		{"redis", one(Redis), 1}, {"redis-cluster", RedisCluster, 6}, {"valkey", one(Valkey), 1}, {"redis8", one(Redis8), 1},
	} {
		t.Run(c.group, func(t *testing.T) {
			addrs := c.addrs(t) // it connects to each
			if len(addrs) != c.want {
				t.Errorf("%d addresses, want %d", len(addrs), c.want)
			}
			for _, addr := range addrs {
				if strings.HasPrefix(c.group, "kafka") {
					continue // it has taken a connection, and says nothing unasked
				}
				if got := ping(t, addr); got != "+PONG" {
					t.Errorf("%s answers %q", addr, got)
				}
			}
		})
	}
}

// TestSecured connects to those that ask for TLS, by what their authority signs.
func TestSecured(t *testing.T) {
	for name, engine := range map[string]func(testing.TB) Secured{"kafka-secure": KafkaSecure, "redis-secure": RedisSecure} {
		t.Run(name, func(t *testing.T) {
			s := engine(t)
			authority, err := os.ReadFile(s.CAFile)
			if err != nil {
				t.Fatal(err)
			}
			roots := x509.NewCertPool()
			if !roots.AppendCertsFromPEM(authority) {
				t.Fatalf("%s holds no certificate", s.CAFile)
			}
			conn, err := tls.Dial("tcp", s.Addresses[0], &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12})
			if err != nil {
				t.Fatal(err)
			}
			conn.Close()
		})
	}
}

// TestKillAndUp ends a node and starts it again: another process on the same port.
func TestKillAndUp(t *testing.T) {
	addr := Redis8(t)
	was := Pid(t, "redis8")
	t.Cleanup(func() { Up(t, "redis8") })
	Kill(t, "redis8")
	if conn, err := net.DialTimeout("tcp", addr, time.Second); err == nil {
		conn.Close()
		t.Errorf("%s is killed and takes a connection", addr)
	}
	Up(t, "redis8")
	is := Pid(t, "redis8")
	if is == was {
		t.Errorf("pid %d, as before it was killed", is)
	}
	if got := ping(t, addr); got != "+PONG" {
		t.Errorf("%s answers %q", addr, got)
	}
	Up(t, "redis8") // it runs
	if pid := Pid(t, "redis8"); pid != is {
		t.Errorf("pid %d, want %d left alone", pid, is)
	}
}

// ping asks a Redis whether it serves.
func ping(t *testing.T, addr string) string {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}
