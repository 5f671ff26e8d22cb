// Package k8s checks the manifests of this folder, and the Dockerfiles of
// ../flink, without a cluster and without Docker.
package k8s

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

const namespace = "millrace"

func TestManifests(t *testing.T) {
	if err := check(os.DirFS(".").(fileSystem)); err != nil {
		t.Error(err)
	}
}

// A fileSystem is a folder of manifests: this one, or one with a fault.
type fileSystem interface {
	ReadFile(name string) ([]byte, error)
}

// An object is one document of a manifest.
type object struct {
	file       string
	kind, name string
	body       map[string]any
}

func (o *object) String() string { return fmt.Sprintf("%s: %s %s", o.file, o.kind, o.name) }

// check reads what kustomization.yaml lists, as `kubectl apply -k` does, and
// returns everything that is wrong.
func check(dir fileSystem) error {
	files, err := listed(dir)
	if err != nil {
		return err
	}
	var all []*object
	var faults []error
	for _, file := range files {
		objects, err := read(dir, file)
		if err != nil {
			return err
		}
		all = append(all, objects...)
	}
	schemas, err := loadSchemas()
	if err != nil {
		return err
	}
	for _, o := range all {
		if err := schemas.check(o); err != nil {
			faults = append(faults, fmt.Errorf("%v: %w", o, err))
		}
	}
	if len(faults) > 0 {
		return errors.Join(faults...) // what follows reads fields of known types
	}
	return errors.Join(checkNames(all), checkPods(all), checkReferences(all), checkProjectEnv(all), checkFlink(dir, all))
}

// listed returns the resources of kustomization.yaml.
func listed(dir fileSystem) ([]string, error) {
	text, err := dir.ReadFile("kustomization.yaml")
	if err != nil {
		return nil, err
	}
	var k struct {
		APIVersion string `yaml:"apiVersion"`
		Kind       string
		Resources  []string
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&k); err != nil {
		return nil, fmt.Errorf("kustomization.yaml: %w", err)
	}
	if k.APIVersion != "kustomize.config.k8s.io/v1beta1" || k.Kind != "Kustomization" {
		return nil, fmt.Errorf("kustomization.yaml: %s %s", k.APIVersion, k.Kind)
	}
	return k.Resources, nil
}

// TestAllAreListed fails for a manifest that nobody would apply.
func TestAllAreListed(t *testing.T) {
	files, err := listed(os.DirFS(".").(fileSystem))
	if err != nil {
		t.Fatal(err)
	}
	found, err := filepath.Glob("*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range found {
		if file != "kustomization.yaml" && !slices.Contains(files, file) {
			t.Errorf("kustomization.yaml does not list %s", file)
		}
	}
}

func read(dir fileSystem, file string) (all []*object, err error) {
	text, err := dir.ReadFile(file)
	if err != nil {
		return nil, err
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var body map[string]any
		if err := d.Decode(&body); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		o := &object{file: file, body: body}
		o.kind, _ = body["kind"].(string)
		o.name, _ = at(body, "metadata", "name").(string)
		all = append(all, o)
	}
}

// at returns a value below mappings, or nil.
func at(node any, path ...string) any {
	for _, key := range path {
		m, _ := node.(map[string]any)
		node = m[key]
	}
	return node
}

// schemas are those of schemas/, by kind.
type schemas map[string]*jsonschema.Schema

