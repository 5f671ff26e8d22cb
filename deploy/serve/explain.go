package serve

import (
	"github.com/millrace/millrace/feedback"
)

// appendExplanation appends what made a prediction, for a question that asks for
// it. That there is nothing to say is said and is no error: the prediction is
// given and recorded.
func (p *predictor) appendExplanation(dst []byte, now *loaded, out *feedback.Prediction) []byte {
	if now.champion.bundle == nil {
		return appendText(append(dst, `,"explanation":null,"no_explanation":`...), "the base rate answers, which sees no features")
	}
	e, err := now.champion.bundle.Explain(out.Vector)
	if err != nil {
		return appendText(append(dst, `,"explanation":null,"no_explanation":`...), err.Error())
	}
	dst = appendFloat(append(dst, `,"explanation":{"score":`...), e.Score)
	dst = appendFloat(append(dst, `,"base":`...), e.Base)
	dst = append(dst, `,"contributions":{`...)
	for i, in := range p.Inputs {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendFloat(append(appendText(dst, in.Name), ':'), e.ByInput[i])
	}
	return append(dst, '}', '}')
}
