package external

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
)

// The formats of models.
const (
	ONNX     = "onnx"
	XGBoost  = "xgboost"  // as JSON
	LightGBM = "lightgbm" // as text
)

// An Output is what a program has made.
type Output struct {
	Format string // ONNX, XGBoost or LightGBM
	Model  []byte // the file; that it is a good model is for its reader to say
	Log    string // the end of what the program printed, at most 64 KiB

	Report json.RawMessage // metrics.json, an object; nil: there was none
	// Predictions are predictions.json: what the model says of the first rows of the
	// data set, by the program itself. nil: there was none.
	Predictions []float64
}

// What a program may leave in its output folder.
const (
	outName         = "out"
	reportName      = "metrics.json"
	predictionsName = "predictions.json"

	maxReport      = 1 << 20
	maxPredictions = 10_000
	listedNames    = 10
)

var models = []struct{ file, format, hint string }{
	{"model.onnx", ONNX, "an ONNX file"},
	{"model.json", XGBoost, `what XGBoost's save_model("model.json") writes`},
	{"model.txt", LightGBM, `what LightGBM's save_model("model.txt") writes`},
}

// collect reads what a program has left in the folder dir, of whose data set the
// rows are. An error says what is wrong with it.
func collect(dir string, limit int64, rows int) (*Output, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	if info, err := root.Lstat(outName); err != nil || !info.IsDir() {
		return nil, errors.New("its output folder is gone, or is no folder any more: write into the folder that --out names")
	}
	out := &Output{}
	found := ""
	for _, m := range models {
		if _, err := root.Lstat(path.Join(outName, m.file)); err != nil {
			continue
		}
		if found != "" {
			return nil, fmt.Errorf("it left two models, %s and %s: leave one", found, m.file)
		}
		found, out.Format = m.file, m.format
	}
	if found == "" {
		return nil, noModel(root)
	}
	if out.Model, err = readFile(root, found, limit); err != nil {
		return nil, err
	}
	if err := sniff(out.Format, out.Model); err != nil {
		return nil, fmt.Errorf("%s %w", found, err)
	}
	if out.Report, err = readReport(root); err != nil {
		return nil, err
	}
	out.Predictions, err = readPredictions(root, rows)
	return out, err
}

// noModel says what was there instead.
func noModel(root *os.Root) error {
	var names []string
	if f, err := root.Open(outName); err == nil {
		names, _ = f.Readdirnames(listedNames) // at its end there is nothing to list
		f.Close()
	}
	there := "its output folder is empty"
	if len(names) > 0 {
		there = fmt.Sprintf("its output folder has %q", names)
	}
	var choice []string
	for _, m := range models {
		choice = append(choice, m.file+" ("+m.hint+")")
	}
	return fmt.Errorf("it left no model: %s; write one of %s into the folder that --out names", there, strings.Join(choice, ", "))
}

// readFile reads a regular file of the output folder, which has at most limit bytes.
func readFile(root *os.Root, name string, limit int64) ([]byte, error) {
	full := path.Join(outName, name)
	info, err := root.Lstat(full)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file (%v): write the file itself, and no link to it", name, info.Mode().Type())
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("%s has %s, the most is %s", name, inMiB(info.Size()), inMiB(limit))
	}
	f, err := root.Open(full)
	if err != nil {
		return nil, fmt.Errorf("%s cannot be read: %w", name, err)
	}
	defer f.Close()
	if opened, err := f.Stat(); err != nil || !os.SameFile(info, opened) {
		return nil, fmt.Errorf("%s changed while it was read: write it before the program ends", name)
	}
	data := make([]byte, info.Size())
	if _, err := io.ReadFull(f, data); err != nil {
		return nil, fmt.Errorf("%s cannot be read: %w", name, err)
	}
	return data, nil
}

// sniff finds models that were saved in another format than their names say.
func sniff(format string, model []byte) error {
	if len(model) == 0 {
		return errors.New("is empty")
	}
	switch format {
	case XGBoost:
		var form struct {
			Learner json.RawMessage `json:"learner"`
		}
		if err := json.Unmarshal(model, &form); err != nil {
			return fmt.Errorf("is not JSON (%v): save the model with save_model(\"model.json\")", err)
		}
		if form.Learner == nil {
			return errors.New("is not a model of XGBoost: it has no key \"learner\"; save the model with save_model(\"model.json\"), and not with dump_model")
		}
	case LightGBM:
		if !bytes.HasPrefix(model, []byte("tree\n")) && !bytes.HasPrefix(model, []byte("tree\r\n")) {
			return errors.New("is not a model of LightGBM: its first line is not \"tree\"; save the model with save_model(\"model.txt\")")
		}
	}
	return nil
}

func readReport(root *os.Root) (json.RawMessage, error) {
	data, err := readFile(root, reportName, maxReport)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(data, &object); err != nil || object == nil {
		return nil, fmt.Errorf("%s is not a JSON object (NaN is none of JSON's numbers): %v", reportName, err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, data); err != nil {
		return nil, fmt.Errorf("%s: %w", reportName, err)
	}
	return compact.Bytes(), nil
}

func readPredictions(root *os.Root, rows int) ([]float64, error) {
	data, err := readFile(root, predictionsName, maxPredictions*32)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []*float64
	if err := json.Unmarshal(data, &all); err != nil {
		return nil, fmt.Errorf("%s is not a JSON array of numbers: %v", predictionsName, err)
	}
	if most := min(rows, maxPredictions); len(all) == 0 || len(all) > most {
		return nil, fmt.Errorf("%s has %d predictions: give those of the first rows of the data set, 1 to %d", predictionsName, len(all), most)
	}
	out := make([]float64, len(all))
	for i, x := range all {
		if x == nil {
			return nil, fmt.Errorf("%s: prediction %d is null", predictionsName, i+1)
		}
		out[i] = *x
	}
	return out, nil
}
