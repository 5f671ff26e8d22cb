// Package docker checks the compose file at the root of the repository.
package docker

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

var composeFile = filepath.Join("..", "..", "docker-compose.yml")

func TestComposeFile(t *testing.T) {
	if err := check(t.Context(), composeFile); err != nil {
		t.Error(err)
	}
}

// check reads a compose file as `docker compose` does, without Docker and
// without the environment, so that the file means the same on every machine. It
// fails on keys and values that the specification does not know, on names that
// nothing has, and on what this project wants of its engines.
func check(ctx context.Context, path string) error {
	project, err := load(ctx, path)
	if err != nil {
		return err
	}
	faults := []error{flink(ctx, path)}
	for _, name := range project.ServiceNames() {
		service := project.Services[name]
		for _, fault := range []error{image(service), ports(service), health(service), volumes(project, service)} {
			if fault != nil {
				faults = append(faults, fmt.Errorf("service %s: %w", name, fault))
			}
		}
	}
	return errors.Join(append(faults, kafka(project), redis(project))...)
}

// load reads the services that have no profile, and those of the given ones.
func load(ctx context.Context, path string, profiles ...string) (*types.Project, error) {
	options, err := cli.NewProjectOptions([]string{path}, cli.WithProfiles(profiles))
	if err != nil {
		return nil, err
	}
	return options.LoadProject(ctx)
}

// pinned matches an image with the tag of one release: 4.3.1, and not 4.3 or
// latest, which become another program overnight.
var pinned = regexp.MustCompile(`^[a-z0-9./-]+:[0-9]+\.[0-9]+\.[0-9]+$`)

func image(service types.ServiceConfig) error {
	if !pinned.MatchString(service.Image) {
		return fmt.Errorf("image %s: want the tag of one release, such as :4.3.1", service.Image)
	}
	return nil
}

// ports wants every published port on loopback: neither engine asks for a
// password.
func ports(service types.ServiceConfig) error {
	if len(service.Ports) == 0 {
		return errors.New("no port is published: the engine cannot be reached")
	}
	for _, port := range service.Ports {
		if host, err := netip.ParseAddr(port.HostIP); err != nil || !host.IsLoopback() {
			return fmt.Errorf("port %s is published on address %q: want 127.0.0.1", port.Published, port.HostIP)
		}
	}
	return nil
}

func health(service types.ServiceConfig) error {
	h := service.HealthCheck
	if h == nil || h.Disable || len(h.Test) < 2 || h.Interval == nil || h.Timeout == nil {
		return errors.New("no health check with test, interval and timeout: `up --wait` would wait for nothing")
	}
	return nil
}

// volumes wants data in named volumes, which outlive the container.
func volumes(project *types.Project, service types.ServiceConfig) error {
	if len(service.Volumes) == 0 {
		return errors.New("no volume: the data would go with the container")
	}
	for _, volume := range service.Volumes {
		if _, named := project.Volumes[volume.Source]; volume.Type != types.VolumeTypeVolume || !named {
			return fmt.Errorf("%s is mounted from the %s %q: want a named volume", volume.Target, volume.Type, volume.Source)
		}
	}
	return nil
}

// kafka checks that clients on this machine get to the broker by the address
// that it advertises, and that its log is in the volume.
func kafka(project *types.Project) error {
	service, err := project.GetService("kafka")
	if err != nil {
		return err
	}
	if len(service.Ports) != 1 || len(service.Volumes) != 1 {
		return errors.New("service kafka: want one port and one volume")
	}
	for name, want := range map[string]string{
		"KAFKA_PROCESS_ROLES":             "broker,controller",
		"KAFKA_ADVERTISED_LISTENERS":      "CLIENTS://localhost:" + service.Ports[0].Published,
		"KAFKA_LOG_DIRS":                  service.Volumes[0].Target,
		"KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
	} {
		if got := service.Environment[name]; got == nil || *got != want {
			return fmt.Errorf("service kafka: want %s=%s", name, want)
		}
	}
	return nil
}

