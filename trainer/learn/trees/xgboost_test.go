package trees

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/millrace/millrace/trainer/learn"
)

// TestThresholdsPartRowsAsFloat32Does compares what a threshold becomes with what
// XGBoost does, for rows about it.
func TestThresholdsPartRowsAsFloat32Does(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 0))
	thresholds := []float32{0, float32(math.Copysign(0, -1)), 1, -1, 0.1, math.SmallestNonzeroFloat32, -math.SmallestNonzeroFloat32, math.MaxFloat32, -math.MaxFloat32, 16777216, 1 << 24, 0x1p-126, -0x1p-126}
	for len(thresholds) < 2000 {
		if f := math.Float32frombits(r.Uint32()); f == f && !math.IsInf(float64(f), 0) {
			thresholds = append(thresholds, f)
		}
	}
	for _, threshold := range thresholds {
		h := below(threshold)
		if math.IsInf(h, 0) || math.IsNaN(h) {
			t.Fatalf("threshold %v becomes %v", threshold, h)
		}
		up, down := math.Nextafter32(threshold, float32(math.Inf(1))), math.Nextafter32(threshold, float32(math.Inf(-1)))
		rows := []float64{math.Inf(1), math.Inf(-1), 0, h, math.Nextafter(h, math.Inf(1)), math.Nextafter(h, math.Inf(-1)), float64(threshold), float64(up), float64(down), math.MaxFloat64, -math.MaxFloat64}
		for range 20 {
			rows = append(rows, float64(down)+(float64(up)-float64(down))*r.Float64())
		}
		for _, x := range rows {
			if left := float32(x) < threshold; left != (x <= h) && !math.IsNaN(x) {
				t.Fatalf("threshold %v, which becomes %v: row %v goes left is %v with XGBoost", threshold, h, x, left)
			}
		}
	}
}

// A wanted model, with %s for what a test puts in.
const smallXGBoost = `{"learner": {"feature_names": ["a", "b"], "gradient_booster": %s,
	"learner_model_param": %s, "objective": {"name": "%s"}}, "version": [3, 2, 0]}`

// The nodes are out of order, one place is deleted, and feature 1 splits by category.
const smallTree = `{"tree_param": {"num_nodes": "6", "size_leaf_vector": "1"}, "left_children": [5, -1, -1, -1, -1, 1], "right_children": [3, -1, -1, -1, -1, 2],
	"split_indices": [0, 0, 0, 0, 0, 1], "split_conditions": [0.5, 1, 2, 4, 99, 0], "default_left": [1, 0, 0, 0, 0, false], "sum_hessian": [10, 3, 4, 3, 0, 7],
	"split_type": [0, 0, 0, 0, 0, 1], "categories_nodes": [5], "categories_segments": [1], "categories_sizes": [2], "categories": [9, 0, 70]}`

func gbtree(trees ...string) string {
	return fmt.Sprintf(`{"name": "gbtree", "model": {"gbtree_model_param": {"num_trees": "%d"}, "tree_info": [%s], "trees": [%s]}}`,
		len(trees), strings.TrimSuffix(strings.Repeat("0,", len(trees)), ","), strings.Join(trees, ","))
}

const smallParam = `{"base_score": "2.5E-1", "num_class": "0", "num_feature": "2", "num_target": "1"}`

func TestCategoriesOfXGBoost(t *testing.T) {
	e, err := ReadXGBoost(fmt.Appendf(nil, smallXGBoost, gbtree(smallTree), smallParam, "reg:squarederror"))
	if err != nil {
		t.Fatal(err)
	}
	if len(e.Trees[0].Nodes) != 5 || !slices.Equal(e.Names, []string{"a", "b"}) {
		t.Errorf("%d nodes, names %v", len(e.Trees[0].Nodes), e.Names)
	}
	m, err := New(e, learn.Regression)
	if err != nil {
		t.Fatal(err)
	}
	nan := math.NaN()
	for _, c := range []struct{ a, b, leaf float64 }{
		{0.5, 0, 4},               // not below 0.5
		{0.4, 0, 2}, {0.4, 70, 2}, // in the set: right
		{0.4, 9, 1}, {0.4, 1, 1}, {0.4, 71, 1}, // not in the set
		{0.4, -1, 1}, {0.4, 1e30, 1}, {0.4, 64, 1}, // no categories
		{0.4, nan, 2}, {nan, 1, 1}, {nan, nan, 2}, // missing
	} {
		if got := m.Margins(nil, []float64{c.a, c.b})[0]; got != 0.25+c.leaf {
			t.Errorf("row %v, %v: leaf %v, want %v", c.a, c.b, got-0.25, c.leaf)
		}
	}
}

