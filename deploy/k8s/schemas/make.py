"""Makes kubernetes.json and flink.json, the schemas that the test of the manifests
checks them by, out of two pinned packages:

    pip install kubernetes-validate==1.37.0 PyYAML
    mvn dependency:copy -Dartifact=org.apache.flink:flink-kubernetes-operator-api:1.10.0 -DoutputDirectory=.
    python3 make.py flink-kubernetes-operator-api-1.10.0.jar

Each file has the closed schema of every kind under "kinds", and under "$defs"
what they share. Descriptions, formats and the status, which nobody writes, are
left out: they are most of it.
"""
import collections, json, pathlib, sys, zipfile

import kubernetes_validate, yaml

KUBERNETES = "v1.37.0"
KINDS = """configmap-v1 cronjob-batch-v1 deployment-apps-v1 job-batch-v1 namespace-v1 networkpolicy-networking-v1
    persistentvolumeclaim-v1 poddisruptionbudget-policy-v1 service-v1 serviceaccount-v1""".split()
CRD = "META-INF/fabric8/flinkdeployments.flink.apache.org-v1.yml"

here = pathlib.Path(__file__).parent


def write(name, kinds, defs):
    text = json.dumps({"$schema": "http://json-schema.org/draft-07/schema#", "kinds": kinds, "$defs": defs}, indent=None, sort_keys=True, separators=(",", ":"))
    (here / name).write_text(text + "\n")
    print(name, len(text))


def kubernetes():
    src = pathlib.Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema" / f"{KUBERNETES}-local-strict"
    all_defs = json.load(open(src / "_definitions.json"))["$defs"]
    need, defs, kinds = set(), {}, {}

    def cut(node):
        if isinstance(node, list):
            return [cut(x) for x in node]
        if not isinstance(node, dict):
            return node
        node = {k: cut(v) for k, v in node.items() if k not in ("$schema", "$id", "format") and not (k == "description" and isinstance(v, str)) and not k.startswith("x-kubernetes")}
        if isinstance(node.get("$ref"), str):
            name = node["$ref"].rsplit("/", 1)[1]
            need.add(name)
            node = {"$ref": "#/$defs/" + name}
        return node

    for file in KINDS:
        schema = json.load(open(src / f"{file}.json"))
        schema["properties"].pop("status", None)
        schema["required"] = sorted({"apiVersion", "kind", "metadata", *schema.get("required", [])})
        kinds[schema["properties"]["kind"]["enum"][0]] = cut(schema)
    while missing := need - defs.keys():
        for name in missing:
            defs[name] = cut(all_defs[name])
    write("kubernetes.json", kinds, defs)


def flink(jar):
    crd = yaml.safe_load(zipfile.ZipFile(jar).read(CRD))
    (version,) = crd["spec"]["versions"]

    def close(node):
        if isinstance(node, list):
            return [close(x) for x in node]
        if not isinstance(node, dict):
            return node
        if node.get("x-kubernetes-int-or-string"):
            return {"type": ["string", "integer"]}
        if "properties" in node and "additionalProperties" not in node and not node.get("x-kubernetes-preserve-unknown-fields"):
            node = node | {"additionalProperties": False}
        return {k: close(v) for k, v in node.items() if k not in ("format", "description") and not k.startswith("x-kubernetes") or isinstance(v, dict)}

    schema = close(version["schema"]["openAPIV3Schema"])
    schema["properties"].pop("status", None)
    schema["properties"] |= {
        "apiVersion": {"enum": [crd["spec"]["group"] + "/" + version["name"]]},
        "kind": {"enum": [crd["spec"]["names"]["kind"]]},
        "metadata": {"$ref": "kubernetes.json#/$defs/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"},
    }
    schema["required"] = ["apiVersion", "kind", "metadata", "spec"]
    # A pod template is there three times, and much of it again in itself.
    seen, defs = collections.Counter(), {}

    def count(node):
        for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
            count(child)
        if isinstance(node, dict) and "type" in node and "properties" in node:
            seen[json.dumps(node, sort_keys=True)] += 1

    def share(node):
        if isinstance(node, list):
            return [share(x) for x in node]
        if not isinstance(node, dict):
            return node
        text = json.dumps(node, sort_keys=True)
        node = {k: share(v) for k, v in node.items()}
        if seen[text] > 1 and len(text) > 200:
            names.setdefault(text, f"shared{len(names)}")
            defs[names[text]] = node
            return {"$ref": "#/$defs/" + names[text]}
        return node

    names = {}
    count(schema)
    write("flink.json", {"FlinkDeployment": share(schema)}, defs)


kubernetes()
flink(sys.argv[1])