// redis checks the settings that a store of state stands on.
func redis(project *types.Project) error {
	service, err := project.GetService("redis")
	if err != nil {
		return err
	}
	command := strings.Join(service.Command, " ")
	for _, want := range []string{"--maxmemory-policy noeviction", "--appendonly yes", "--appendfsync everysec"} {
		if !strings.Contains(command, want) {
			return fmt.Errorf("service redis: command %q: want %s", command, want)
		}
	}
	return nil
}

// TestFaultsAreFound makes one fault at a time in the real file: a check that
// let these pass would let anything pass.
func TestFaultsAreFound(t *testing.T) {
	source, err := os.ReadFile(composeFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ old, new, want string }{
		{"healthcheck:", "healthchecks:", "healthchecks"},
		{"retries: 6", "retries: six", "retries"},
		{"interval: 10s", "interval: soon", "soon"},
		{"- redis:/data", "- redsi:/data", "redsi"},
		{"- redis:/data", "- ./redis:/data", "want a named volume"},
		{"  redis:\n    image:", "  radish:\n    image:", "no such service: redis"},
		{"apache/kafka:4.3.1", "apache/kafka:latest", "want the tag of one release"},
		{"apache/kafka:4.3.1", "apache/kafka", "want the tag of one release"},
		{`"127.0.0.1:6379:6379"`, `"6379:6379"`, "want 127.0.0.1"},
		{`"127.0.0.1:9092:9092"`, `"0.0.0.0:9092:9092"`, "want 127.0.0.1"},
		{`"127.0.0.1:9092:9092"`, `"127.0.0.1:9192:9092"`, "want KAFKA_ADVERTISED_LISTENERS=CLIENTS://localhost:9192"},
		{"kafka:/var/lib/kafka/data", "kafka:/elsewhere", "want KAFKA_LOG_DIRS=/elsewhere"},
		{"noeviction", "allkeys-lru", "want --maxmemory-policy noeviction"},
		{"profiles: [flink]", "profiles: []", "service flink-jobmanager: profiles []: want flink alone"},
		{"  flink-jobserver:", "  jobserver:", "no such service: flink-jobserver"},
		{"target: flink}", "target: worker}", "want it built from deploy/flink/Dockerfile, target flink"},
		{"network_mode: host", "network_mode: bridge", "want host"},
		{"taskmanager.bind-host: 127.0.0.1", "taskmanager.bind-host: 0.0.0.0", `taskmanager.bind-host: "0.0.0.0"`},
		{"heartbeat.timeout: 5000", "heartbeat.timeout: 50000", `deploy/flink/config.yaml has "5000"`},
		{"configs:\n  # These settings travel with a job, and it is the job server that sends them.\n  flink-job:\n    content: |\n      execution.buffer-timeout.interval: 5ms",
			"configs:\n  flink-job:\n    content: |\n      execution.buffer-timeout.interval: 100ms", `deploy/flink/config.yaml has "5ms"`},
		{"- --job-host=127.0.0.1", "- --job-host=0.0.0.0", "want the argument --job-host=127.0.0.1"},
		{"      - --add-opens=java.base/java.nio=ALL-UNNAMED\n", "", "want the argument --add-opens=java.base/java.nio"},
		{"source: flink-job,", "source: flink-jobs,", "flink-jobs"},
	} {
		t.Run(c.new, func(t *testing.T) {
			faulty := strings.Replace(string(source), c.old, c.new, 1)
			if faulty == string(source) {
				t.Fatalf("the compose file has no %q any more", c.old)
			}
			path := filepath.Join(t.TempDir(), "docker-compose.yml")
			if err := os.WriteFile(path, []byte(faulty), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := check(t.Context(), path); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("check: %v, want an error with %q", err, c.want)
			}
		})
	}
}
