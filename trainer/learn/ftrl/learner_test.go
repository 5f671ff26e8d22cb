package ftrl

import (
	"fmt"
	"testing"

	"github.com/millrace/millrace/trainer/learn"
	"github.com/millrace/millrace/trainer/learn/learntest"
)

func TestLearner(t *testing.T) {
	for _, task := range []learn.Task{learn.Binary, learn.Regression} {
		for _, c := range []struct {
			name   string
			p      Params
			dense  int
			places uint32
		}{
			{"defaults", Params{HashBits: 12}, 6, 1 << 12},
			{"dense values only", Params{HashBits: 1}, 6, 0},
			{"no beta", Params{Alpha: 0.1, HashBits: 8, Epochs: 1}, 3, 1 << 8},
			{"pulled to 0", Params{L1: 0.1, L2: 0.1, HashBits: 10}, 4, 1 << 10},
			{"places that many share", Params{HashBits: 5}, 8, 1 << 4},
		} {
			if c.name != "no beta" {
				c.p = c.p.WithDefaults()
			}
			fresh := func() learn.Learner { return New(task, c.dense, c.p) }
			learntest.Run(t, fmt.Sprintf("%s, %s", task, c.name), fresh, learntest.Options{Task: task, Dense: c.dense, Places: c.places})
		}
	}
}
