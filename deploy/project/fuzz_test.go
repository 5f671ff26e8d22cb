package project

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzParse looks for texts that panic, or that give neither a project with all
// its plans nor an *Error with a fault.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add(sample(f, "project.yaml"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Parse("p.yaml", data)
		if err == nil {
			if len(p.Plans) != len(p.Views) || len(p.Plans) == 0 {
				t.Errorf("%d plans for %d views", len(p.Plans), len(p.Views))
			}
			return
		}
		var faults *Error
		if !errors.As(err, &faults) || len(faults.Faults) == 0 || len(faults.Faults) > maxFaults {
			t.Fatalf("error %v", err)
		}
		for _, fault := range faults.Faults {
			if fault.Problem == "" || strings.ContainsAny(fault.Path+fault.Problem, "\n\r") {
				t.Errorf("fault %+v", fault)
			}
			if lines := strings.Count(string(data), "\n") + 1; fault.Line < 0 || fault.Line > lines {
				t.Errorf("line %d of %d: %s", fault.Line, lines, fault.Problem)
			}
		}
	})
}

// TestSlowTexts gives texts that the YAML library needs minutes for, were they
// not refused: the test's own time limit is what it checks.
func TestSlowTexts(t *testing.T) {
	for name, text := range map[string]string{
		"brackets":      strings.Repeat("[", maxFileBytes),
		"braces":        strings.Repeat("{a: ", maxFileBytes/4),
		"list in list":  strings.Repeat("- ", maxFileBytes/2),
		"anchors":       strings.Repeat("&a ", maxFileBytes/3),
		"keys":          strings.Repeat("a: 1\n", maxFileBytes/5),
		"empty keys":    strings.Repeat(": ", maxFileBytes/2),
		"complex keys":  strings.Repeat("? ", maxFileBytes/2),
		"blank lines":   "a: |\n" + strings.Repeat("\n", maxFileBytes-10),
		"lines":         "a: |\n" + strings.Repeat("  x\n\n", maxFileBytes/5-10),
		"documents":     strings.Repeat("---\n", maxFileBytes/4),
		"nested keys":   nested(1400),
		"an expression": strings.Replace(smallest(t), "    features", "    where: "+strings.Repeat("(", 100_000)+"\n    features", 1),
		"half as many":  strings.Repeat("a: 1\n", maxTokens/3-1),
	} {
		if _, err := Parse("p.yaml", []byte(text)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func nested(depth int) string {
	var b strings.Builder
	for i := range depth {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}
