// Package trees is ensembles of decision trees, ready to score: those that gbdt
// grows, and those read from files of XGBoost and LightGBM.
package trees

// A Link turns a margin into a prediction.
type Link string

// The links.
const (
	Identity Link = "identity" // regression
	Logistic Link = "logistic" // binary: 1/(1 + exp(-margin))
	Softmax  Link = "softmax"  // multiclass: exp(m_k) / sum of exp(m)
	Exp      Link = "exp"      // regression of counts: exp(margin)
)

// An Ensemble is a sum of trees: the margin of a class is its base and the
// leaves that a row reaches in the trees of that class.
type Ensemble struct {
	Features int       // values of a row
	Names    []string  // of the features, in their order; nil: not known
	Link     Link      //
	Base     []float64 // the margin of each class before the first tree; one, but for Softmax
	Trees    []Tree
}

// A Tree is nodes, the root first; children come after their parents.
type Tree struct {
	Class int // whose margin the leaves are added to
	Nodes []Node
}

// A Node is a split or a leaf. At a split a row goes left where its value is at
// most Threshold, or where Set is not nil, where the value is a whole number that
// is in Set. A missing value (NaN) goes where MissingLeft says.
type Node struct {
	Feature     int32   // -1: a leaf
	Left, Right int32   // places in the tree's nodes
	MissingLeft bool    //
	ZeroMissing bool    // 0 is missing, too (LightGBM's zero_as_missing)
	Threshold   float64 //
	Set         []uint64
	Value       float64 // of a leaf: what is added to the margin
	Cover       float64 // the weight of the training rows that came here, for contributions
}
