package k8s

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

// A pod is what some object makes pods of.
type pod struct {
	owner  *object
	labels map[string]any
	spec   map[string]any
	flink  bool
}

func pods(all []*object) (out []pod) {
	for _, o := range all {
		switch o.kind {
		case "Deployment":
			out = append(out, pod{o, mapping(at(o.body, "spec", "template", "metadata", "labels")), mapping(at(o.body, "spec", "template", "spec")), false})
		case "FlinkDeployment":
			for _, part := range []string{"jobManager", "taskManager"} {
				spec := merge(at(o.body, "spec", "podTemplate", "spec"), at(o.body, "spec", part, "podTemplate", "spec")).(map[string]any)
				spec["serviceAccountName"] = at(o.body, "spec", "serviceAccount")
				for _, c := range items(spec["containers"]) {
					c["image"] = at(o.body, "spec", "image")
				}
				// The operator's own labels.
				out = append(out, pod{o, map[string]any{"app": o.name, "component": strings.ToLower(part)}, spec, true})
			}
		}
	}
	return out
}

// merge lays one pod template over another as the operator does: containers and
// variables by their names.
func merge(under, over any) any {
	switch o := over.(type) {
	case nil:
		over = map[string]any{}
		if _, isMap := under.(map[string]any); isMap {
			return merge(under, over)
		}
		return under
	case map[string]any:
		u, _ := under.(map[string]any)
		out := maps.Clone(u)
		if out == nil {
			out = map[string]any{}
		}
		for k, v := range o {
			out[k] = merge(out[k], v)
		}
		if containers, ok := out["containers"]; ok && o["containers"] == nil {
			var copies []any
			for _, c := range items(containers) {
				copies = append(copies, maps.Clone(c))
			}
			out["containers"] = copies
		}
		return out
	case []any:
		var out []any
		for _, u := range items(under) {
			var with any
			for _, x := range items(o) {
				if x["name"] == u["name"] {
					with = x
				}
			}
			out = append(out, merge(u, with))
		}
		for _, x := range items(o) {
			if !slices.ContainsFunc(items(under), func(u map[string]any) bool { return u["name"] == x["name"] }) {
				out = append(out, x)
			}
		}
		return out
	}
	return over
}

func mapping(v any) map[string]any { m, _ := v.(map[string]any); return m }

