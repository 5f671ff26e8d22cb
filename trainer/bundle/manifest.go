// Package bundle is a trained model with all that it needs: the transform, the
// weights, rows with the scores that they must get, checksums and a signature.
// A bundle is a directory, written once and named by its content.
package bundle

import (
	"encoding/json"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/trainer/learn"
)

// An Input is one feature that a model sees, in the place that it has in
// vectors.
type Input struct {
	Name        string        `json:"name"` // view.feature
	Kind        features.Kind `json:"-"`
	KindName    string        `json:"kind"`
	Fingerprint string        `json:"fingerprint"` // see features.Output
}

// A Manifest says what a bundle is. Its bytes are canonical JSON, and the
// bundle's id is their SHA-256, so it holds nothing that differs between two
// trainings of the same data: no wall clock, no path.
type Manifest struct {
	Format   int             `json:"format"` // 1
	Project  string          `json:"project"`
	Model    string          `json:"model"`
	Task     learn.Task      `json:"task"`
	Inputs   []Input         `json:"inputs"`
	Set      string          `json:"set"`               // SetID(Inputs)
	Learner  string          `json:"learner"`           // ftrl, gbdt or exec
	Weights  string          `json:"weights,omitempty"` // of exec: the format of weights.bin, ONNX, XGBoost or LightGBM
	Params   json.RawMessage `json:"params"`
	Seed     uint64          `json:"seed"` // of what the learner draws; 0: it draws nothing
	Code     string          `json:"code"` // version of the program that trained it
	Data     Data            `json:"data"`
	Metrics  json.RawMessage `json:"metrics"` // of the training, by name
	Files    []File          `json:"files"`   // by name; set by Write
	Examples int             `json:"examples"`
}

// Data is what a model was trained on: ranges of the examples topic.
type Data struct {
	Topic  string  `json:"topic"`
	Ranges []Range `json:"ranges"` // by partition
	Window int     `json:"window"` // only the newest so many examples of the ranges
	From   int64   `json:"from"`   // least time of a prediction, microseconds since the Unix epoch
	To     int64   `json:"to"`     // greatest
	Cutoff int64   `json:"cutoff"` // when the last label became known
}

// A Range is the offsets [First, Next) of a partition.
type Range struct {
	Partition int   `json:"partition"`
	First     int64 `json:"first"`
	Next      int64 `json:"next"`
}

// A File is one file of a bundle.
type File struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}
