package gbdt

import (
	"math"

	"github.com/millrace/millrace/trainer/learn"
	"github.com/millrace/millrace/trainer/learn/trees"
)

func linkOf(task learn.Task) trees.Link {
	switch task {
	case learn.Binary:
		return trees.Logistic
	case learn.Multiclass:
		return trees.Softmax
	}
	return trees.Identity
}

// base returns the margins of the best constant. A probability is kept as far
// from 0 and 1 as if half a row of the other label were there.
func base(task learn.Task, s *sample) []float64 {
	sums := make([]float64, s.classes)
	for i, y := range s.label {
		w := s.weightOf(i)
		if task == learn.Multiclass {
			sums[int(y)] += w
			continue
		}
		sums[0] += float64(w * y)
	}
	for k, sum := range sums {
		mean := sum / s.total
		if task == learn.Regression {
			sums[k] = mean
			continue
		}
		edge := 0.5 / float64(len(s.label)+1)
		mean = min(max(mean, edge), 1-edge)
		if sums[k] = log(mean); task == learn.Binary {
			sums[k] -= log(1 - mean)
		}
	}
	return sums
}

// chance returns what G^2/H of all rows is by chance alone: 1 for a log loss, and
// for a squared error the variance of the labels. Equal labels have one, too, of
// what rounding may have made of their mean.
func chance(task learn.Task, s *sample) float64 {
	if task != learn.Regression {
		return 1
	}
	mean := base(task, s)[0]
	spread, size := 0.0, 0.0
	for i, y := range s.label {
		w := s.weightOf(i)
		spread += float64(w * float64((y-mean)*(y-mean)))
		size += float64(w * float64(y*y))
	}
	return (spread + float64(1e-16*size)) / s.total
}

// A gradient is the first and second derivative of a row's loss by the margin.
// The weight is not in it.
type gradient struct {
	g, h float64
}

// derive fills in the gradients of a class for rows lo to hi, and returns how
// large they are with their weights.
func (f *fitter) derive(dst []gradient, class, lo, hi int) scale {
	label, margin := f.s.label[lo:hi], f.margins[class][lo:hi]
	dst = dst[lo:hi]
	switch f.task {
	case learn.Regression:
		for i, m := range margin {
			dst[i] = gradient{m - label[i], 1}
		}
	case learn.Binary:
		for i, m := range margin {
			p := learn.Sigmoid(m)
			dst[i] = gradient{p - label[i], float64(p * (1 - p))}
		}
	case learn.Multiclass:
		// As Friedman has it, so that two classes are as one margin.
		factor := float64(f.s.classes) / float64(f.s.classes-1)
		for i, p := range f.chances[class][lo:hi] {
			g := p
			if int(label[i]) == class {
				g = p - 1
			}
			dst[i] = gradient{g, float64(factor * float64(p*(1-p)))}
		}
	}
	if f.p.SampleRows < 1 {
		for i := range dst {
			if !f.drawn(uint64(lo+i), f.p.SampleRows) {
				dst[i] = gradient{}
			}
		}
	}
	var s scale
	if f.s.weight == nil {
		for _, d := range dst {
			s.add(d, 1)
		}
		return s
	}
	for i, w := range f.s.weight[lo:hi] {
		s.add(dst[i], w)
	}
	return s
}

// drawn reports whether item i is in a sample of the round.
func (f *fitter) drawn(i uint64, share float64) bool {
	return float64(mix(i^f.draw)>>11) < share*(1<<53)
}

// softmax fills in the probabilities of rows lo to hi.
func softmax(chances, margins [][]float64, lo, hi int) {
	for i := lo; i < hi; i++ {
		top, sum := math.Inf(-1), 0.0
		for _, m := range margins {
			top = max(top, m[i])
		}
		for k, m := range margins {
			chances[k][i] = learn.Exp(max(m[i]-top, -learn.MaxScore))
			sum += chances[k][i]
		}
		for k := range margins {
			chances[k][i] /= sum
		}
	}
}

// loss returns the mean loss over rows with these margins: of a regression the
// squared error, else the log loss.
func loss(task learn.Task, s *sample, margins [][]float64) float64 {
	sum := 0.0
	for i, y := range s.label {
		l := 0.0
		switch task {
		case learn.Regression:
			l = float64((margins[0][i] - y) * (margins[0][i] - y))
		case learn.Binary:
			m := margins[0][i]
			if y == 1 {
				m = -m
			}
			m = min(max(m, -learn.MaxScore), learn.MaxScore)
			l = max(m, 0) + log(1+learn.Exp(-math.Abs(m)))
		case learn.Multiclass:
			top, exps := math.Inf(-1), 0.0
			for _, m := range margins {
				top = max(top, m[i])
			}
			for _, m := range margins {
				exps += learn.Exp(max(m[i]-top, -learn.MaxScore))
			}
			l = log(exps) - max(margins[int(y)][i]-top, -learn.MaxScore)
		}
		sum += float64(s.weightOf(i) * l)
	}
	return sum / s.total
}

// log returns the natural logarithm of a positive number, with the same bits on
// each machine: x = 2^e m with m about 1, and log m = 2 artanh((m-1)/(m+1)).
func log(x float64) float64 {
	m, e := math.Frexp(x)
	if m < math.Sqrt2/2 {
		m, e = 2*m, e-1
	}
	s := (m - 1) / (m + 1)
	square := float64(s * s)
	series := 0.0
	for k := 21; k >= 1; k -= 2 {
		series = 1/float64(k) + float64(square*series)
	}
	return float64(2*float64(s*series)) + float64(float64(e)*math.Ln2)
}
