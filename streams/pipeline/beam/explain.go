package beam

import "strings"

// explain makes of what a Java process says of a failure, often hundreds of lines
// of a stack trace, its first line, that of its last cause, and what to do where
// that is known.
func explain(text string) string {
	first, last := causes(text)
	out := first
	if last != "" && !strings.Contains(first, last) {
		out += "; caused by: " + last
	}
	for _, k := range knownCauses {
		if strings.Contains(text, k.text) {
			return out + "; " + k.advice
		}
	}
	return out
}

// causes returns the first line of a stack trace and that of its last cause. What
// a worker says is on the last line of a cause's message, below a description of
// the pipeline, or at a panic.
func causes(text string) (first, last string) {
	inMessage, ofWorker := false, false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		cause, isCause := strings.CutPrefix(line, "Caused by: ")
		switch {
		case strings.HasPrefix(line, "at "), strings.HasPrefix(line, "... "), strings.HasPrefix(line, "Suppressed: "):
			inMessage = false
		case first == "":
			first, inMessage = line, true
			ofWorker = strings.Contains(line, workerSays)
		case isCause:
			last, inMessage = cause, true
			ofWorker = strings.Contains(line, workerSays)
		case inMessage && ofWorker && line != "caused by:":
			last = line
			inMessage = !strings.Contains(line, "panic")
		}
	}
	return short(first), short(last)
}

// workerSays begins a message that has come from a worker.
const workerSays = "Error received from SDK harness"

// causeBytes bounds what is shown of a line of a stack trace.
const causeBytes = 500

func short(line string) string {
	if len(line) > causeBytes {
		return strings.ToValidUTF8(line[:causeBytes], "") + "..."
	}
	return line
}

// knownCauses are failures that say too little of what to do, the more special
// ones first.
var knownCauses = []struct{ text, advice string }{
	{"Exec format error", "the worker is built for another platform than the TaskManager's: build it for that one, as with GOOS=linux GOARCH=arm64"},
	{"error=2, No such file", "the host of a TaskManager has no such worker: put the program there at the same path, or name another with --worker"},
	{"error=13, Permission denied", "the TaskManager may not execute the worker: see the rights of the file and its folders"},
	{"Process died with exit code", "the worker ended at its start: the log of the TaskManager has what it said"},
	{noStaging, "the job server has not the class " + noStaging + ": put its jar on the job server's class path, or submit with --stage-classes"},
	{"NoResourceAvailableException", "the cluster has too few free slots: start TaskManagers, end other jobs, or ask for less with --parallelism"},
	{"Could not acquire the minimum required resources", "the cluster has too few free slots: start TaskManagers, end other jobs, or ask for less with --parallelism"},
	{"serialVersionUID", "job server and cluster are of different versions of Flink or Beam: " + knownVersions},
	{"InvalidClassException", "job server and cluster are of different versions of Flink or Beam: " + knownVersions},
	{"NoSuchMethodError", "job server and cluster are of different versions of Flink or Beam: " + knownVersions},
	{"NoClassDefFoundError", "the cluster lacks classes that the job server has: " + knownVersions + "; where the cluster's class path has no Beam, submit with --stage-classes"},
	{"ClassNotFoundException", "the cluster lacks classes that the job server has: " + knownVersions + "; where the cluster's class path has no Beam, submit with --stage-classes"},
	{"nknown urn", "the job server does not know a part of the pipeline: " + knownVersions},
	{"o translator known for", "the job server does not know a part of the pipeline: " + knownVersions},
	{"Connection refused", "the job server cannot reach the cluster: see its --flink-master"},
}

const knownVersions = "this program (SDK " + SDK + ") is known to work with version " + KnownJobServer + " of Beam's job server on Flink " + KnownFlink
