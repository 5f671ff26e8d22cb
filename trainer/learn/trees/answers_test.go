package trees

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/millrace/millrace/trainer/learn"
)

// numbers are those of one row or one class; a single one, too. null is NaN.
type numbers []float64

func (n *numbers) UnmarshalJSON(b []byte) error {
	var list []*float64
	if err := json.Unmarshal(b, &list); err != nil {
		var one float64
		if err := json.Unmarshal(b, &one); err != nil {
			return err
		}
		list = []*float64{&one}
	}
	*n = make(numbers, len(list))
	for i, v := range list {
		(*n)[i] = math.NaN()
		if v != nil {
			(*n)[i] = *v
		}
	}
	return nil
}

// answers are those of testdata, with what XGBoost and LightGBM themselves said.
type answers struct {
	Source    string
	Tolerance struct{ Margin, Raw, Prediction, Contribs float64 }
	Inputs    []numbers
	Cases     []struct {
		ID, Model  string
		Margin     []numbers // called raw by LightGBM
		Raw        []numbers
		Prediction []numbers
		Contribs   []numbers `json:"contribs_last_is_bias"`
	}
}

var tasksOf = map[Link]learn.Task{Identity: learn.Regression, Exp: learn.Regression, Logistic: learn.Binary, Softmax: learn.Multiclass}

func TestKnownAnswers(t *testing.T) {
	for _, file := range []string{"xgboost.json", "lightgbm.json", "more.json"} {
		text, err := os.ReadFile(filepath.Join("testdata", file))
		if err != nil {
			t.Fatal(err)
		}
		var a answers
		if err := json.Unmarshal(text, &a); err != nil {
			t.Fatal(err)
		}
		for _, c := range a.Cases {
			t.Run(c.ID, func(t *testing.T) {
				text, err := os.ReadFile(filepath.Join("testdata", c.Model))
				if err != nil {
					t.Fatal(err)
				}
				read := ReadXGBoost
				if filepath.Ext(c.Model) == ".txt" {
					read = ReadLightGBM
				}
				e, err := read(text)
				if err != nil {
					t.Fatal(err)
				}
				task := tasksOf[e.Link]
				m, err := New(e, task)
				if err != nil {
					t.Fatal(err)
				}
				margins, tolerance := c.Margin, a.Tolerance.Margin
				if margins == nil {
					margins, tolerance = c.Raw, a.Tolerance.Raw
				}
				checked := 0
				for i, row := range a.Inputs {
					if margins != nil {
						checked += close(t, i, "margin", m.Margins(nil, row), margins[i], tolerance)
					}
					checked += close(t, i, "prediction", m.Probabilities(nil, row), c.Prediction[i], a.Tolerance.Prediction)
					if c.Contribs != nil {
						checked += close(t, i, "contributions", m.ContributionsOf(0, nil, row), c.Contribs[i], a.Tolerance.Contribs)
					}
				}
				if checked < len(a.Inputs) || len(a.Inputs) != len(c.Prediction) {
					t.Errorf("%d numbers checked of %d rows and %d predictions", checked, len(a.Inputs), len(c.Prediction))
				}
			})
		}
	}
}

// close reports numbers of row i that differ by more than a tolerance, and
// returns how many it has looked at.
func close(t *testing.T, i int, what string, got, want []float64, tolerance float64) int {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("row %d: %s %v, want %v", i, what, got, want)
	}
	for k := range want {
		if !(math.Abs(got[k]-want[k]) <= tolerance) {
			t.Errorf("row %d: %s %v, want %v within %g", i, what, got, want, tolerance)
			break
		}
	}
	return len(want)
}
