// Package monitor watches what a model sees, says and is told: rolling means and
// deviations, distributions against those that the model learned from, and the
// quality of its answers by version. It is pure: predictions, examples and the
// clock of the log go in, and alarms come out, the same whenever the log is read.
//
// False alarms are a contract. A Config states how many of them there may be, of
// all the monitors of a model together, while nothing changes; the thresholds
// follow from it. They are found on stretches of time that are put together from
// blocks of the reference, whole units with all their columns: neighbouring days
// are alike and columns move together, so that neither a formula for independent
// rows nor one threshold for each column would keep the word. What such a bootstrap
// cannot know is a change that is slower than the reference is long: that should
// hold each season at least once.
package monitor

import (
	"cmp"
	"fmt"
	"time"

	"github.com/millrace/millrace/features"
)

// A Config is how a model is monitored. The zero value of a field stands for its
// default.
type Config struct {
	// Every is a unit of time, aligned to the Unix epoch. Rows are gathered by the
	// unit that their prediction's time is in, and each unit's end is a look at all
	// monitors. Default: one day.
	Every time.Duration

	// Window is what each look is about: the newest units. Default: 30 units.
	Window time.Duration

	// Reference is what is held to be normal. For a feature and for scores it is the
	// stretch up to the moment at which the serving version had learned its last
	// label; for a rolling deviation, and for labels, the stretch right before the
	// window. Default: 365 units, or 12 windows where that is more.
	Reference time.Duration

	// False alarms in Per of event time are put up with, of all monitors of the
	// model together, while nothing changes. Default: 1 in ten times the reference, as
	// once in ten years.
	False int
	Per   time.Duration

	// Block is the least length of time that is drawn together when thresholds are
	// found. Default: the greater of the label's horizon and 20 units, but no more than
	// a quarter of the reference.
	Block time.Duration

	// Factor is by how much a deviation must have grown, or shrunk, for an alarm,
	// however sure it is that it has. Default: 2. 1: by anything.
	Factor float64

	// Distance is the measure whose threshold is watched. Default: JensenShannon.
	Distance Distance

	// Std names the features whose rolling mean and deviation are watched, besides
	// those of scores and labels: the mean over a unit's rows is the series.
	Std []string

	// Retrain lets an alarm ask for a candidate, within the budget of train.at_most.
	Retrain bool

	Seed uint64
}

// A Distance is a measure of how far two distributions are apart. All are computed
// over the same cells: up to 20 bins of the reference, cut at its quantiles (each
// with ten of a window's rows or so; of models with more than 100 columns up to 10),
// and one for the hundredth at either end; or one for each of the 20 most frequent
// texts of the reference and one for all others; and one for missing values, which
// NaN and infinities count as.
type Distance string

// The distances.
const (
	JensenShannon Distance = "jensen_shannon" // divergence to the base 2, 0 to 1
	LInfinity     Distance = "l_infinity"     // largest difference of a cell's shares, 0 to 1
	PSI           Distance = "psi"            // population stability index, in nats; shares below 1e-4 count as 1e-4
	KS            Distance = "ks"             // largest difference of the cumulated shares, 0 to 1; of texts, LInfinity
)

// Limits of a model's monitors.
const (
	MaxUnits   = 4000 // of Window and Reference together
	MaxColumns = 1026 // 1024 features, scores and labels
)

// WithDefaults returns c with what it leaves out filled in. The horizon is that of
// the model's label.
func (c Config) WithDefaults(horizon time.Duration) Config {
	c.Every = cmp.Or(c.Every, 24*time.Hour)
	c.Window = cmp.Or(c.Window, 30*c.Every)
	c.Reference = cmp.Or(c.Reference, max(365*c.Every, 12*c.Window))
	c.False = cmp.Or(c.False, 1)
	c.Per = cmp.Or(c.Per, 10*c.Reference)
	c.Block = cmp.Or(c.Block, min(max(horizon, 20*c.Every), c.Reference/4))
	c.Factor = cmp.Or(c.Factor, 2)
	c.Distance = cmp.Or(c.Distance, JensenShannon)
	return c
}

