package trees

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// xgboostLinks are the objectives of XGBoost that can be read. That a base score
// is a prediction, and not a margin, for all but the multi objectives, is how
// the files of version 1.0 and later are.
var xgboostLinks = map[string]Link{
	"binary:logistic":      Logistic,
	"reg:logistic":         Logistic,
	"reg:squarederror":     Identity,
	"reg:linear":           Identity,
	"reg:squaredlogerror":  Identity,
	"reg:pseudohubererror": Identity,
	"reg:absoluteerror":    Identity,
	"reg:quantileerror":    Identity,
	"count:poisson":        Exp,
	"reg:gamma":            Exp,
	"reg:tweedie":          Exp,
	"multi:softprob":       Softmax,
	"multi:softmax":        Softmax,
}

// ReadXGBoost reads a model that XGBoost, 1.0 or later, has saved as JSON, with
// booster gbtree or dart. It makes margins and predictions that differ from
// XGBoost's by the rounding of their sums to float32 only: thresholds are those
// doubles that part the rows as XGBoost's comparison of float32 does. All trees
// are read, as Booster.predict takes them all: to have those up to the best
// iteration of early stopping, save model[:model.best_iteration + 1].
//
// A category that is not a whole number is in no set; XGBoost cuts off what is
// behind the point.
func ReadXGBoost(data []byte) (*Ensemble, error) {
	e, err := readXGBoost(data)
	if err != nil {
		return nil, fmt.Errorf("trees: a model of XGBoost: %w", err)
	}
	if err := e.Check(); err != nil {
		return nil, err
	}
	return e, nil
}

// The parts of the file that matter. Numbers that the file has as texts are
// read as either.
type xgboostFile struct {
	Learner *struct {
		FeatureNames    []string       `json:"feature_names"`
		GradientBooster xgboostBooster `json:"gradient_booster"`
		Param           xgboostParam   `json:"learner_model_param"`
		Objective       struct {
			Name string `json:"name"`
		} `json:"objective"`
	} `json:"learner"`
}

type xgboostBooster struct {
	Name       string        `json:"name"`
	Model      *xgboostModel `json:"model"`
	WeightDrop []float32     `json:"weight_drop"`
	GBTree     struct {
		Model *xgboostModel `json:"model"`
	} `json:"gbtree"`
}

type xgboostParam struct {
	BaseScore text `json:"base_score"`
	Classes   text `json:"num_class"`
	Features  text `json:"num_feature"`
	Targets   text `json:"num_target"`
}

type xgboostModel struct {
	Param struct {
		Trees text `json:"num_trees"`
	} `json:"gbtree_model_param"`
	Info       []int         `json:"tree_info"`
	Trees      []xgboostTree `json:"trees"`
	WeightDrop []float32     `json:"weight_drop"`
}

// A text is a text or something else of JSON, as it stands.
type text string

func (t *text) UnmarshalJSON(b []byte) error {
	var s string
	if json.Unmarshal(b, &s) == nil {
		*t = text(s)
	} else {
		*t = text(b)
	}
	return nil
}

// count returns t as a whole number, and 0 where it is not there.
func (t text) count(name string, limit int) (int, error) {
	if t == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(string(t))
	if err != nil || n < 0 || n > limit {
		return 0, fmt.Errorf("%s is %q: 0 to %d are supported", name, t, limit)
	}
	return n, nil
}

// A flag is true, false, 1 or 0.
type flag bool

func (f *flag) UnmarshalJSON(b []byte) error {
	switch string(b) {
	case "1", "true":
		*f = true
	case "0", "false":
		*f = false
	default:
		return fmt.Errorf("%.20s where 0 or 1 should be", b)
	}
	return nil
}

