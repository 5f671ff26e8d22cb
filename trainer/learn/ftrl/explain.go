package ftrl

import "github.com/millrace/millrace/trainer/learn"

// Contributions appends what each dense value of the row has added to the score,
// then each hashed place, and last the score of a row of zeros without places:
// that is the bias, and with a regression the mean of the labels as well. A
// transform puts the mean of a column at 0, so a value's contribution is what it
// has made of not being the mean. Their sum is the log-odds, before they are held
// within learn.MaxScore, or with a regression the prediction.
func (m *Model) Contributions(dst []float64, r learn.Row) []float64 {
	m.checkRow(r)
	alpha, l1 := m.params.Alpha, m.params.L1
	bend := m.params.Beta + float64(alpha*m.params.L2)
	unit := 1.0
	if m.task == learn.Regression {
		unit = m.labels.deviation()
	}
	for i, x := range r.Dense {
		dst = append(dst, unit*float64(weight(m.dense[i], alpha, bend, l1)*clamp(x)))
	}
	mask := uint32(len(m.hashed) - 1)
	for _, h := range r.Hashed {
		dst = append(dst, unit*weight(m.hashed[h&mask], alpha, bend, l1))
	}
	base := weight(m.bias, alpha, m.params.Beta, 0)
	if m.task == learn.Regression {
		base = m.labels.up(base)
	}
	return append(dst, base)
}
