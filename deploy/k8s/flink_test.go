package k8s

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

var (
	dockerfile = filepath.Join("..", "flink", "Dockerfile")
	engines    = filepath.Join("..", "..", "loadtest", "engines")
)

// tested are the settings that the tests on a real Flink run with, and that its
// users must have, too.
var tested = []string{
	"taskmanager.numberOfTaskSlots", "cluster.evenly-spread-out-slots", "execution.buffer-timeout.interval",
	"restart-strategy.type", "restart-strategy.fixed-delay.attempts", "restart-strategy.fixed-delay.delay",
	"jobmanager.execution.failover-strategy", "heartbeat.interval", "heartbeat.timeout",
}

// checkFlink wants Flink in the manifests as it is in the tests, in the snippet of
// ../flink and in the image.
func checkFlink(dir fileSystem, all []*object) error {
	var faults []error
	want, err := settings(filepath.Join(engines, "flink", "common.yaml"))
	if err != nil {
		return err
	}
	snippet, err := settings(filepath.Join("..", "flink", "config.yaml"))
	if err != nil {
		return err
	}
	opens, err := os.ReadFile(filepath.Join(engines, "flink", "opens.args"))
	if err != nil {
		return err
	}
	docker, err := os.ReadFile(dockerfile)
	if err != nil {
		return err
	}
	compare := func(where string, got map[string]string, keys []string) {
		for _, key := range keys {
			if got[key] != want[key] {
				faults = append(faults, fmt.Errorf("%s: %s is %q, and the tests run with %q", where, key, got[key], want[key]))
			}
		}
	}
	compare("../flink/config.yaml", snippet, tested)
	for _, o := range all {
		switch {
		case o.kind == "FlinkDeployment":
			got := map[string]string{}
			for key, value := range mapping(at(o.body, "spec", "flinkConfiguration")) {
				got[key] = fmt.Sprint(value)
			}
			compare(o.String(), got, tested)
			for key, value := range snippet {
				if got[key] != value {
					faults = append(faults, fmt.Errorf("%v: %s is %q, and %q in ../flink/config.yaml", o, key, got[key], value))
				}
			}
			faults = append(faults, missing(o, got["env.java.opts.all"], string(opens)), slots(o, all, got), version(o, string(docker)))
		case o.kind == "ConfigMap" && o.name == "beam-job-server":
			var got map[string]string
			if err := yaml.Unmarshal([]byte(fmt.Sprint(at(o.body, "data", "flink-conf.yaml"))), &got); err != nil {
				faults = append(faults, fmt.Errorf("%v: %w", o, err))
			}
			compare(o.String(), got, tested[2:6])
		}
	}
	for _, p := range pods(all) {
		for _, c := range items(p.spec["containers"]) {
			args := strings.Join(texts(c["args"]), "\n")
			if p.owner.name == "beam-job-server" {
				faults = append(faults, missing(p.owner, args, string(opens)))
			}
			if worker := flag(args, "--worker"); worker != "" && !strings.Contains(string(docker), "millrace-beam "+worker+"\n") {
				faults = append(faults, fmt.Errorf("%v: the image of the TaskManagers has no worker %s", p.owner, worker))
			}
		}
	}
	return errors.Join(faults...)
}

func settings(path string) (out map[string]string, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	// flink.sh fills in what begins with @, which is no YAML.
	text = regexp.MustCompile(`@[A-Z]+@`).ReplaceAll(text, []byte("0"))
	if err := yaml.Unmarshal(text, &out); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return out, nil
}

// missing wants all of the lines in a text of arguments.
func missing(o *object, args, lines string) error {
	have := strings.Fields(args)
	var faults []error
	for line := range strings.FieldsSeq(lines) {
		found := false
		for _, arg := range have {
			found = found || arg == line
		}
		if !found {
			faults = append(faults, fmt.Errorf("%v: Java has no %s", o, line))
		}
	}
	return errors.Join(faults...)
}

func flag(args, name string) string {
	for arg := range strings.FieldsSeq(args) {
		if value, ok := strings.CutPrefix(arg, name+"="); ok {
			return value
		}
	}
	return ""
}

// slots wants room for the job with one TaskManager less.
func slots(o *object, all []*object, conf map[string]string) error {
	each, err := strconv.Atoi(conf["taskmanager.numberOfTaskSlots"])
	if err != nil {
		return err
	}
	managers, _ := at(o.body, "spec", "taskManager", "replicas").(int)
	for _, p := range pods(all) {
		for _, c := range items(p.spec["containers"]) {
			for _, arg := range texts(c["args"]) {
				n, ok := strings.CutPrefix(arg, "--parallelism=")
				if want, _ := strconv.Atoi(n); ok && want > (managers-1)*each {
					return fmt.Errorf("%v: %d TaskManagers of %d slots have no slot to spare at parallelism %d", o, managers, each, want)
				}
			}
		}
	}
	return nil
}

// version wants the Flink of the image in the manifest.
func version(o *object, docker string) error {
	found := regexp.MustCompile(`FROM flink:([0-9]+)\.([0-9]+)\.`).FindStringSubmatch(docker)
	if found == nil {
		return fmt.Errorf("%s has no Flink", dockerfile)
	}
	if want := "v" + found[1] + "_" + found[2]; at(o.body, "spec", "flinkVersion") != want {
		return fmt.Errorf("%v: flinkVersion is %v, and %s is in the image", o, at(o.body, "spec", "flinkVersion"), want)
	}
	return nil
}
