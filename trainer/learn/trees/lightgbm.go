package trees

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// lightgbmLinks are the objectives of LightGBM that can be read.
var lightgbmLinks = map[string]Link{
	"binary":        Logistic,
	"cross_entropy": Logistic,
	"regression":    Identity,
	"regression_l1": Identity,
	"huber":         Identity,
	"fair":          Identity,
	"quantile":      Identity,
	"mape":          Identity,
	"poisson":       Exp,
	"gamma":         Exp,
	"tweedie":       Exp,
	"multiclass":    Softmax,
}

// ReadLightGBM reads a model that LightGBM, 2.3 or later, has saved as text, with
// any boosting. It makes the same margins, but where the file has a sigmoid
// parameter or averages its trees: what LightGBM does to the sum is then done to
// the leaves, and a margin is the log-odds.
//
// A category that is not a whole number is in no set; LightGBM cuts off what is
// behind the point.
func ReadLightGBM(data []byte) (*Ensemble, error) {
	e, err := readLightGBM(string(data))
	if err != nil {
		return nil, fmt.Errorf("trees: a model of LightGBM: %w", err)
	}
	if err := e.Check(); err != nil {
		return nil, err
	}
	return e, nil
}

func readLightGBM(data string) (*Ensemble, error) {
	if !strings.HasPrefix(data, "tree\n") && !strings.HasPrefix(data, "tree\r\n") {
		return nil, errors.New(`it does not begin with a line "tree": save it with save_model, as text`)
	}
	data, _, ended := strings.Cut(data, "\nend of trees")
	if !ended {
		return nil, errors.New(`it is cut off: it has no line "end of trees"`)
	}
	parts := strings.Split(data, "\nTree=")
	head, err := newBlock(parts[0])
	if err != nil {
		return nil, err
	}
	parts = parts[1:]
	if len(parts) > maxTrees {
		return nil, fmt.Errorf("%d trees: at most %d are supported", len(parts), maxTrees)
	}
	e := &Ensemble{}
	scale, err := e.readBlock(head, len(parts))
	if err != nil {
		return nil, err
	}
	for i, part := range parts {
		number, part, _ := strings.Cut(part, "\n")
		if strings.TrimSpace(number) != strconv.Itoa(i) {
			return nil, fmt.Errorf("tree %.20q is in the place of tree %d", number, i)
		}
		nodes, err := readTree(part, e.Features, scale)
		if err != nil {
			return nil, fmt.Errorf("tree %d: %w", i, err)
		}
		e.Trees = append(e.Trees, Tree{Class: i % len(e.Base), Nodes: nodes})
	}
	return e, nil
}

// readBlock fills in all but the trees from the head of the file, and returns
// what the leaves are to be multiplied by.
func (e *Ensemble) readBlock(head block, trees int) (scale float64, err error) {
	if v := head["version"]; v != "v3" && v != "v4" {
		return 0, fmt.Errorf("version %.20q is not supported: v3 and v4, of LightGBM 2.3 and later, are", v)
	}
	last, err := head.count("max_feature_idx", maxFeatures-1)
	if err != nil {
		return 0, err
	}
	e.Features = last + 1
	if e.Names = strings.Fields(head["feature_names"]); len(e.Names) != e.Features {
		return 0, fmt.Errorf("%d feature_names for %d features", len(e.Names), e.Features)
	}
	classes, err := head.count("num_tree_per_iteration", maxClasses)
	if err != nil {
		return 0, err
	}
	e.Base = make([]float64, classes)
	if e.Link, scale, err = objective(head["objective"]); err != nil {
		return 0, err
	}
	if (e.Link == Softmax) != (classes > 1) || classes == 0 || trees%classes != 0 {
		return 0, fmt.Errorf("objective %.40q with %d trees, %d an iteration", head["objective"], trees, classes)
	}
	if sizes, ok := head["tree_sizes"]; ok && len(strings.Fields(sizes)) != trees {
		return 0, fmt.Errorf("tree_sizes are those of %d trees, and there are %d", len(strings.Fields(sizes)), trees)
	}
	if _, ok := head["average_output"]; ok && trees > 0 {
		scale /= float64(trees / classes)
	}
	return scale, nil
}

// objective reads the name of an objective and the parameters behind it.
func objective(s string) (link Link, scale float64, err error) {
	words := strings.Fields(s)
	if len(words) == 0 {
		return "", 0, errors.New("it has no objective, as if that was a function of its own: train with one that has a name")
	}
	link, ok := lightgbmLinks[words[0]]
	if !ok {
		known := make([]string, 0, len(lightgbmLinks))
		for name := range lightgbmLinks {
			known = append(known, name)
		}
		slices.Sort(known)
		return "", 0, fmt.Errorf("objective %.40q is not supported: %s are", words[0], strings.Join(known, ", "))
	}
	scale = 1
	for _, w := range words[1:] {
		name, value, _ := strings.Cut(w, ":")
		switch name {
		case "sqrt":
			return "", 0, fmt.Errorf("objective %.40q with reg_sqrt is not supported: train on the labels as they are", words[0])
		case "sigmoid":
			scale, err = strconv.ParseFloat(value, 64)
			if err != nil || !(scale > 0 && scale <= maxValue) {
				return "", 0, fmt.Errorf("sigmoid %.40q of the objective is no number above 0", value)
			}
		}
	}
	return link, scale, nil
}

// A block is lines "key=value".
type block map[string]string

func newBlock(s string) (block, error) {
	b := make(block)
	for line := range strings.SplitSeq(s, "\n") {
		line = strings.TrimRight(line, "\r")
		key, value, _ := strings.Cut(line, "=")
		if key == "" {
			continue
		}
		if _, ok := b[key]; ok {
			return nil, fmt.Errorf("%.40q is there twice", key)
		}
		b[key] = value
	}
	return b, nil
}

// count returns a whole number of at least 0.
func (b block) count(key string, limit int) (int, error) {
	s, ok := b[key]
	if !ok {
		return 0, fmt.Errorf("it has no %s", key)
	}
	n, err := strconv.Atoi(strings.TrimSpace(s))
	if err != nil || n < 0 || n > limit {
		return 0, fmt.Errorf("%s is %.40q: 0 to %d are supported", key, s, limit)
	}
	return n, nil
}
