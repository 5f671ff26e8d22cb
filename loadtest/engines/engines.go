// Package engines finds the real engines that the tool beside it runs, for tests,
// and kills and starts their nodes. `make engines` starts those that most tests
// need.
package engines

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Addresses of the engines, without a shift of the ports.
const (
	kafkaPort        = 19092
	kafka3Port       = 19192 // the first of three
	secureKafkaPort  = 19292
	redisPort        = 16379
	secureRedisPort  = 16380
	redisClusterPort = 16401 // the first of six
	valkeyPort       = 16479
	redis8Port       = 16480
	flinkPort        = 18081
	jobServerPort    = 18099
)

// Kafka returns the address of a single broker.
func Kafka(t testing.TB) []string { return need(t, "kafka", kafkaPort) }

// Kafka3 returns the addresses of three brokers: the nodes kafka3-1 to kafka3-3.
func Kafka3(t testing.TB) []string {
	return need(t, "kafka3", kafka3Port, kafka3Port+1, kafka3Port+2)
}

// A Secured engine takes TLS only, and two users: App has the least rights that
// we need, or none until it is given some; Admin has all.
type Secured struct {
	Addresses            []string
	CAFile               string // in PEM; the certificate is for localhost and 127.0.0.1
	App, AppPassword     string
	Admin, AdminPassword string
}

// KafkaSecure returns a broker that asks for SASL: PLAIN, SCRAM-SHA-256 or
// SCRAM-SHA-512. App has no rights; give it some as Admin. It also listens without
// TLS, for administration, on the next port.
func KafkaSecure(t testing.TB) Secured {
	return secured(t, "kafka-secure", need(t, "kafka-secure", secureKafkaPort))
}

// RedisSecure returns a Redis with an access list.
func RedisSecure(t testing.TB) Secured {
	return secured(t, "redis-secure", need(t, "redis-secure", secureRedisPort))
}

func secured(t testing.TB, node string, addresses []string) Secured {
	return Secured{addresses, filepath.Join(Dir(t, node), "ca.pem"), "app", "app-secret", "admin", "admin-secret"}
}

// Redis returns the address of this machine's Redis, which keeps an append-only
// file.
func Redis(t testing.TB) string { return need(t, "redis", redisPort)[0] }

// RedisCluster returns the addresses of three masters and three replicas: the
// nodes redis-cluster-1 to redis-cluster-6.
func RedisCluster(t testing.TB) []string {
	var ports []int
	for i := range 6 {
		ports = append(ports, redisClusterPort+i)
	}
	return need(t, "redis-cluster", ports...)
}

// Valkey returns the address of a Valkey 9.1.
func Valkey(t testing.TB) string { return need(t, "valkey", valkeyPort)[0] }

// Redis8 returns the address of a Redis 8.2.
func Redis8(t testing.TB) string { return need(t, "redis8", redis8Port)[0] }

// A FlinkCluster has two TaskManagers of two slots: the nodes flink-jm, flink-tm1,
// flink-tm2 and flink-js.
type FlinkCluster struct {
	JobServer string // host:port of Beam's job server
	REST      string // URL of Flink's REST service
}

// Flink returns a Flink with Beam's job server.
func Flink(t testing.TB) FlinkCluster {
	a := need(t, "flink", jobServerPort, flinkPort)
	return FlinkCluster{JobServer: a[0], REST: "http://" + a[1]}
}

// need returns the addresses of a group. If it does not run the test is skipped, or
// fails where CI is set.
func need(t testing.TB, group string, ports ...int) []string {
	t.Helper()
	shift := 0
	if text := os.Getenv("ENGINES_PORT_SHIFT"); text != "" {
		var err error
		if shift, err = strconv.Atoi(text); err != nil {
			t.Fatalf("ENGINES_PORT_SHIFT=%s: want a number, which is added to each port", text)
		}
	}
	var addresses []string
	for _, port := range ports {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port+shift))
		conn, err := (&net.Dialer{Timeout: 2 * time.Second}).DialContext(t.Context(), "tcp", address)
		if err != nil {
			missing(t, group, err)
		}
		conn.Close()
		addresses = append(addresses, address)
	}
	return addresses
}

func missing(t testing.TB, group string, err error) {
	t.Helper()
	const how = "%s does not run (%v): start it with loadtest/engines/engines start %[1]s"
	if os.Getenv("CI") != "" {
		t.Fatalf(how, group, err)
	}
	t.Skipf(how, group, err)
}

// Kill ends a node with SIGKILL and waits until it is gone.
func Kill(t testing.TB, node string) { tool(t, "kill", node) }

// Up starts a node again, on the files that it has left, and waits until it is
// ready.
func Up(t testing.TB, node string) { tool(t, "up", node) }

// Dir is where a node writes its files.
func Dir(t testing.TB, node string) string {
	t.Helper()
	if dir := os.Getenv("ENGINES_DIR"); dir != "" {
		return filepath.Join(dir, node)
	}
	return filepath.Join(here(t), "..", "..", ".cache", "engines", "run", node)
}

// Pid is the process of a node.
func Pid(t testing.TB, node string) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(Dir(t, node), "pid"))
	if err != nil {
		t.Fatalf("engines: node %s: %v", node, err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatalf("engines: node %s: %v", node, err)
	}
	return pid
}

// toolTime bounds one call of the tool.
const toolTime = 3 * time.Minute

func tool(t testing.TB, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), toolTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(here(t), "engines"), args...)
	cmd.WaitDelay = time.Second // the node that it starts keeps nothing of ours open, but be sure
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("engines %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// here is the folder of this file.
func here(t testing.TB) string {
	_, file, _, ok := runtime.Caller(0)
	if !ok || !filepath.IsAbs(file) {
		t.Fatal("engines: the tests were built with -trimpath, and their source is not found")
	}
	return filepath.Dir(file)
}
