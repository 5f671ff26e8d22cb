package gbdt_test

import (
	"context"
	"fmt"
	"math"

	"github.com/millrace/millrace/trainer/learn"
	"github.com/millrace/millrace/trainer/learn/gbdt"
	"github.com/millrace/millrace/trainer/learn/trees"
)

// A dozen rows of two features: how warm it is, which is missing once, and one of
// three shops. Ice is sold where it is warm, and always in shop 2.
func ExampleTrain() {
	d := &gbdt.Data{
		Features:   2,
		Names:      []string{"celsius", "shop"},
		Categories: []int{0, 3},
		X: []float64{
			5, 0, 9, 1, 12, 0, 15, 1, 21, 0, 24, 1,
			28, 0, 31, 1, 4, 2, 11, 2, 30, 2, math.NaN(), 2,
		},
		Label: []float64{0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1},
	}
	p := gbdt.Params{Trees: 50, Depth: 2, Lambda: 0.1, MinChild: 0.1, CategoryLambda: 0.1}.WithDefaults()
	e, report, err := gbdt.Train(context.Background(), p, learn.Binary, d, nil, 1, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	m, err := trees.New(e, learn.Binary)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(report.Rounds, "rounds")
	for _, x := range [][]float64{{8, 1}, {8, 2}, {25, 1}} {
		fmt.Printf("%.1f\n", m.Predict(learn.Row{Dense: x}))
	}
	// Output:
	// 50 rounds
	// 0.0
	// 1.0
	// 1.0
}