func readXGBoost(data []byte) (*Ensemble, error) {
	if len(data) > 1 && data[0] == '{' && strings.IndexByte("iIlLU", data[1]) >= 0 {
		return nil, errors.New("it is UBJSON: save it under a name that ends in .json")
	}
	var f xgboostFile
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("it is cut off or not what save_model writes to a .json file: %w", err)
	}
	if f.Learner == nil {
		return nil, errors.New(`it has no "learner": save it with save_model and not with dump_model`)
	}
	model, weights, err := f.Learner.GradientBooster.model()
	if err != nil {
		return nil, err
	}
	e := &Ensemble{}
	if err := e.readHead(f.Learner.Objective.Name, f.Learner.Param); err != nil {
		return nil, err
	}
	if names := f.Learner.FeatureNames; len(names) > 0 {
		e.Names = names
	}
	if len(model.Trees) > maxTrees || len(model.Info) != len(model.Trees) || len(weights) > len(model.Trees) {
		return nil, fmt.Errorf("%d trees, %d of them with a class and %d with a weight: at most %d trees are supported", len(model.Trees), len(model.Info), len(weights), maxTrees)
	}
	if n, err := model.Param.Trees.count("num_trees", maxTrees); err != nil || n != len(model.Trees) {
		return nil, fmt.Errorf("num_trees is %q, and there are %d", model.Param.Trees, len(model.Trees))
	}
	r := xgboostReader{features: e.Features, words: maxWords}
	for i := range model.Trees {
		weight := 1.0
		if i < len(weights) {
			weight = float64(weights[i])
		}
		nodes, err := r.tree(&model.Trees[i], weight)
		if err != nil {
			return nil, fmt.Errorf("tree %d: %w", i, err)
		}
		e.Trees = append(e.Trees, Tree{Class: model.Info[i], Nodes: nodes})
	}
	return e, nil
}

// model returns the trees and the weights of the first of them, others having 1.
func (b *xgboostBooster) model() (*xgboostModel, []float32, error) {
	model, weights := b.Model, b.WeightDrop
	if b.Name != "gbtree" && b.Name != "dart" {
		return nil, nil, fmt.Errorf("booster %q is not supported: gbtree and dart are", b.Name)
	}
	if model == nil {
		model = b.GBTree.Model
	}
	if model == nil {
		return nil, nil, fmt.Errorf("booster %q has no model", b.Name)
	}
	if weights == nil {
		weights = model.WeightDrop
	}
	return model, weights, nil
}

// readHead fills in all but the names and the trees.
func (e *Ensemble) readHead(objective string, p xgboostParam) error {
	link, ok := xgboostLinks[objective]
	if !ok {
		known := make([]string, 0, len(xgboostLinks))
		for name := range xgboostLinks {
			known = append(known, name)
		}
		slices.Sort(known)
		return fmt.Errorf("objective %q is not supported: %s are", objective, strings.Join(known, ", "))
	}
	e.Link = link
	features, err := p.Features.count("num_feature", maxFeatures)
	if err != nil {
		return err
	}
	e.Features = features
	targets, err := p.Targets.count("num_target", maxClasses)
	if err != nil {
		return err
	}
	if targets > 1 {
		return fmt.Errorf("it predicts %d targets: train a model for each", targets)
	}
	classes, err := p.Classes.count("num_class", maxClasses)
	if err != nil {
		return err
	}
	e.Base, err = baseMargins(string(p.BaseScore), link)
	if err != nil {
		return err
	}
	if len(e.Base) == 1 && classes > 1 {
		e.Base = slices.Repeat(e.Base, classes)
	}
	if len(e.Base) != max(classes, 1) {
		return fmt.Errorf("base_score %.60q for %d classes", p.BaseScore, classes)
	}
	return nil
}

// The least and the greatest probability that XGBoost takes as a base score: of
// labels that are all the same it makes 0 or 1.
const (
	leastBase = float64(float32(1e-6))
	mostBase  = float64(float32(1) - float32(1e-6))
)

// baseMargins reads a base score, a number or a list of them in brackets.
func baseMargins(score string, link Link) ([]float64, error) {
	list := strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(score), "["), "]")
	var base []float64
	for s := range strings.SplitSeq(list, ",") {
		if len(base) == maxClasses {
			return nil, fmt.Errorf("base_score has more than %d numbers", maxClasses)
		}
		b, err := strconv.ParseFloat(strings.TrimSpace(s), 32)
		switch {
		case err != nil || math.IsNaN(b) || math.IsInf(b, 0):
			return nil, fmt.Errorf("base_score %.60q is no number, nor a list of numbers", score)
		case link == Logistic:
			if !(b >= 0 && b <= 1) {
				return nil, fmt.Errorf("base_score %v is no probability", b)
			}
			b = min(max(b, leastBase), mostBase)
			b = math.Log(b) - math.Log1p(-b)
		case link == Exp:
			if !(b > 0) {
				return nil, fmt.Errorf("base_score %v is no mean of counts, which is more than 0", b)
			}
			b = math.Log(b)
		}
		base = append(base, b)
	}
	return base, nil
}
