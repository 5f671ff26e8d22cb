package docker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
)

// flinkServices are those of the profile flink, which without it must not start.
var flinkServices = []string{"flink-jobmanager", "flink-jobserver", "flink-taskmanager-1", "flink-taskmanager-2"}

// flink checks the services of the profile: processes in the host's network that
// listen on loopback, of the image that deploy/flink builds, with the settings
// that the tests on a real Flink run with.
func flink(ctx context.Context, path string) error {
	project, err := load(ctx, path, "flink")
	if err != nil {
		return err
	}
	var faults []error
	for _, name := range flinkServices {
		service, err := project.GetService(name)
		if err != nil {
			return err
		}
		if !slices.Equal(service.Profiles, []string{"flink"}) {
			faults = append(faults, fmt.Errorf("service %s: profiles %v: want flink alone", name, service.Profiles))
		}
		settings := service.Environment["FLINK_PROPERTIES"]
		of := flinkProcess
		if name == "flink-jobserver" {
			of = jobServer(project)
		}
		text := ""
		if settings != nil {
			text = *settings
		}
		for _, fault := range []error{built(service), health(service), of(service, text)} {
			if fault != nil {
				faults = append(faults, fmt.Errorf("service %s: %w", name, fault))
			}
		}
	}
	return errors.Join(faults...)
}

// built wants the image to come from the Dockerfile beside the settings, and the
// host's network, where the project file's addresses are valid.
func built(service types.ServiceConfig) error {
	b := service.Build
	if b == nil || b.Target != "flink" || b.Dockerfile != "deploy/flink/Dockerfile" {
		return errors.New("want it built from deploy/flink/Dockerfile, target flink")
	}
	if service.NetworkMode != "host" || len(service.Ports) > 0 {
		return fmt.Errorf("network_mode %q and %d ports: want host, and none published", service.NetworkMode, len(service.Ports))
	}
	return nil
}

// flinkProcess checks a JobManager or TaskManager.
func flinkProcess(_ types.ServiceConfig, settings string) error {
	got := lines(settings)
	for key, want := range map[string]string{
		"rest.bind-address": "127.0.0.1", "jobmanager.bind-host": "127.0.0.1", "taskmanager.bind-host": "127.0.0.1",
		"env.java.opts.all": strings.Join(opens(), " "),
	} {
		if got[key] != want {
			return fmt.Errorf("%s: %q: want %q", key, got[key], want)
		}
	}
	for key, want := range clusterSettings() {
		switch {
		case strings.HasPrefix(key, "taskmanager.memory.jvm-overhead"): // no container here has a limit
		case strings.HasSuffix(key, ".port"): // two TaskManagers share this host
		case got[key] != want:
			return fmt.Errorf("%s: %q: deploy/flink/config.yaml has %q", key, got[key], want)
		}
	}
	return nil
}

// jobServer checks the job server, which sends a part of the settings with a job.
func jobServer(project *types.Project) func(types.ServiceConfig, string) error {
	return func(service types.ServiceConfig, _ string) error {
		for _, want := range append(opens(), "--job-host=127.0.0.1", "--flink-conf-dir=/etc/flink") {
			if !slices.Contains(service.Command, want) {
				return fmt.Errorf("want the argument %s", want)
			}
		}
		at := slices.IndexFunc(service.Configs, func(c types.ServiceConfigObjConfig) bool { return c.Target == "/etc/flink/flink-conf.yaml" })
		if at < 0 {
			return errors.New("want a config at /etc/flink/flink-conf.yaml")
		}
		sent := lines(project.Configs[service.Configs[at].Source].Content)
		for key, want := range clusterSettings() {
			sends := strings.HasPrefix(key, "execution.") || strings.HasPrefix(key, "restart-strategy.")
			if sends && sent[key] != want {
				return fmt.Errorf("%s: %q: deploy/flink/config.yaml has %q", key, sent[key], want)
			}
		}
		return nil
	}
}

// lines are the settings of a text with one on each line.
func lines(text string) map[string]string {
	all := make(map[string]string)
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(strings.TrimSpace(line), "#")
		if key, value, found := strings.Cut(line, ": "); found {
			all[key] = value
		}
	}
	return all
}

// clusterSettings are those of deploy/flink/config.yaml.
func clusterSettings() map[string]string { return lines(mustRead("deploy", "flink", "config.yaml")) }

// opens are Java's arguments that let Beam look into Java's own classes.
func opens() []string {
	return strings.Fields(mustRead("loadtest", "engines", "flink", "opens.args"))
}

// mustRead reads a file of the repository, without which no test here means anything.
func mustRead(path ...string) string {
	text, err := os.ReadFile(filepath.Join(append([]string{"..", ".."}, path...)...))
	if err != nil {
		panic(err)
	}
	return string(text)
}
