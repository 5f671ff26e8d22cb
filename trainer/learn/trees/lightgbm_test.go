package trees

import (
	"fmt"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/millrace/millrace/trainer/learn"
)

const smallLightGBM = `tree
version=v4
num_class=1
num_tree_per_iteration=1
label_index=0
max_feature_idx=1
objective=%s
feature_names=a b
feature_infos=[0:9] [0:9]
%s
Tree=0
num_leaves=4
num_cat=1
split_feature=0 1 0
split_gain=3 2 1
threshold=%s 0 2.5
decision_type=%d 3 10
left_child=1 -1 -3
right_child=2 -2 -4
leaf_value=1 2 4 8
leaf_weight=3 4 2 1
leaf_count=3 4 2 1
internal_value=0 0 0
internal_weight=10 7 3
internal_count=10 7 3
cat_boundaries=0 3
cat_threshold=512 4 65
is_linear=0
shrinkage=1


Tree=1
num_leaves=1
num_cat=0
split_feature=
split_gain=
threshold=
decision_type=
left_child=
right_child=
leaf_value=16
leaf_weight=
leaf_count=
internal_value=
internal_weight=
internal_count=
is_linear=0
shrinkage=1


end of trees

feature_importances:
a=2

parameters:
[boosting: gbdt]
end of parameters
`

func small(objective, header, threshold string, decision int) string {
	return fmt.Sprintf(smallLightGBM, objective, header, threshold, decision)
}

// TestMissingTypesOfLightGBM scores by what NumericalDecision and
// CategoricalDecision of LightGBM's tree.h say.
func TestMissingTypesOfLightGBM(t *testing.T) {
	nan, tiny := math.NaN(), math.Copysign(1e-36, -1)
	for _, c := range []struct {
		name      string
		threshold string
		decision  int
		a         float64
		left      bool
	}{
		{"none", "1.5", 0, 1.5, true},
		{"none", "1.5", 0, math.Nextafter(1.5, 2), false},
		{"none: NaN is 0, which is below", "1.5", 0, nan, true},
		{"none: NaN is 0, which is below, whatever the default", "1.5", 2, nan, true},
		{"none: NaN is 0, which is above", "-1.5", 2, nan, false},
		{"none: NaN is 0, which is at it", "0", 0, nan, true},
		{"zero, right: 0 is missing", "1.5", 4, 0, false},
		{"zero, right: tiny is missing", "1.5", 4, tiny, false},
		{"zero, right: NaN is missing", "1.5", 4, nan, false},
		{"zero, right: 1 is not", "1.5", 4, 1, true},
		{"zero, left: -0 is missing", "-1.5", 6, math.Copysign(0, -1), true},
		{"zero, left: NaN is missing", "-1.5", 6, nan, true},
		{"zero, left: -1 is not", "-1.5", 6, -1, false},
		{"nan, right", "1.5", 8, nan, false},
		{"nan, right: 0 is not missing", "1.5", 8, 0, true},
		{"nan, right of all", "inf", 8, nan, false},
		{"nan, right of all: infinity is not", "inf", 8, math.Inf(1), true},
		{"nan, left", "1.5", 10, nan, true},
		{"nan, left: 2 is not missing", "1.5", 10, 2, false},
	} {
		e, err := ReadLightGBM([]byte(small("regression", "", c.threshold, c.decision)))
		if err != nil {
			t.Fatal(err)
		}
		m, err := New(e, learn.Regression)
		if err != nil {
			t.Fatal(err)
		}
		got := m.Margins(nil, []float64{c.a, 9})[0] - 16
		if left := got == 1; left != c.left || !left && got < 4 {
			t.Errorf("%s: leaf %v", c.name, got)
		}
	}
}

func TestCategoriesOfLightGBM(t *testing.T) {
	e, err := ReadLightGBM([]byte(small("regression", "", "1.5", 0)))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ b, leaf float64 }{
		{9, 1}, {34, 1}, {64, 1}, {70, 1}, // in the set
		{0, 2}, {2, 2}, {8, 2}, {65, 2}, {95, 2}, {96, 2}, {1e9, 2}, {-9, 2}, {math.NaN(), 2}, {math.Inf(1), 2},
	} {
		if got := naive(e, []float64{0, c.b})[0] - 16; got != c.leaf {
			t.Errorf("category %v: leaf %v, want %v", c.b, got, c.leaf)
		}
	}
	if n := e.Trees[0].Nodes; n[0].Cover != 10 || n[1].Cover != 7 || n[2].Cover != 3 || n[3].Cover != 4 {
		t.Errorf("covers of %+v", n)
	}
}

