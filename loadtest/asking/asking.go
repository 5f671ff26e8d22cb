// Package asking is the workload of predictions over HTTP: each request names a
// symbol, and the server reads 28 features of it, scores 100 trees of depth 6 and
// keeps the prediction in the log before it answers. Load asks, in a process of
// its own so that the server's CPU is counted alone; Bench says what it cost.
package asking

import (
	_ "embed"
	"path/filepath"

	"github.com/millrace/millrace/deploy/project"
)

//go:embed asking.yaml
var projectFile []byte

const (
	model  = "large"
	entity = "s" // the field that requests name
)

// ProjectFile returns the text of the project file.
func ProjectFile() []byte { return projectFile }

// Project returns the project, whose data lie below the folder dir. Its broker and
// its HTTP server take free ports of this machine.
func Project(dir string) (*project.Project, error) {
	p, err := project.Parse(filepath.Join(dir, "asking.yaml"), projectFile)
	if err != nil {
		return nil, err
	}
	p.Kafka.EmbeddedPort = 0
	p.HTTP.Listen = "127.0.0.1:0"
	return p, nil
}
