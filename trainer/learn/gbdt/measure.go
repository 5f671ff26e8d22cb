package gbdt

import "math"

// measureClass takes the gradients of a class, by the margins as they are, and
// puts them in units.
func (f *fitter) measureClass(class, round int) {
	n := len(f.s.label)
	f.draw = mix(mix(f.p.Seed) + uint64(round))
	parts := f.parts
	chunks(f.threads, n, func(task, lo, hi int) {
		parts[task] = f.derive(f.gradients, class, lo, hi)
	})
	var s scale
	for _, part := range parts {
		s.join(part)
	}
	g, h := s.units(n)
	f.m.unitG, f.m.unitH = math.Ldexp(1, -g), math.Ldexp(1, -h)
	scaleG, scaleH := math.Ldexp(1, g), math.Ldexp(1, h)
	total := f.totals
	if f.m.shared = nil; s.shared(n) {
		f.m.shared = f.words[:n]
		noise := mix(f.draw + uint64(class) + 1)
		chunks(f.threads, n, func(task, lo, hi int) {
			total[task] = share(f.m.shared[lo:hi], f.gradients[lo:hi], f.s.weights(lo, hi), scaleG, scaleH, noise+uint64(lo))
		})
	} else {
		if len(f.words) < 2*n {
			f.words = make([]int64, 2*n)
		}
		f.m.g, f.m.h = f.words[:n], f.words[n:2*n]
		chunks(f.threads, n, func(task, lo, hi int) {
			total[task] = apart(f.m.g[lo:hi], f.m.h[lo:hi], f.gradients[lo:hi], f.s.weights(lo, hi), scaleG, scaleH)
		})
	}
	f.m.total = sums{}
	for _, part := range total {
		f.m.total = f.m.total.plus(part)
	}
}

// share puts both numbers of a gradient in a word. Weights may be nil.
func share(dst []int64, from []gradient, weights []float64, scaleG, scaleH float64, noise uint64) sums {
	var total sums
	dst = dst[:len(from)]
	const shift = 1 << 31 // what is rounded down is positive with it
	for i, d := range from {
		if d.h == 0 { // not in the sample
			dst[i] = 0
			continue
		}
		if weights != nil {
			d.g, d.h = float64(d.g*weights[i]), float64(d.h*weights[i])
		}
		r := mix(noise + uint64(i))
		g := int64(float64(d.g*scaleG)+float64(float64(int64(r>>32))*0x1p-32)+shift) - shift
		h := max(int64(float64(d.h*scaleH)+float64(float64(int64(r&math.MaxUint32))*0x1p-32)), 1)
		total = total.plus(sums{g, h})
		dst[i] = pack(g, h)
	}
	return total
}

// apart puts them in two words.
func apart(dstG, dstH []int64, from []gradient, weights []float64, scaleG, scaleH float64) sums {
	var total sums
	dstG, dstH = dstG[:len(from)], dstH[:len(from)]
	for i, d := range from {
		g, h := math.Trunc(float64(d.g*scaleG)), math.Trunc(float64(d.h*scaleH))
		if weights != nil {
			g, h = float64(g*weights[i]), float64(h*weights[i])
		}
		dstG[i], dstH[i] = int64(g), int64(h)
		total = total.plus(sums{dstG[i], dstH[i]})
	}
	return total
}
