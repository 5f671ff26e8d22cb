// Package eval measures models and judges one against another. It is pure.
package eval

// The tasks, as trainer/learn names them.
const (
	binary     = "binary"
	regression = "regression"
)

// A Cohort is predictions whose labels are known, as columns of one length.
// Rows of one Time belong together: they are drawn together by the bootstrap.
type Cohort struct {
	Time      []int64 // of the predictions, microseconds; not decreasing
	Label     []float64
	Candidate []float64 // scores on the same rows
	Champion  []float64
	Baselines map[string][]float64 // by name, as base_rate and last_outcome: shown beside, never judged
	Slices    map[string][]string  // by column, as symbol: each row's value
}

// A Quality is a model's metrics over a cohort. Those of the other task are
// undefined.
type Quality struct {
	Loss              Number `json:"loss"` // log loss in nats, or squared error
	AUC               Number `json:"auc"`
	AveragePrecision  Number `json:"average_precision"`
	Brier             Number `json:"brier"`
	Calibration       Number `json:"calibration"`
	ECE               Number `json:"ece"` // ten bins of equal width
	NormalisedEntropy Number `json:"normalised_entropy"`
	RMSE              Number `json:"rmse"`
	MAE               Number `json:"mae"`
	R2                Number `json:"r2"`
	Rows              int    `json:"rows"`
	Excluded          int    `json:"excluded"` // rows whose label or score is not a finite number
}

const eceBins = 10

// Measured returns the metrics of scores. A task that is not regression is
// taken for binary.
func Measured(task string, label, score []float64) Quality {
	undefined := Undefined()
	if task == regression {
		squared := Brier(label, score, nil) // the same sum
		return Quality{
			Loss: squared.Value, AUC: undefined, AveragePrecision: undefined, Brier: undefined, Calibration: undefined,
			ECE: undefined, NormalisedEntropy: undefined,
			RMSE: RMSE(label, score, nil).Value, MAE: MAE(label, score, nil).Value, R2: R2(label, score, nil).Value,
			Rows: squared.Rows, Excluded: squared.Excluded,
		}
	}
	loss := LogLoss(label, score, nil)
	return Quality{
		Loss: loss.Value, AUC: AUC(label, score, nil).Value,
		AveragePrecision: AveragePrecision(label, score, nil).Value, Brier: Brier(label, score, nil).Value,
		Calibration: Calibration(label, score, nil).Value, ECE: ECE(label, score, eceBins, EqualWidth).Value,
		NormalisedEntropy: NormalisedEntropy(label, score, nil).Value,
		RMSE:              undefined, MAE: undefined, R2: undefined,
		Rows: loss.Rows, Excluded: loss.Excluded,
	}
}

// RowLoss is a task's loss of one row: log loss in nats, or squared error.
func RowLoss(task string, label, score float64) float64 {
	loss, _ := lossOf(task)
	return loss(label, score)
}

// lossOf returns a task's loss of one row and its name.
func lossOf(task string) (loss func(y, p float64) float64, name string) {
	if task == regression {
		return squaredError, "squared error"
	}
	return logLoss, "log loss"
}
