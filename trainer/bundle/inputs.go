package bundle

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
)

const (
	maxInputs    = 1024 // of a model: a vector is a message of the feedback topic, and so is each prediction
	maxNameBytes = 256  // of an input: two names of the project file and a dot
)

// SetID returns a name for a list of inputs, 16 hex digits over their names,
// kinds and fingerprints in their order. Vectors of one set may be exchanged;
// those of two sets differ in what a place holds or in how it was computed.
func SetID(inputs []Input) string {
	h := sha256.New()
	for _, in := range inputs {
		fmt.Fprintf(h, "%q %v %q\n", in.Name, in.Kind, in.Fingerprint)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// CheckInputs reports the first thing that keeps a model from having these
// inputs.
func CheckInputs(inputs []Input) error {
	if len(inputs) == 0 || len(inputs) > maxInputs {
		return fmt.Errorf("bundle: %d inputs: give 1 to %d", len(inputs), maxInputs)
	}
	seen := make(map[string]bool, len(inputs))
	for _, in := range inputs {
		switch {
		case in.Name == "" || len(in.Name) > maxNameBytes || strings.ContainsFunc(in.Name, func(r rune) bool { return r < ' ' }):
			return fmt.Errorf("bundle: input %q: a name has 1 to %d bytes, and no control characters", in.Name, maxNameBytes)
		case seen[in.Name]:
			return fmt.Errorf("bundle: input %q is there twice", in.Name)
		case in.Kind == expr.Time:
			return fmt.Errorf("bundle: input %q is a time, which says nothing to a model; derive an age or an hour of the day from it", in.Name)
		case in.Kind == expr.Missing || in.Kind > expr.Time:
			return fmt.Errorf("bundle: input %q has no kind; it is one of bool, int, float and string", in.Name)
		}
		seen[in.Name] = true
	}
	return nil
}

// CheckVector reports whether x is a vector of the inputs: one value each, of its
// kind or missing. Whole numbers and others may stand for each other.
func CheckVector(inputs []Input, x []features.Value) error {
	if len(x) != len(inputs) {
		return wrongLength(len(x), len(inputs))
	}
	for i := range inputs {
		if in := &inputs[i]; !takes(in.Kind, x[i].Kind) {
			return wrongKind(in.Name, in.Kind, x[i].Kind)
		}
	}
	return nil
}

// takes reports whether an input takes values of a kind.
func takes(input, value features.Kind) bool {
	return value == input || value == expr.Missing || value.Numeric() && input.Numeric()
}

func wrongLength(values, inputs int) error {
	return fmt.Errorf("bundle: a vector of %d values for a model of %d inputs", values, inputs)
}

func wrongKind(name string, input, value features.Kind) error {
	return fmt.Errorf("bundle: input %q: the value is of kind %v, and the model takes %v", name, value, input)
}

// kindOf returns the kind of that name, or Missing.
func kindOf(name string) features.Kind {
	for _, k := range [...]features.Kind{expr.Bool, expr.Int, expr.Float, expr.String} {
		if k.String() == name {
			return k
		}
	}
	return expr.Missing
}
