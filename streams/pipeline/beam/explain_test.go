package beam

import "testing"

// TestExplain makes one line of stack traces as Flink and job servers give them.
func TestExplain(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"one line", "java.lang.X: why", "java.lang.X: why"},
		{"causes", "a.X: first\n\tat a.b(C.java:1)\n\tat a.c(C.java:2)\nCaused by: a.Y: second\n\t... 3 more\nCaused by: a.Z: third\n\tat d\n", "a.X: first; caused by: a.Z: third"},
		{"the same", "a.X: a.Z: third\n\tat a\nCaused by: a.Z: third\n", "a.X: a.Z: third"},
		{"a message of lines", "a.X: first\nmore of it\n\tat a\nCaused by: a.Z: third\nmore\n", "a.X: first; caused by: a.Z: third"},
		{"a worker's error", "a.X: first\n\tat a\nCaused by: java.lang.RuntimeException: Error received from SDK harness for instruction 2: while executing Up for Plan:\n" +
			"1: DataSource[S]\n2: ParDo[beam.stepFn]\n\tcaused by:\nDoFn[UID:2] failed:\nbeam: the worker cannot open\n\tat a\n\t... 1 more\n",
			"a.X: first; caused by: beam: the worker cannot open"},
		{"a worker's panic", "a.X: Error received from SDK harness for instruction 3: while executing\n1: ParDo\npanic: nil map\nFull error:\ngoroutine 1 [running]:\nmain.main()\n\tat a\n",
			"a.X: Error received from SDK harness for instruction 3: while executing; caused by: panic: nil map"},
		{"advice", "a.X: Process died with exit code 2\n\tat a", "a.X: Process died with exit code 2; the worker ended at its start: the log of the TaskManager has what it said"},
		{"nothing", "", ""},
	} {
		if got := explain(c.text); got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, got, c.want)
		}
	}
}