func TestBaseScores(t *testing.T) {
	for _, c := range []struct {
		score, objective, classes string
		want                      []float64
	}{
		{`"0.5"`, "binary:logistic", "0", []float64{0}},
		{`"[2E-1]"`, "binary:logistic", "0", []float64{math.Log(0.25)}},
		{`0.2`, "reg:logistic", "0", []float64{math.Log(0.25)}},
		{`[0.2]`, "binary:logistic", "1", []float64{math.Log(0.25)}},
		{`"[1E0]"`, "binary:logistic", "0", []float64{13.80}},
		{`"0"`, "binary:logistic", "0", []float64{-13.81}},
		{`"3"`, "count:poisson", "0", []float64{math.Log(3)}},
		{`"3"`, "reg:tweedie", "0", []float64{math.Log(3)}},
		{`"[3e0]"`, "reg:absoluteerror", "0", []float64{3}},
		{`"5E-1"`, "multi:softmax", "3", []float64{0.5, 0.5, 0.5}},
		{`"[1E0, -2,3]"`, "multi:softprob", "3", []float64{1, -2, 3}},
	} {
		param := fmt.Sprintf(`{"base_score": %s, "num_class": "%s", "num_feature": 2}`, c.score, c.classes)
		e, err := ReadXGBoost(fmt.Appendf(nil, smallXGBoost, gbtree(smallTree), param, c.objective))
		if err != nil {
			t.Errorf("%s of %s: %v", c.score, c.objective, err)
			continue
		}
		if len(e.Base) != len(c.want) {
			t.Errorf("%s of %s: %v", c.score, c.objective, e.Base)
			continue
		}
		for k, want := range c.want {
			if math.Abs(e.Base[k]-want) > 1e-2 || want < 10 && want > -10 && math.Abs(e.Base[k]-want) > 1e-6 {
				t.Errorf("%s of %s: %v, want %v", c.score, c.objective, e.Base, c.want)
			}
		}
	}
}

