package trees

import "fmt"

// ordered returns the nodes of a tree of another program in our order. There are
// n places, the root is in place 0, and node returns what is in a place, with
// Left and Right as places. Places that the root does not lead to are left out.
func ordered(n int, node func(place int) (Node, error)) ([]Node, error) {
	if n < 1 || n > maxNodes {
		return nil, fmt.Errorf("%d nodes: 1 to %d are supported", n, maxNodes)
	}
	type visit struct {
		place, parent int
		left          bool
	}
	nodes, seen := make([]Node, 0, n), make([]bool, n)
	for stack := []visit{{0, -1, false}}; len(stack) > 0; {
		v := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if v.place < 0 || v.place >= n {
			return nil, fmt.Errorf("child %d: there are %d nodes", v.place, n)
		}
		if seen[v.place] {
			return nil, fmt.Errorf("node %d is the child of two nodes, or is below itself", v.place)
		}
		seen[v.place] = true
		here, err := node(v.place)
		if err != nil {
			return nil, fmt.Errorf("node %d: %w", v.place, err)
		}
		switch at := int32(len(nodes)); {
		case v.parent < 0:
		case v.left:
			nodes[v.parent].Left = at
		default:
			nodes[v.parent].Right = at
		}
		if here.Feature != -1 {
			stack = append(stack, visit{int(here.Right), len(nodes), false}, visit{int(here.Left), len(nodes), true})
		}
		nodes = append(nodes, here)
	}
	return nodes, nil
}

// checkSplit reports a split of another program that ours cannot be, by the
// number of its feature in that program.
func checkSplit(feature, features int) error {
	if feature < 0 || feature >= features {
		return fmt.Errorf("it splits feature %d, and the model has %d", feature, features)
	}
	return nil
}