func TestWhatLightGBMDoesToTheSum(t *testing.T) {
	for _, c := range []struct {
		objective, header string
		margin, want      float64
	}{
		{"binary sigmoid:1", "", 17, 1 / (1 + math.Exp(-17))},
		{"binary sigmoid:0.125", "", 17.0 / 8, 1 / (1 + math.Exp(-17.0/8))},
		{"cross_entropy", "", 17, 1 / (1 + math.Exp(-17))},
		{"regression", "average_output\n", 8.5, 8.5},
		{"binary sigmoid:0.5", "average_output\n", 4.25, 1 / (1 + math.Exp(-4.25))},
		{"poisson", "", 17, math.Exp(17)},
		{"quantile alpha:0.9", "", 17, 17},
	} {
		e, err := ReadLightGBM([]byte(small(c.objective, c.header, "1.5", 0)))
		if err != nil {
			t.Error(err)
			continue
		}
		margin := naive(e, []float64{0, 9})[0]
		if got := e.Link.Predict(margin); margin != c.margin || math.Abs(got/c.want-1) > 1e-14 {
			t.Errorf("%s %s: margin %v, prediction %v, want %v, %v", c.objective, c.header, margin, got, c.margin, c.want)
		}
	}
}

func TestClassesOfLightGBM(t *testing.T) {
	whole := small("multiclass num_class:2", "", "1.5", 0)
	e, err := ReadLightGBM([]byte(strings.Replace(whole, "num_tree_per_iteration=1", "num_tree_per_iteration=2", 1)))
	if err != nil {
		t.Fatal(err)
	}
	if got := naive(e, []float64{0, 9}); got[0] != 1 || got[1] != 16 || e.Link != Softmax {
		t.Errorf("%v, link %s", got, e.Link)
	}
}

