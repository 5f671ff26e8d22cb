//go:build measure

package collisions

import (
	"os"
	"path/filepath"
	"testing"
)

// TestPeers runs the peers themselves, by the Python that is named.
func TestPeers(t *testing.T) {
	python := os.Getenv("MILLRACE_PEERS_PYTHON")
	if python == "" {
		t.Fatal("set MILLRACE_PEERS_PYTHON to a Python that has xgboost, lightgbm, scikit-learn, onnxruntime and onnxmltools")
	}
	p := open(t, python)
	d := Generate(5000, 1)
	prefix := filepath.Join(t.TempDir(), "set")
	if err := d.Write(prefix); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		f, err := p.Figures(t.Context(), name, prefix, d, 2)
		if err != nil {
			t.Fatal(err)
		}
		if !(f.AUC > 0.65 && f.AUC < d.BayesAUC) || f.One.Calls != calls || (f.Train == nil) != (name == "onnxruntime") {
			t.Errorf("%+v, AUC of the true probabilities %v", f, d.BayesAUC)
		}
	}
}
