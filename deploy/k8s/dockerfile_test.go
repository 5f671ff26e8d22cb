package k8s

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// hadolint is what `make lint-deploy` fetches.
var hadolint = filepath.Join("..", "..", ".cache", "hadolint-2.15.1", "bin", "hadolint")

func TestDockerfile(t *testing.T) {
	text, err := os.ReadFile(dockerfile)
	if err != nil {
		t.Fatal(err)
	}
	if err := checkDockerfile(string(text)); err != nil {
		t.Error(err)
	}
	if err := lint(t, string(text)); err != nil {
		t.Error(err)
	}
}

// A stage is what is built on one FROM.
type stage struct {
	name, base string
	lines      []string
}

func stages(text string) (out []stage) {
	text = strings.ReplaceAll(text, "\\\n", " ")
	for line := range strings.SplitSeq(text, "\n") {
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(line, "#") {
			continue
		}
		if words[0] == "FROM" {
			s := stage{base: words[1]}
			if len(words) == 4 && words[2] == "AS" {
				s.name = words[3]
			}
			out = append(out, s)
			continue
		}
		out[len(out)-1].lines = append(out[len(out)-1].lines, line)
	}
	return out
}

// release3 matches a base image of one release, with what it is built for.
var release3 = regexp.MustCompile(`^[a-z0-9./-]+:[0-9]+\.[0-9]+\.[0-9]+(-[a-z0-9._-]+)?$`)

// checkDockerfile wants what hadolint does not look at: each image, what it starts
// and as whom, and that what is copied is there.
func checkDockerfile(text string) error {
	var faults []error
	entry := map[string]string{"millrace": `["/opt/millrace/millrace"]`, "worker": `["/opt/millrace/millrace-beam"]`, "flink": ""}
	for _, s := range stages(text) {
		if s.base != "scratch" && !release3.MatchString(s.base) {
			faults = append(faults, fmt.Errorf("stage %s: image %s: want the tag of one release", s.name, s.base))
		}
		var user, starts string
		for _, line := range s.lines {
			words := strings.Fields(line)
			switch {
			case words[0] == "USER":
				user = words[1]
			case words[0] == "ENTRYPOINT":
				starts = strings.Join(words[1:], " ")
			case words[0] == "COPY" && !strings.HasPrefix(words[1], "--from="):
				for _, source := range words[1 : len(words)-1] {
					if _, err := os.Stat(filepath.Join("..", "..", source)); err != nil {
						faults = append(faults, fmt.Errorf("stage %s: %w", s.name, err))
					}
				}
			case strings.Contains(line, "go build") && !strings.Contains(line, "CGO_ENABLED=0"):
				faults = append(faults, fmt.Errorf("stage %s: want CGO_ENABLED=0: an image from scratch has no libraries", s.name))
			}
		}
		want, image := entry[s.name]
		if !image {
			continue
		}
		delete(entry, s.name)
		if !regexp.MustCompile(`^[1-9][0-9]*:[1-9][0-9]*$`).MatchString(user) {
			faults = append(faults, fmt.Errorf("stage %s: USER %q: want numbers other than 0, which runAsNonRoot can read", s.name, user))
		}
		if starts != want {
			faults = append(faults, fmt.Errorf("stage %s: ENTRYPOINT %q: want %q", s.name, starts, want))
		}
	}
	for name := range entry {
		faults = append(faults, fmt.Errorf("there is no stage %s", name))
	}
	return errors.Join(faults...)
}

// lint returns what hadolint says.
func lint(t *testing.T, text string) error {
	if _, err := os.Stat(hadolint); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("there is no hadolint: run make lint-deploy first")
		}
		t.Skip("there is no hadolint: make lint-deploy fetches it")
	}
	c := exec.CommandContext(t.Context(), hadolint, "--no-color", "--format", "json", "-")
	c.Stdin = strings.NewReader(text)
	out, err := c.Output()
	var found []struct {
		Code, Message string
		Line          int
	}
	if failed := json.Unmarshal(out, &found); failed != nil {
		return errors.Join(err, failed)
	}
	var faults []error
	for _, f := range found {
		faults = append(faults, fmt.Errorf("%s:%d: %s: %s", dockerfile, f.Line, f.Code, f.Message))
	}
	return errors.Join(faults...)
}

func TestDockerfileFaultsAreFound(t *testing.T) {
	text, err := os.ReadFile(dockerfile)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ old, new, want string }{
		{"golang:1.26.8-bookworm", "golang:latest", "want the tag of one release"},
		{"flink:1.19.3-scala_2.12-java17", "flink:1.19-java17", "want the tag of one release"},
		{"USER 9999:9999", "USER root", "want numbers"},
		{"USER 65532:65532\nENTRYPOINT [\"/opt/millrace/millrace-beam\"]", "ENTRYPOINT [\"/opt/millrace/millrace-beam\"]", "want numbers"},
		{`ENTRYPOINT ["/opt/millrace/millrace-beam"]`, `ENTRYPOINT ["/opt/millrace/millrace"]`, "want"},
		{"AS worker", "AS wroker", "no stage worker"},
		{"CGO_ENABLED=0", "CGO_ENABLED=1", "want CGO_ENABLED=0"},
		{"COPY loadtest/engines/java", "COPY loadtest/engines/jave", "jave"},
	} {
		t.Run(c.new, func(t *testing.T) {
			faulty := strings.Replace(string(text), c.old, c.new, 1)
			if faulty == string(text) {
				t.Fatalf("the Dockerfile has no %q any more", c.old)
			}
			if err := checkDockerfile(faulty); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("check: %v, want an error with %q", err, c.want)
			}
		})
	}
	t.Run("hadolint", func(t *testing.T) {
		for _, c := range []struct{ old, new, want string }{
			{"USER 9999:9999", "USRE 9999:9999", "DL1000"},
			{"WORKDIR /src", "WORKDIR src", "DL3000"},
			{`ENTRYPOINT ["/opt/millrace/millrace"]`, "ENTRYPOINT /opt/millrace/millrace", "DL3025"},
		} {
			if err := lint(t, strings.Replace(string(text), c.old, c.new, 1)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want an error with %q", c.new, err, c.want)
			}
		}
	})
}