// items returns the mappings of a list.
func items(v any) (out []map[string]any) {
	list, _ := v.([]any)
	for _, x := range list {
		if m, ok := x.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

func texts(v any) (out []string) {
	list, _ := v.([]any)
	for _, x := range list {
		out = append(out, fmt.Sprint(x))
	}
	return out
}

// release matches an image with the tag of one release, and not latest, which
// becomes another program overnight.
var release = regexp.MustCompile(`^([a-z0-9./-]+):([0-9]+\.[0-9]+\.[0-9]+)$`)

// size matches amounts of memory.
var size = regexp.MustCompile(`^[0-9]+(Mi|Gi)$`)

// commands are those of millrace that the manifests run.
var commands = []string{"serve", "join", "train", "deploy"}

// checkPods wants what the namespace's standard asks for, and memory limits.
func checkPods(all []*object) error {
	var faults []error
	versions := map[string]bool{}
	for _, p := range pods(all) {
		fault := func(format string, args ...any) {
			faults = append(faults, fmt.Errorf("%v: "+format, append([]any{p.owner}, args...)...))
		}
		if at(p.spec, "securityContext", "runAsNonRoot") != true {
			fault("want securityContext.runAsNonRoot")
		}
		if at(p.spec, "securityContext", "seccompProfile", "type") != "RuntimeDefault" {
			fault("want securityContext.seccompProfile.type RuntimeDefault")
		}
		if at(p.spec, "automountServiceAccountToken") != false {
			fault("want automountServiceAccountToken: false")
		}
		if len(items(p.spec["containers"])) == 0 {
			fault("no container")
		}
		for _, c := range items(p.spec["containers"]) {
			if at(c, "securityContext", "allowPrivilegeEscalation") != false {
				fault("want allowPrivilegeEscalation: false")
			}
			if !slices.Equal(texts(at(c, "securityContext", "capabilities", "drop")), []string{"ALL"}) {
				fault("want capabilities.drop [ALL]")
			}
			image := fmt.Sprint(c["image"])
			parts := release.FindStringSubmatch(image)
			if parts == nil {
				fault("image %s: want the tag of one release", image)
				continue
			}
			versions[parts[2]] = true
			if !slices.Contains([]string{"millrace", "millrace-beam", "millrace-flink"}, parts[1]) {
				fault("no image %s is made by ../flink/Dockerfile", parts[1])
			}
			if args := texts(c["args"]); parts[1] == "millrace" && (len(args) == 0 || !slices.Contains(commands, args[0])) {
				fault("millrace has no command %s", strings.Join(args, " "))
			}
			if p.flink {
				continue // the operator writes the rest
			}
			if at(c, "securityContext", "readOnlyRootFilesystem") != true {
				fault("want readOnlyRootFilesystem: true")
			}
			for _, of := range []string{"requests", "limits"} {
				if amount, _ := at(c, "resources", of, "memory").(string); !size.MatchString(amount) {
					fault("resources.%s.memory %q: want Mi or Gi", of, amount)
				}
			}
		}
	}
	if len(versions) > 1 {
		faults = append(faults, fmt.Errorf("images of the versions %v: want one version", slices.Sorted(maps.Keys(versions))))
	}
	return errors.Join(faults...)
}

// checkProjectEnv wants the project file where it is looked for, and the variables
// that it names in each pod that opens the engines.
func checkProjectEnv(all []*object) error {
	var faults []error
	text := projectFile(all)
	for _, p := range pods(all) {
		for _, c := range items(p.spec["containers"]) {
			file, variables := "", map[string]bool{}
			for _, e := range items(c["env"]) {
				variables[fmt.Sprint(e["name"])] = true
				if e["name"] == "MILLRACE_PROJECT" {
					file = fmt.Sprint(e["value"])
				}
			}
			for _, arg := range texts(c["args"]) {
				if f, ok := strings.CutPrefix(arg, "--project="); ok {
					file = f
				}
			}
			if file != "" && !slices.Contains(mounted(all, p, c), file) {
				faults = append(faults, fmt.Errorf("%v: the project file %s is not mounted", p.owner, file))
			}
			opens := strings.HasPrefix(fmt.Sprint(c["image"]), "millrace:") || p.labels["component"] == "taskmanager"
			for _, name := range passwordEnv.FindAllStringSubmatch(text, -1) {
				if opens && !variables[name[1]] {
					faults = append(faults, fmt.Errorf("%v: the project file names the variable %s, which is not set", p.owner, name[1]))
				}
			}
		}
	}
	return errors.Join(faults...)
}

var passwordEnv = regexp.MustCompile(`_env: ([A-Za-z_][A-Za-z0-9_]*)`)

func projectFile(all []*object) string {
	for _, o := range all {
		if o.kind == "ConfigMap" && o.name == "millrace-project" {
			s, _ := at(o.body, "data", "project.yaml").(string)
			return s
		}
	}
	return ""
}

// mounted returns the paths of the files of ConfigMaps in a container.
func mounted(all []*object, p pod, c map[string]any) (files []string) {
	for _, m := range items(c["volumeMounts"]) {
		for _, v := range items(p.spec["volumes"]) {
			for _, o := range all {
				if v["name"] == m["name"] && o.kind == "ConfigMap" && o.name == at(v, "configMap", "name") {
					for key := range mapping(o.body["data"]) {
						files = append(files, path.Join(fmt.Sprint(m["mountPath"]), key))
					}
				}
			}
		}
	}
	return files
}
