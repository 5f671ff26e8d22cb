package project

import (
	"bytes"
	"os"
	"testing"

	"github.com/goccy/go-yaml"
)

// TestManifest reads the project file of the Kubernetes manifests, which is a text
// within YAML: nothing else would notice what is wrong in it.
func TestManifest(t *testing.T) {
	p, err := parseManifest(t, func(text []byte) []byte { return text })
	if err != nil {
		t.Fatal(err)
	}
	// What each of its processes refuses to start without.
	if p.Kafka.Embedded() || p.Store.Redis == nil || len(p.Models) == 0 {
		t.Errorf("Kafka %v, Redis %v, %d models: several processes share Kafka and Redis, and train wants a model", p.Kafka, p.Store.Redis, len(p.Models))
	}
	if !p.Lake.Off {
		t.Error("nothing there writes a lake, and its folder would be read-only")
	}
	_, err = parseManifest(t, func(text []byte) []byte { return bytes.Replace(text, []byte("keyed_by:"), []byte("keyedby:"), 1) })
	if err == nil {
		t.Error("a misspelt key was not noticed")
	}
}

func parseManifest(t *testing.T, edit func([]byte) []byte) (*Project, error) {
	t.Helper()
	const path = "../k8s/project.yaml"
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var manifest struct {
		Data map[string]string `yaml:"data"`
	}
	if err := yaml.Unmarshal(edit(file), &manifest); err != nil {
		t.Fatal(err)
	}
	text := manifest.Data["project.yaml"]
	if text == "" {
		t.Fatalf("%s has no data.project.yaml", path)
	}
	return Parse(path, []byte(text))
}
