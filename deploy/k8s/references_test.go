package k8s

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
)

// A referrer collects names that nothing has.
type referrer struct {
	all    []*object
	pods   []pod
	faults []error
}

func checkReferences(all []*object) error {
	r := &referrer{all: all, pods: pods(all)}
	for _, p := range r.pods {
		r.volumes(p)
		r.named(p.owner, "ServiceAccount", p.spec["serviceAccountName"])
		for _, c := range items(p.spec["containers"]) {
			r.container(p, c)
		}
		for _, kind := range []string{"podAffinity", "podAntiAffinity"} {
			for _, term := range items(at(p.spec, "affinity", kind, "requiredDuringSchedulingIgnoredDuringExecution")) {
				r.selected(p.owner, at(term, "labelSelector", "matchLabels"))
			}
			for _, term := range items(at(p.spec, "affinity", kind, "preferredDuringSchedulingIgnoredDuringExecution")) {
				r.selected(p.owner, at(term, "podAffinityTerm", "labelSelector", "matchLabels"))
			}
		}
	}
	for _, o := range all {
		switch o.kind {
		case "Service":
			to := r.selected(o, at(o.body, "spec", "selector"))
			for _, port := range items(at(o.body, "spec", "ports")) {
				r.port(o, to, port["targetPort"])
			}
		case "PodDisruptionBudget", "Deployment":
			r.selected(o, at(o.body, "spec", "selector", "matchLabels"))
		case "NetworkPolicy":
			r.policy(o)
		}
	}
	return errors.Join(r.faults...)
}

func (r *referrer) fault(o *object, format string, args ...any) {
	r.faults = append(r.faults, fmt.Errorf("%v: "+format, append([]any{o}, args...)...))
}

func (r *referrer) find(kind string, name any) *object {
	for _, o := range r.all {
		if o.kind == kind && o.name == name {
			return o
		}
	}
	return nil
}

func (r *referrer) named(o *object, kind string, name any) {
	if r.find(kind, name) == nil {
		r.fault(o, "there is no %s %v", kind, name)
	}
}

func (r *referrer) volumes(p pod) {
	for _, v := range items(p.spec["volumes"]) {
		if name := at(v, "configMap", "name"); name != nil {
			r.named(p.owner, "ConfigMap", name)
		}
		if name := at(v, "persistentVolumeClaim", "claimName"); name != nil {
			r.named(p.owner, "PersistentVolumeClaim", name)
		}
	}
}

func (r *referrer) container(p pod, c map[string]any) {
	for _, m := range items(c["volumeMounts"]) {
		if !slices.ContainsFunc(items(p.spec["volumes"]), func(v map[string]any) bool { return v["name"] == m["name"] }) {
			r.fault(p.owner, "there is no volume %v", m["name"])
		}
	}
	for _, e := range items(c["env"]) {
		if ref := at(e, "valueFrom", "secretKeyRef"); ref != nil {
			r.secret(p.owner, fmt.Sprint(at(ref, "name")), fmt.Sprint(at(ref, "key")))
		}
	}
	for _, probe := range []string{"readinessProbe", "livenessProbe"} {
		for _, kind := range []string{"httpGet", "tcpSocket"} {
			if port := at(c, probe, kind, "port"); port != nil {
				r.port(p.owner, []pod{p}, port)
			}
		}
	}
	for _, arg := range texts(c["args"]) {
		name, value, _ := strings.Cut(arg, "=")
		switch name {
		case "--endpoint", "--flink-master":
			r.address(p.owner, value)
		case "--rest":
			u, err := url.Parse(value)
			if err != nil {
				r.fault(p.owner, "%s: %v", arg, err)
				continue
			}
			r.address(p.owner, u.Host)
		}
	}
}

// secret wants a secret that nobody has in a file: README.md says how to make it.
func (r *referrer) secret(o *object, name, key string) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		r.fault(o, "%v", err)
	}
	made := regexp.MustCompile(`create secret generic ` + regexp.QuoteMeta(name) + ` .*--from-[a-z]+=` + regexp.QuoteMeta(key) + `=`)
	if !made.Match(readme) {
		r.fault(o, "README.md makes no secret %s with key %s", name, key)
	}
}

// address wants the service and the port of host:port. The operator makes
// NAME-rest of a FlinkDeployment.
func (r *referrer) address(o *object, address string) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		r.fault(o, "%v", err)
		return
	}
	if name, ok := strings.CutSuffix(host, "-rest"); ok && r.find("FlinkDeployment", name) != nil {
		if port != "8081" {
			r.fault(o, "Flink's REST service has no port %s", port)
		}
		return
	}
	service := r.find("Service", host)
	if service == nil {
		r.fault(o, "there is no Service %s", host)
		return
	}
	if !slices.ContainsFunc(items(at(service.body, "spec", "ports")), func(p map[string]any) bool { return fmt.Sprint(p["port"]) == port }) {
		r.fault(o, "Service %s has no port %s", host, port)
	}
}

// selected returns the pods that labels select, of which there must be one. No
// labels select all.
func (r *referrer) selected(o *object, labels any) (out []pod) {
	for _, p := range r.pods {
		match := true
		for key, value := range mapping(labels) {
			match = match && p.labels[key] == value
		}
		if match {
			out = append(out, p)
		}
	}
	if len(out) == 0 {
		r.fault(o, "%v selects no pod", labels)
	}
	return out
}

// port wants a container of each pod to have a port, by its name or number.
// Flink's are not in its manifest.
func (r *referrer) port(o *object, to []pod, port any) {
	for _, p := range to {
		has := p.flink && slices.Contains([]any{6121, 6122, 6123, 6124, 8081}, port)
		for _, c := range items(p.spec["containers"]) {
			for _, x := range items(c["ports"]) {
				has = has || x["name"] == port || x["containerPort"] == port
			}
		}
		if !has {
			r.fault(o, "the pods of %v have no port %v", p.owner, port)
		}
	}
}

func (r *referrer) policy(o *object) {
	to := r.selected(o, at(o.body, "spec", "podSelector", "matchLabels"))
	if types := texts(at(o.body, "spec", "policyTypes")); !slices.Equal(types, []string{"Ingress"}) {
		r.fault(o, "policyTypes %v: want [Ingress]", types)
	}
	for _, rule := range items(at(o.body, "spec", "ingress")) {
		if len(items(rule["from"])) == 0 || len(items(rule["ports"])) == 0 {
			r.fault(o, "a rule without from, or without ports, opens more than it says")
		}
		for _, from := range items(rule["from"]) {
			if from["namespaceSelector"] == nil {
				r.selected(o, at(from, "podSelector", "matchLabels"))
			}
		}
		for _, port := range items(rule["ports"]) {
			r.port(o, to, port["port"])
		}
	}
}
