package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/millrace/millrace/trainer/eval"
)

// What is printed of importance; models show --json has all of it.
const (
	importantInputs = 12
	importantSlices = 6
)

// printImportance prints how much each input moves a version's scores, over all
// rows that it was judged on and in the largest slices.
func printImportance(w io.Writer, j *eval.Judgement) error {
	for _, s := range j.Importance {
		if len(s.Inputs) != len(j.Inputs) {
			return nil // no judge writes that
		}
	}
	if len(j.Importance) == 0 {
		return nil
	}
	fmt.Fprintln(w, "\nhow far each input moves the score, on average (on the scale of contributions: log-odds for a probability)")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	slices := j.Importance[:min(len(j.Importance), importantSlices+1)]
	head := []string{"  INPUT"}
	for _, s := range slices {
		if s.Column == "" {
			head = append(head, "ALL")
		} else {
			head = append(head, oneLine(s.Column+"="+s.Value, 30))
		}
	}
	fmt.Fprintln(t, strings.Join(head, "\t"))
	for _, k := range slices[0].Ranked()[:min(importantInputs, len(j.Inputs))] {
		line := []string{"  " + j.Inputs[k]}
		for _, s := range slices {
			line = append(line, fmt.Sprintf("%.3g", s.Inputs[k]))
		}
		fmt.Fprintln(t, strings.Join(line, "\t"))
	}
	if more := len(j.Inputs) - importantInputs; more > 0 {
		fmt.Fprintf(t, "  and %d more\n", more)
	}
	return t.Flush()
}