// Check says what is wrong with a config that has its defaults. Each fault begins
// with the key of the project file.
func (c Config) Check() error {
	switch {
	case c.Every < time.Second:
		return fmt.Errorf("every: %v: give at least 1s", c.Every)
	case c.Window < c.Every || c.Window%c.Every != 0:
		return fmt.Errorf("window: %v: give a multiple of every (%v)", c.Window, c.Every)
	case c.Reference < 4*c.Window || c.Reference%c.Every != 0:
		return fmt.Errorf("reference: %v: give a multiple of every (%v), at least four times the window (%v)", c.Reference, c.Every, c.Window)
	case (c.Window+c.Reference)/c.Every > MaxUnits:
		return fmt.Errorf("reference: %v and the window are %d times every: give at most %d", c.Reference, (c.Window+c.Reference)/c.Every, MaxUnits)
	case c.False < 1 || c.Per < 10*c.Window*time.Duration(c.False):
		return fmt.Errorf("false_alarms: %d in %v: give at most one in ten windows (%v)", c.False, c.Per, 10*c.Window)
	case c.Per/c.Every > stretchesIn*MaxUnits*time.Duration(c.False):
		return fmt.Errorf("false_alarms: %d in %v: give at least one in %d times every (%v)", c.False, c.Per, stretchesIn*MaxUnits, c.Every)
	case c.Block < c.Every || c.Block > c.Reference/4:
		return fmt.Errorf("block: %v: give at least every (%v) and at most a quarter of the reference (%v)", c.Block, c.Every, c.Reference/4)
	case !(c.Factor >= 1 && c.Factor <= 1000):
		return fmt.Errorf("factor: %v: give 1 to 1000", c.Factor)
	}
	switch c.Distance {
	case JensenShannon, LInfinity, PSI, KS:
		return nil
	}
	return fmt.Errorf("distance: %q: give %s, %s, %s or %s", c.Distance, JensenShannon, LInfinity, PSI, KS)
}

// stretch is the stable time that thresholds are found for: a tenth of that of one
// false alarm. One in ten of such stretches may have an alarm.
func (c Config) stretch() time.Duration {
	return (c.Per / time.Duration(stretchesIn*c.False)).Truncate(c.Every)
}

// A Model is what is monitored.
type Model struct {
	Name    string
	Binary  bool             // else regression
	Set     string           // of Inputs: rows of another set count in Foreign and nowhere else
	Inputs  []features.Field // the features, named view.feature, in the order of vectors
	Entity  []string         // names of the entity's fields
	Slices  []string         // entity fields, or features that are texts or bools, by which quality is told apart
	Horizon time.Duration    // of the label
	Grace   time.Duration    // of the label

	// Version returns what is known of a version: when it had learned its last
	// label, in microseconds. Asked for each version once that has answered; not
	// for 0, the base rate.
	Version func(number int) (cutoff int64, ok bool)

	// Aside does what takes long, as finding thresholds, which are seconds where there
	// are many columns. Meanwhile the Fleet may be read, and must not be given
	// anything: so that whoever guards it can let readers in. It is called with
	// nothing to do, too, now and then in work that is long in all. Nil: it is done
	// where it comes up.
	Aside func(do func())
}

// The names of columns that every model has, besides its inputs.
const (
	ScoreColumn = "score" // what was answered
	LabelColumn = "label" // what came true
)

// A Kind is what a monitor watches.
type Kind string

// The kinds of monitors.
const (
	StdMonitor     Kind = "std"     // the deviation of a series over the window, against that over the reference
	DriftMonitor   Kind = "drift"   // the distribution of a column over the window, against that over the reference
	QualityMonitor Kind = "quality" // the champion's loss against that of the base rate known at the time
)

// An Alarm is a monitor that is beyond its threshold, from the look at which it
// came to be (Onset) to the one at which it no longer was (Over). It is over below
// nine tenths of the threshold, so that what hovers there is one alarm.
type Alarm struct {
	ID        string // model/kind/column/onset: the same whenever the log is read
	Model     string
	Kind      Kind
	Column    string
	Version   int     // that answered at the onset
	Onset     int64   // the end of a unit, microseconds since the Unix epoch
	Over      int64   // 0: not yet
	Value     float64 // at the newest look at which it was beyond its threshold
	Worst     float64 // the farthest value since Onset
	Threshold float64 // at the onset; of a deviation that shrinks, the lower one
	Text      string  // one line for people, with the values and what they are compared with
}

