package project

import (
	"embed"
	"io/fs"
)

//go:embed init/project.yaml init/orders.jsonl
var initFiles embed.FS

// Sample returns the files of an example to begin with: project.yaml, which
// explains every key, and orders.jsonl, events for its source orders.
func Sample() fs.FS {
	sample, err := fs.Sub(initFiles, "init")
	if err != nil {
		panic(err) // only for a folder name that is not valid
	}
	return sample
}
