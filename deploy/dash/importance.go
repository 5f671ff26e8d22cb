package dash

import "github.com/millrace/millrace/trainer/eval"

// What is shown of importance.
const (
	importantInputs = 20
	importantSlices = 8
)

// An influence is how far one input moves the score, over all rows and by slice.
type influence struct {
	Input string
	Means []float64 // of all rows first
}

// An importance is the table of influences.
type importance struct {
	Slices []eval.Importance // its columns
	Inputs []influence       // the most important first
	More   int               // inputs that are not shown
}

// importanceOf returns the table of a judgement, nil where it has none.
func importanceOf(j *eval.Judgement) *importance {
	for _, s := range j.Importance {
		if len(s.Inputs) != len(j.Inputs) {
			return nil // no judge writes that
		}
	}
	if len(j.Importance) == 0 || len(j.Inputs) == 0 {
		return nil
	}
	t := &importance{Slices: j.Importance[:min(len(j.Importance), importantSlices+1)]}
	ranked := t.Slices[0].Ranked()
	for _, k := range ranked[:min(len(ranked), importantInputs)] {
		in := influence{Input: j.Inputs[k]}
		for _, s := range t.Slices {
			in.Means = append(in.Means, s.Inputs[k])
		}
		t.Inputs = append(t.Inputs, in)
	}
	t.More = len(ranked) - len(t.Inputs)
	return t
}