var loadSchemas = sync.OnceValues(func() (schemas, error) {
	c, out := jsonschema.NewCompiler(), schemas{}
	kinds := map[string][]string{}
	for _, file := range []string{"kubernetes.json", "flink.json"} {
		text, err := os.ReadFile(filepath.Join("schemas", file))
		if err != nil {
			return nil, err
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if err := c.AddResource("file:///"+file, doc); err != nil {
			return nil, err
		}
		kinds[file] = slices.Collect(maps.Keys(at(doc, "kinds").(map[string]any)))
	}
	for file, names := range kinds {
		for _, kind := range names {
			s, err := c.Compile("file:///" + file + "#/kinds/" + kind)
			if err != nil {
				return nil, err
			}
			out[kind] = s
		}
	}
	return out, nil
})

func (s schemas) check(o *object) error {
	schema, known := s[o.kind]
	if !known {
		return fmt.Errorf("kind %q has no schema here; add it in schemas/make.py", o.kind)
	}
	text, err := json.Marshal(o.body)
	if err != nil {
		return err
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return err
	}
	return schema.Validate(value)
}

// checkNames wants each object once, and all in one namespace.
func checkNames(all []*object) error {
	var faults []error
	seen := map[string]bool{}
	for _, o := range all {
		id := o.kind + " " + o.name
		if o.name == "" || seen[id] {
			faults = append(faults, fmt.Errorf("%v: a name of its own is missing", o))
		}
		seen[id] = true
		if in := at(o.body, "metadata", "namespace"); o.kind != "Namespace" && in != namespace {
			faults = append(faults, fmt.Errorf("%v: namespace %v: want %s", o, in, namespace))
		}
		if o.kind == "Secret" {
			faults = append(faults, fmt.Errorf("%v: secrets do not belong in files", o))
		}
	}
	return errors.Join(faults...)
}

// A change is one fault in one of the real files.
type changed struct {
	fileSystem
	file, text string
}

func (c changed) ReadFile(name string) ([]byte, error) {
	if name == c.file {
		return []byte(c.text), nil
	}
	return c.fileSystem.ReadFile(name)
}

// TestFaultsAreFound makes one fault at a time in the real files: a check that
// let these pass would let anything pass.
func TestFaultsAreFound(t *testing.T) {
	here := os.DirFS(".").(fileSystem)
	for _, c := range []struct{ file, old, new, want string }{
		{"serve.yaml", "readinessProbe:", "readynessProbe:", "readynessProbe"},
		{"serve.yaml", "replicas: 2", `replicas: "two"`, "/spec/replicas"},
		{"serve.yaml", "apiVersion: apps/v1", "apiVersion: apps/v1beta1", "/apiVersion"},
		{"serve.yaml", "  replicas: 2", "  replicas: 2\n  replicas: 3", "already defined"},
		{"serve.yaml", "kind: Service\n", "kind: Servise\n", "Servise"},
		{"serve.yaml", "namespace: millrace}", "namespace: milrace}", "want millrace"},
		{"serve.yaml", "configMap: {name: millrace-project}", "configMap: {name: project}", "no ConfigMap project"},
		{"serve.yaml", "claimName: millrace-data", "claimName: data", "no PersistentVolumeClaim data"},
		{"serve.yaml", "name: millrace-passwords, key: redis", "name: millrace-passwords, key: redsi", "millrace-passwords with key redsi"},
		{"serve.yaml", "name: REDIS_PASSWORD", "name: PASSWORD_REDIS", "REDIS_PASSWORD"},
		{"serve.yaml", "image: millrace:0.5.0", "image: milrace:0.5.0", "no image milrace"},
		{"serve.yaml", "image: millrace:0.5.0", "image: millrace:latest", "want the tag of one release"},
		{"serve.yaml", "image: millrace:0.5.0", "image: millrace:0.4.0", "want one version"},
		{"serve.yaml", `for=predictions", port: http`, `for=predictions", port: web`, "no port web"},
		{"serve.yaml", "selector: {app.kubernetes.io/name: millrace-serve}", "selector: {app.kubernetes.io/name: serve}", "selects no pod"},
		{"serve.yaml", "targetPort: http", "targetPort: web", "no port web"},
		{"serve.yaml", "mountPath: /etc/millrace,", "mountPath: /etc/millrase,", "/etc/millrace/project.yaml"},
		{"serve.yaml", "{name: tmp, mountPath: /tmp}", "{name: temp, mountPath: /tmp}", "no volume temp"},
		{"serve.yaml", "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "readOnlyRootFilesystem"},
		{"serve.yaml", "runAsNonRoot: true", "runAsNonRoot: false", "runAsNonRoot"},
		{"serve.yaml", ", seccompProfile: {type: RuntimeDefault}", "", "seccompProfile"},
		{"serve.yaml", "limits: {memory: 1Gi}", "limits: {cpu: 1}", "memory"},
		{"serve.yaml", "memory: 1Gi", "memory: 1GB", "1GB"},
		{"serve.yaml", "serviceAccountName: millrace", "serviceAccountName: serve", "no ServiceAccount serve"},
		{"join.yaml", "args: [join]", "args: [joins]", "no command joins"},
		{"join.yaml", "maxUnavailable: 1\n  selector: {matchLabels: {app.kubernetes.io/name: millrace-join}}", "maxUnavailable: 1\n  selector: {matchLabels: {app: join}}", "selects no pod"},
		{"flink.yaml", "flinkVersion: v1_19", "flinkVersion: v1_91", "/spec/flinkVersion"},
		{"flink.yaml", "flinkVersion: v1_19", "flinkVersion: v1_20", "v1_20"},
		{"flink.yaml", "jobManager:", "jobManagr:", "jobManagr"},
		{"flink.yaml", "replicas: 3", `replicas: "3"`, "/spec/taskManager/replicas"},
		{"flink.yaml", `heartbeat.interval: "1000"`, "heartbeat.interval: 1000", "heartbeat.interval"},
		{"flink.yaml", "failover-strategy: full", "failover-strategy: region", "failover-strategy"},
		{"flink.yaml", "restart-strategy.type:", "restart-stategy.type:", "restart-strategy.type"},
		{"flink.yaml", "java.base/java.nio=", "java.base/java.nil=", "java.base/java.nio"},
		{"flink.yaml", "runAsNonRoot: true", "runAsNonRoot: false", "runAsNonRoot"},
		{"flink.yaml", "name: REDIS_PASSWORD", "name: PASSWORD", "REDIS_PASSWORD"},
		{"flink.yaml", "replicas: 3", "replicas: 2", "no slot to spare"},
		{"beam.yaml", "--endpoint=beam-job-server:8099", "--endpoint=job-server:8099", "no Service job-server"},
		{"beam.yaml", "--endpoint=beam-job-server:8099", "--endpoint=beam-job-server:8098", "no port 8098"},
		{"beam.yaml", "--rest=http://millrace-flink-rest:8081", "--rest=http://millrace-flink:8081", "no Service millrace-flink"},
		{"beam.yaml", "execution.buffer-timeout.interval: 5ms", "execution.buffer-timeout.interval: 50ms", "execution.buffer-timeout.interval"},
		{"beam.yaml", "--worker=/opt/millrace/millrace-beam", "--worker=/opt/millrace-beam", "/opt/millrace-beam"},
		{"network.yaml", "app.kubernetes.io/name: millrace-submit", "app.kubernetes.io/name: submit", "selects no pod"},
		{"network.yaml", "port: artifact", "port: artefact", "no port artefact"},
		{"network.yaml", "policyTypes: [Ingress]\n---", "policyTypes: [Ingres]\n---", "policyTypes"},
		{"kustomization.yaml", "resources:", "resource:", "resource"},
		{"kustomization.yaml", "- join.yaml", "- joins.yaml", "joins.yaml"},
	} {
		t.Run(c.file+" "+c.new, func(t *testing.T) {
			source, err := here.ReadFile(c.file)
			if err != nil {
				t.Fatal(err)
			}
			faulty := strings.Replace(string(source), c.old, c.new, 1)
			if faulty == string(source) {
				t.Fatalf("%s has no %q any more", c.file, c.old)
			}
			if err := check(changed{here, c.file, faulty}); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("check: %v, want an error with %q", err, c.want)
			}
		})
	}
}