// A Point is one unit of a column's series.
type Point struct {
	Time     int64 // the end of the unit, microseconds
	Rows     int64 // with a value
	Missing  int64
	Mean     float64 // of the unit's values; NaN: none. Of a text or bool that is one value: its share of true; texts have NaN
	RollMean float64 // mean of the unit means over the window up to here; NaN: fewer than two
	RollStd  float64 // deviation (n-1) of the unit means over the window up to here; NaN: fewer than two
	RefStd   float64 // that over the reference before the window; NaN: too few units
}

// A Cell is one bin of a distribution.
type Cell struct {
	Low, High float64 // a number's: Low < x <= High, infinite at the ends
	Text      string  // instead: a text, true, false, "(others)" or "(missing)"
	Reference float64 // share, 0 to 1
	Now       float64
}

// A State is how a monitor stands at the newest look.
type State string

// The states.
const (
	Fine        State = "fine"
	Alarmed     State = "alarm"
	NoReference State = "no_reference" // the base rate answers, or the reference has too few units
	TooFew      State = "too_few"      // the window has less than half of the rows that the least window of the reference has; below all of them the threshold is higher
)

// A Reading is one monitor at the newest look.
type Reading struct {
	Kind      Kind
	Column    string
	State     State
	Look      int64   // when, microseconds; 0: never
	Value     float64 // of Config.Distance; of a deviation the ratio to the reference's; of quality the lower bound of the mean difference of losses; NaN: none
	Threshold float64 // beyond it is an alarm; +Inf: none can be kept
	Lower     float64 // of a deviation: below it, too
	Rows      int64   // kept rows in the window; of a deviation the units with rows, of quality the answers
	Reference int64   // those in the reference; of quality the labels that the base rate knows

	// Of a drift monitor: all distances, and the cells they are of.
	JS, LInf, PSI, KS float64
	Cells             []Cell
}

// A QualityPoint is what a version's answers of one unit came to. Answers count in
// the unit of their prediction, once all labels of the unit are decided.
type QualityPoint struct {
	Time   int64 // the end of the unit, microseconds
	Rows   int64
	Loss   float64 // mean, as the gate has it: log loss in nats, or squared error
	Base   float64 // mean loss of the base rate known at each prediction's time
	Score  float64 // mean of the scores
	Label  float64 // mean of the labels
	Mean   float64 // of the loss, over all units of the version up to here
	Lo, Hi float64 // bounds of that mean, two-sided 95 %, that hold at all times together; NaN: too few
}

// A Quality is a version's answers by time, in one slice.
type Quality struct {
	Version int
	Slice   string // "" is all; else column=value
	Rows    int64
	Points  []QualityPoint
	Changes []int64 // where ADWIN, on the mean loss of units, saw that it had changed: of a squared error its share in that and the base rate's
}

// A CalibrationBin is the answers of a version with nearly the same score: a
// twentieth of the scale of a binary model.
type CalibrationBin struct {
	Rows         int64
	Score, Label float64 // means
	Lo, Hi       float64 // Wilson's 95 % interval of the label's mean
}

// Counts say what the monitors have taken in.
type Counts struct {
	Predictions int64 // of the model
	Answered    int64 // examples, corrections apart
	Unanswered  int64
	Foreign     int64 // of another set of features
	Late        int64 // that came after their unit's look; they are in no monitor
	Clock       int64 // newest look, microseconds; 0: none
}

// A Trial is what MeasureFalse counted.
type Trial struct {
	Stretches int           // stable stretches of time that were put together from blocks of the reference
	Length    time.Duration // of each
	Alarmed   int           // with an alarm of any monitor
	Stated    float64       // share that the Config states
	Lo, Hi    float64       // Wilson's 95 % interval of Alarmed/Stretches
	Monitors  int           // that took part
}
