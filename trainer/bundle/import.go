package bundle

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/millrace/millrace/features/expr"
	"github.com/millrace/millrace/trainer/learn"
	"github.com/millrace/millrace/trainer/learn/onnx"
	"github.com/millrace/millrace/trainer/learn/trees"
)

// The formats of models that other programs have made.
const (
	ONNX     = "onnx"
	XGBoost  = "xgboost"  // as JSON
	LightGBM = "lightgbm" // as text
)

// Import reads the file of a model that another program has made, for rows of the
// form Plain. It refuses a model of other features, of another order of them where
// the file names them, and of another task. The model's bytes are the file's.
func Import(format string, file []byte, inputs []Input, task learn.Task) (learn.Model, error) {
	var model learn.Model
	var err error
	switch format {
	case ONNX:
		model, err = importONNX(file, inputs, task)
	case XGBoost:
		model, err = importTrees(trees.ReadXGBoost, file, inputs, task)
	case LightGBM:
		model, err = importTrees(trees.ReadLightGBM, file, inputs, task)
	default:
		err = fmt.Errorf("its format is %q; this version of millrace reads %s, %s and %s", format, ONNX, XGBoost, LightGBM)
	}
	if err != nil {
		return nil, fmt.Errorf("bundle: the model of another program: %w", err)
	}
	return model, nil
}

func importONNX(file []byte, inputs []Input, task learn.Task) (learn.Model, error) {
	m, err := onnx.Read(file)
	if err != nil {
		return nil, err
	}
	names, kinds := make([]string, len(inputs)), make([]onnx.FeatureKind, len(inputs))
	for i, in := range inputs {
		if names[i] = in.Name; in.Kind == expr.String {
			kinds[i] = onnx.Text
		}
	}
	if err := m.Bind(names, kinds); err != nil {
		return nil, err
	}
	if task == learn.Regression && m.Task() == learn.Binary {
		return nil, fmt.Errorf("it is a classifier, and the model's task is %s", task)
	}
	return m, nil
}

// imported is trees with the file that they were read from.
type imported struct {
	*trees.Model
	file []byte
}

func (m *imported) AppendBinary(dst []byte) ([]byte, error) { return append(dst, m.file...), nil }

// UnmarshalBinary is not for what was read already.
func (m *imported) UnmarshalBinary([]byte) error {
	return fmt.Errorf("bundle: a model of another program is read by Import")
}

func importTrees(read func([]byte) (*trees.Ensemble, error), file []byte, inputs []Input, task learn.Task) (learn.Model, error) {
	e, err := read(file)
	if err != nil {
		return nil, err
	}
	if err := sameFeatures(e, inputs); err != nil {
		return nil, err
	}
	m, err := trees.New(e, task)
	if err != nil {
		return nil, err
	}
	return &imported{m, file}, nil
}

// sameFeatures reports whether trees are over these inputs. Where the file has no
// names the number alone can tell.
func sameFeatures(e *trees.Ensemble, inputs []Input) error {
	names := make([]string, len(inputs))
	for i, in := range inputs {
		if names[i] = in.Name; in.Kind == expr.String {
			return fmt.Errorf("input %q is a text, which trees of other programs see as a number of their own; encode it in the program and leave an ONNX model, or take the input from the model's features", in.Name)
		}
	}
	if e.Features != len(inputs) {
		return fmt.Errorf("it has %d features, and the model %d: %s", e.Features, len(inputs), strings.Join(names, ", "))
	}
	if e.Names != nil && !numbered(e.Names) && !slices.Equal(e.Names, names) {
		return fmt.Errorf("its features are %s, in this order, and the model's are %s; train on the columns in the order of the data set", strings.Join(e.Names, ", "), strings.Join(names, ", "))
	}
	return nil
}

// numbered reports whether names are those that LightGBM gives to columns without.
func numbered(names []string) bool {
	for i, name := range names {
		if name != "Column_"+strconv.Itoa(i) {
			return false
		}
	}
	return true
}
