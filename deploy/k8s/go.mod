// The checker of the manifests here and of the Dockerfiles in ../flink, a module
// of its own: what it needs does not weigh on the product's dependencies.
module github.com/millrace/millrace/deploy/k8s

go 1.26.0

require (
	github.com/santhosh-tekuri/jsonschema/v6 v6.0.3
	go.yaml.in/yaml/v3 v3.0.6
)

require golang.org/x/text v0.14.0 // indirect
