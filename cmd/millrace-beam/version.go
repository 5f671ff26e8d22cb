package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/millrace/millrace/streams/pipeline/beam"
)

type versionCmd struct {
	JSON bool `help:"Print a JSON object."`
}

// A version is what the build says about itself.
type version struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"` // of the source
	Modified bool   `json:"modified,omitempty"` // the source differs from the revision
	Go       string `json:"go"`
	Platform string `json:"platform"`

	SDK       string `json:"beam_sdk"`
	JobServer string `json:"beam_job_server"` // that is known to work
	Flink     string `json:"flink"`           // that is known to work
}

func readVersion() version {
	v := version{
		Version: "(devel)", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
		SDK: beam.SDK, JobServer: beam.KnownJobServer, Flink: beam.KnownFlink,
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if info.Main.Version != "" {
		v.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Revision = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	return v
}

func (c *versionCmd) Run(a *app) error {
	v := readVersion()
	if c.JSON {
		return a.printJSON(v)
	}
	fmt.Fprintf(a.stdout, "millrace-beam %s, %s, %s\n", v.Version, v.Go, v.Platform)
	if v.Revision != "" {
		changed := ""
		if v.Modified {
			changed = ", changed since"
		}
		fmt.Fprintf(a.stdout, "revision %s%s\n", v.Revision, changed)
	}
	fmt.Fprintf(a.stdout, "Beam's SDK %s; known to work with Beam's job server %s on Flink %s\n", v.SDK, v.JobServer, v.Flink)
	return nil
}
