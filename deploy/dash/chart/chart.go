package chart

import "html/template"

// Limits of a chart. What is beyond them is left out, and the description counts it.
const (
	MaxSeries = 12  // of a Line; bands and levels count by themselves
	MaxMarks  = 400 // of a Line: the newest
	MaxBars   = 60  // rows of Bars and Intervals, points of a Calibration
	MaxTable  = 200 // rows of a table: the newest
	MaxText   = 160 // letters of a name, unit or mark
	MaxDesc   = 600 // letters of a Desc or Empty
)

// A Size is the shape of a Line.
type Size int

// The sizes. At 360 pixels a Medium or Wide chart scrolls in a region of its own
// that takes the focus, so that its text stays legible; a Small one fits.
const (
	Medium Size = iota // 560 by 270
	Wide               // 1040 by 310
	Small              // 340 by 230
)

// A Line is a chart of series over time or over numbers.
type Line struct {
	Title string // of the figure; also its accessible name
	Desc  string // what it is about; the last, least and greatest values are added to it
	Unit  string // of Y
	Empty string // what to do where there is nothing to draw

	Time  bool   // X are microseconds since the Unix epoch; else numbers
	XName string // of an X that is no time
	Whole bool   // an X that is no time has ticks at whole numbers, as versions do

	From, To float64 // range of X; both 0, or none: that of all that is drawn

	Zero bool // the axis of Y has 0 on it
	Log  bool // the axis of Y is logarithmic; what is not above 0 is missing

	// Gap is the distance of X beyond which neighbouring points are not joined.
	// 0: all are, but where a value is missing.
	Gap float64

	Size   Size
	Series []Series
	Bands  []Band
	Levels []Level
	Marks  []Mark
}

// A Series is values by X, which must not fall. X and Y have the same length; NaN
// in Y is a missing value.
type Series struct {
	Name string
	X, Y []float64

	// Lo and Hi are the interval of each value, or nil. With Dots they are bars,
	// else an area around the line.
	Lo, Hi []float64

	Dots bool // points that are not joined
	Step bool // the value holds until the next
	Tone Tone
}

// A Tone is which colour, dash and shape a series has. Auto takes the next of eight.
type Tone int

// The tones besides Auto, which is for what has no meaning of its own.
const (
	Auto  Tone = iota
	Muted      // what the rest is compared with: a reference, a base rate
	Good
	Bad
)

// A Band is an area between two values by X, as mean ± std. X, Lo and Hi have the
// same length; where one is missing there is no area.
type Band struct {
	Name      string
	X, Lo, Hi []float64
}

// A Level is a value that does not change, as a threshold.
type Level struct {
	Name string
	Y    float64
}

// A Kind is what a mark stands for. Each has a shape of its own.
type Kind string

// The kinds of marks. Those with a Y stand at it; those whose Y is NaN are lines from
// top to bottom.
const (
	Onset   Kind = "onset"   // an alarm began
	Over    Kind = "over"    // an alarm ended
	Change  Kind = "change"  // a change point
	Version Kind = "version" // another version answers from here on; its text is drawn
	Right   Kind = "right"   // a prediction that came true
	Wrong   Kind = "wrong"   // one that did not
	Pending Kind = "pending" // one that is not known yet
)

// A Mark is something that happened at X.
type Mark struct {
	X, Y float64
	Kind Kind
	Text string // one line
}

// Bars is shares or counts by bin, two of each: what was and what is.
type Bars struct {
	Title, Desc, Unit, Empty string
	Reference, Now           string // their names
	Bars                     []Bar
}

// A Bar is one bin. A value that is missing is not drawn.
type Bar struct {
	Label          string
	Reference, Now float64
}

// Intervals is a value with its bounds in each row, on one axis: as a difference of
// two models by slice.
type Intervals struct {
	Title, Desc, Unit, Empty string
	At                       float64 // a line through all rows, as 0 for differences; NaN: none
	AtName                   string
	Rows                     []Interval
}

// An Interval is one row. Without Lo and Hi (NaN) it is a point.
type Interval struct {
	Label     string
	Note      string // behind the values in the table, as a number of rows
	Y, Lo, Hi float64
	Tone      Tone
}

// A Calibration shows how often what was predicted came true, beside the diagonal on
// which both are the same.
type Calibration struct {
	Title, Desc, Empty string
	Points             []CalibrationPoint
}

// A CalibrationPoint is the predictions of nearly the same score.
type CalibrationPoint struct {
	Rows         int64
	Score, Label float64 // means, 0 to 1
	Lo, Hi       float64 // interval of Label
}

// A Spark is a line without axes that stands in a row of text or of a table.
type Spark struct {
	Title string // what it shows; the last, least and greatest values are added
	Unit  string
	Y     []float64
	Alarm bool
}

// HTML returns the figure.
func (c Line) HTML() template.HTML { return c.draw() }

// HTML returns the figure.
func (c Bars) HTML() template.HTML { return c.draw() }

// HTML returns the figure.
func (c Intervals) HTML() template.HTML { return c.draw() }

// HTML returns the figure.
func (c Calibration) HTML() template.HTML { return c.draw() }

// HTML returns the drawing, which may stand inside a line of text.
func (c Spark) HTML() template.HTML { return c.draw() }