func TestWeightsOfDroppedTrees(t *testing.T) {
	dart := `{"name": "dart", "gbtree": %s, "weight_drop": [0.5]}`
	tree := gbtree(smallTree, smallTree)
	inner := `{"name": "gbtree", "model": {"weight_drop": [0.5], ` + strings.TrimPrefix(tree, `{"name": "gbtree", "model": {`)
	for name, booster := range map[string]string{"dart": fmt.Sprintf(dart, tree), "in the model": inner} {
		e, err := ReadXGBoost(fmt.Appendf(nil, smallXGBoost, booster, smallParam, "reg:squarederror"))
		if err != nil {
			t.Fatal(err)
		}
		if got := naive(e, []float64{9, 9})[0]; got != 0.25+0.5*4+4 {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestBadModelsOfXGBoost(t *testing.T) {
	model := func(booster, param, objective string) string {
		return fmt.Sprintf(smallXGBoost, booster, param, objective)
	}
	whole := model(gbtree(smallTree), smallParam, "binary:logistic")
	if _, err := ReadXGBoost([]byte(whole)); err != nil {
		t.Fatal(err)
	}
	in := func(old, new string) string {
		t.Helper()
		if strings.Count(whole, old) != 1 {
			t.Fatalf("%q is there %d times", old, strings.Count(whole, old))
		}
		return strings.Replace(whole, old, new, 1)
	}
	for _, c := range []struct{ want, model string }{
		{"cut off", ""},
		{"cut off", "binf"},
		{"cut off", whole[:len(whole)/2]},
		{"UBJSON", "{L\x00\x00\x00\x00\x00\x00\x00\x07learner"},
		{`no "learner"`, `{"nodeid": 0}`},
		{`no "learner"`, `{"learner": null}`},
		{"cut off or not", `[{"nodeid": 0}]`},
		{`booster "gblinear" is not supported: gbtree and dart are`, model(`{"name": "gblinear", "model": {"weights": [1, 2, 3]}}`, smallParam, "binary:logistic")},
		{`booster "" is not supported`, model(`{}`, smallParam, "binary:logistic")},
		{`booster "gbtree" has no model`, model(`{"name": "gbtree"}`, smallParam, "binary:logistic")},
		{`objective "rank:pairwise" is not supported: binary:logistic, `, in("binary:logistic", "rank:pairwise")},
		{`objective "" is not supported`, in("binary:logistic", "")},
		{`num_feature is "-1"`, in(`"num_feature": "2"`, `"num_feature": "-1"`)},
		{`num_feature is "99999999999999999999"`, in(`"num_feature": "2"`, `"num_feature": "99999999999999999999"`)},
		{`num_class is "x"`, in(`"num_class": "0"`, `"num_class": "x"`)},
		{`for 2 classes`, model(gbtree(smallTree), `{"base_score": "[1,2,3]", "num_class": "2", "num_feature": "2"}`, "multi:softprob")},
		{`it predicts 2 targets`, in(`"num_target": "1"`, `"num_target": "2"`)},
		{`base_score "x" is no number`, in(`"2.5E-1"`, `"x"`)},
		{`base_score "NaN" is no number`, in(`"2.5E-1"`, `"NaN"`)},
		{`base_score "" is no number`, in(`"2.5E-1"`, `""`)},
		{`base_score 1.5 is no probability`, in(`"2.5E-1"`, `"1.5"`)},
		{`base_score 0 is no mean`, model(gbtree(smallTree), `{"base_score": "0", "num_feature": "2"}`, "count:poisson")},
		{`1 names for 2 features`, in(`["a", "b"]`, `["a"]`)},
		{`num_trees is "2", and there are 1`, in(`"num_trees": "1"`, `"num_trees": "2"`)},
		{`1 trees, 2 of them with a class`, in(`"tree_info": [0]`, `"tree_info": [0, 0]`)},
		{`class 1 of 1`, in(`"tree_info": [0]`, `"tree_info": [1]`)},
		{`3 with a weight`, in(`"tree_info": [0]`, `"weight_drop": [1, 1, 1], "tree_info": [0]`)},
		{`leaves are vectors of 3 values`, in(`"size_leaf_vector": "1"`, `"size_leaf_vector": "3"`)},
		{`num_nodes is "7", and there are 6`, in(`"num_nodes": "6"`, `"num_nodes": "7"`)},
		{`num_nodes is "4000000000"`, in(`"num_nodes": "6"`, `"num_nodes": "4000000000"`)},
		{`right_children has 5 values for 6 nodes`, in(`[3, -1, -1, -1, -1, 2]`, `[3, -1, -1, -1, -1]`)},
		{`sum_hessian has 0 values for 6 nodes`, in(`"sum_hessian"`, `"hessian"`)},
		{`split_type has 1 values for 6 nodes`, in(`[0, 0, 0, 0, 0, 1], "categories_nodes"`, `[0], "categories_nodes"`)},
		{`node 0: it splits feature 7, and the model has 2`, in(`[0, 0, 0, 0, 0, 1], "split_conditions"`, `[7, 0, 0, 0, 0, 1], "split_conditions"`)},
		{`node 5: it splits feature -1, and the model has 2`, in(`[0, 0, 0, 0, 0, 1], "split_conditions"`, `[0, 0, 0, 0, 0, -1], "split_conditions"`)},
		{`node 0 is the child of two nodes, or is below itself`, in(`[5, -1, -1, -1, -1, 1]`, `[5, -1, -1, -1, -1, 0]`)},
		{`node 3 is the child of two nodes`, in(`[3, -1, -1, -1, -1, 2]`, `[3, -1, -1, -1, -1, 3]`)},
		{`child 6: there are 6 nodes`, in(`[3, -1, -1, -1, -1, 2]`, `[6, -1, -1, -1, -1, 2]`)},
		{`child -1: there are 6 nodes`, in(`[3, -1, -1, -1, -1, 2]`, `[-1, -1, -1, -1, -1, 2]`)},
		{`invalid character 'N'`, in(`[0.5, 1,`, `[NaN, 1,`)},
		{`number 1e39`, in(`[0.5, 1,`, `[1e39, 1,`)},
		{`cover -3`, in(`[10, 3, 4,`, `[10, -3, 4,`)},
		{`2 where 0 or 1 should be`, in(`"default_left": [1,`, `"default_left": [2,`)},
		{`node 5: it splits by category and has no`, in(`"categories_nodes": [5]`, `"categories_nodes": [4]`)},
		{`node 5: it splits by category and has no`, in(`[0, 0, 0, 0, 0, 1], "categories_nodes"`, `[0, 0, 0, 0, 0, 2], "categories_nodes"`)},
		{`have 1, 2 and 1 values`, in(`"categories_segments": [1]`, `"categories_segments": [1, 2]`)},
		{`node 5 has categories 2 to 3 of 3`, in(`"categories_segments": [1]`, `"categories_segments": [2]`)},
		{`node 5 has categories 1 to -1`, in(`"categories_sizes": [2]`, `"categories_sizes": [-1]`)},
		{`node 5 has category -1`, in(`[9, 0, 70]`, `[9, -1, 70]`)},
		{`node 5 has category 16777216`, in(`[9, 0, 70]`, `[9, 0, 16777216]`)},
	} {
		if e, err := ReadXGBoost([]byte(c.model)); err == nil || e != nil || !strings.HasPrefix(err.Error(), "trees: ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want one with %q", err, c.want)
		}
	}
}

// TestManyLargeSetsAreRefused has few bytes that say much.
func TestManyLargeSetsAreRefused(t *testing.T) {
	tree := strings.Replace(smallTree, "[9, 0, 70]", "[9, 0, 16777215]", 1)
	many := slices.Repeat([]string{tree}, maxWords/(maxCategory/64)+1)
	_, err := ReadXGBoost(fmt.Appendf(nil, smallXGBoost, gbtree(many...), smallParam, "binary:logistic"))
	if err == nil || !strings.Contains(err.Error(), "tree 32: the sets of categories") {
		t.Error(err)
	}
}

func TestCutModelsOfXGBoostAreRefused(t *testing.T) {
	text, err := os.ReadFile("testdata/learners/xgb_dart.json")
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; n < len(text); n += 37 {
		if _, err := ReadXGBoost(text[:n]); err == nil {
			t.Fatalf("%d of %d bytes are read", n, len(text))
		}
	}
}