func TestBadModelsOfLightGBM(t *testing.T) {
	whole := small("binary sigmoid:1", "", "1.5", 0)
	in := func(old, new string) string {
		t.Helper()
		if !strings.Contains(whole, old) {
			t.Fatalf("%q is not there", old)
		}
		return strings.Replace(whole, old, new, 1)
	}
	if _, err := ReadLightGBM([]byte(strings.ReplaceAll(whole, "\n", "\r\n"))); err != nil {
		t.Errorf("with the lines of Windows: %v", err)
	}
	for _, c := range []struct{ want, model string }{
		{`a line "tree"`, ""},
		{`a line "tree"`, `{"name": "tree"}`},
		{`no line "end of trees"`, whole[:strings.Index(whole, "end of trees")]},
		{`version "v2" is not supported`, in("version=v4", "version=v2")},
		{`version "" is not supported`, in("version=v4\n", "")},
		{`it has no max_feature_idx`, in("max_feature_idx=1\n", "")},
		{`max_feature_idx is "65536"`, in("max_feature_idx=1", "max_feature_idx=65536")},
		{`2 feature_names for 3 features`, in("max_feature_idx=1", "max_feature_idx=2")},
		{`it has no objective`, in("objective=binary sigmoid:1\n", "")},
		{`objective "custom" is not supported: binary, `, in("binary sigmoid:1", "custom")},
		{`objective "lambdarank" is not supported`, in("binary sigmoid:1", "lambdarank")},
		{`objective "multiclassova" is not supported`, in("binary sigmoid:1", "multiclassova num_class:3 sigmoid:1")},
		{`"regression" with reg_sqrt`, in("binary sigmoid:1", "regression sqrt")},
		{`sigmoid "-1"`, in("sigmoid:1", "sigmoid:-1")},
		{`sigmoid "NaN"`, in("sigmoid:1", "sigmoid:NaN")},
		{`with 2 trees, 0 an iteration`, in("num_tree_per_iteration=1", "num_tree_per_iteration=0")},
		{`with 2 trees, 2 an iteration`, in("num_tree_per_iteration=1", "num_tree_per_iteration=2")},
		{`with 2 trees, 3 an iteration`, strings.Replace(in("num_tree_per_iteration=1", "num_tree_per_iteration=3"), "binary sigmoid:1", "multiclass num_class:3", 1)},
		{`tree_sizes are those of 3 trees`, in("feature_infos", "tree_sizes=1 2 3\nfeature_infos")},
		{`"version" is there twice`, in("version=v4", "version=v4\nversion=v4")},
		{`tree "2" is in the place of tree 1`, in("Tree=1", "Tree=2")},
		{`tree 0: its leaves are linear models`, in("is_linear=0", "is_linear=1")},
		{`tree 0: num_leaves is "2000000000"`, in("num_leaves=4", "num_leaves=2000000000")},
		{`tree 0: num_leaves is "-1"`, in("num_leaves=4", "num_leaves=-1")},
		{`tree 0: num_leaves is 0`, in("num_leaves=4", "num_leaves=0")},
		{`tree 0: leaf_value has 4 values and not 4000000`, in("num_leaves=4", "num_leaves=4000000")},
		{`tree 0: it has no left_child`, in("left_child=1 -1 -3\n", "")},
		{`tree 0: threshold has 2 values and not 3`, in("threshold=1.5 0 2.5", "threshold=1.5 0")},
		{`value 1 of threshold is "x"`, in("threshold=1.5 0 2.5", "threshold=1.5 x 2.5")},
		{`node 0: threshold NaN`, in("threshold=1.5 0 2.5", "threshold=nan 0 2.5")},
		{`value 2 of leaf_value is "1e999"`, in("leaf_value=1 2 4 8", "leaf_value=1 2 1e999 8")},
		{`value NaN`, in("leaf_value=1 2 4 8", "leaf_value=1 2 nan 8")},
		{`node 0: it splits feature 2, and the model has 2`, in("split_feature=0 1 0", "split_feature=2 1 0")},
		{`node 0: it splits feature -1, and the model has 2`, in("split_feature=0 1 0", "split_feature=-1 1 0")},
		{`node 0 is the child of two nodes, or is below itself`, in("left_child=1 -1 -3", "left_child=1 0 -3")},
		{`node 3 is the child of two nodes`, in("right_child=2 -2 -4", "right_child=2 -1 -4")},
		{`child 3: there are 3 splits and 4 leaves`, in("left_child=1 -1 -3", "left_child=3 -1 -3")},
		{`child -5: there are 3 splits and 4 leaves`, in("left_child=1 -1 -3", "left_child=1 -1 -5")},
		{`decision_type 12 has a missing type`, in("decision_type=0 3 10", "decision_type=12 3 10")},
		{`node 1: set 1 of 1`, in("threshold=1.5 0 2.5", "threshold=1.5 1 2.5")},
		{`node 1: set NaN of 1`, in("threshold=1.5 0 2.5", "threshold=1.5 nan 2.5")},
		{`node 1: set 0 of 0`, in("num_cat=1", "num_cat=0")},
		{`num_cat is "4"`, in("num_cat=1", "num_cat=4")},
		{`cat_boundaries has 1 values and not 2`, in("cat_boundaries=0 3", "cat_boundaries=3")},
		{`cat_threshold has 3 values and not 9`, in("cat_boundaries=0 3", "cat_boundaries=0 9")},
		{`cat_threshold has 3 values and not -1`, in("cat_boundaries=0 3", "cat_boundaries=0 -1")},
		{`cat_boundaries 4 to 3`, in("cat_boundaries=0 3", "cat_boundaries=4 3")},
		{`value 0 of cat_threshold is "4294967296"`, in("cat_threshold=512", "cat_threshold=4294967296")},
		{`cover -4`, in("leaf_count=3 4", "leaf_count=3 -4")},
	} {
		if e, err := ReadLightGBM([]byte(c.model)); err == nil || e != nil || !strings.HasPrefix(err.Error(), "trees: ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want one with %q", err, c.want)
		}
	}
}

func TestCutModelsOfLightGBMAreRefused(t *testing.T) {
	text, err := os.ReadFile("testdata/learners/lgb_binary.txt")
	if err != nil {
		t.Fatal(err)
	}
	end := strings.Index(string(text), "end of trees")
	for n := 0; n < end; n += 37 {
		if _, err := ReadLightGBM(text[:n]); err == nil {
			t.Fatalf("%d of %d bytes are read", n, len(text))
		}
	}
}
