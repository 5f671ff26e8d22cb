package feedback

// Stats count what became of predictions and outcomes since the beginning of
// the log. At every moment each total is the sum of its statuses.
type Stats struct {
	Predictions PredictionStats `json:"predictions"`
	Outcomes    OutcomeStats    `json:"outcomes"`
	Details     StatsDetails    `json:"details"`
}

// PredictionStats count predictions; repeats of an id do not count.
type PredictionStats struct {
	Total      int64 `json:"total"`
	Pending    int64 `json:"pending"`
	Matched    int64 `json:"matched"`
	Unanswered int64 `json:"unanswered"`
}

// OutcomeStats count outcomes.
type OutcomeStats struct {
	Total      int64 `json:"total"`
	Effective  int64 `json:"effective"`  // the label of a prediction comes from it
	Superseded int64 `json:"superseded"` // counts, but another one is better
	Duplicate  int64 `json:"duplicate"`  // another delivery of an id
	Late       int64 `json:"late"`       // beyond the horizon, or after its prediction had closed
	Invalid    int64 `json:"invalid"`    // from before its prediction
	Orphan     int64 `json:"orphan"`     // met no prediction in time
	Waiting    int64 `json:"waiting"`    // has met no prediction yet
}

// StatsDetails say more about some of the statuses.
type StatsDetails struct {
	Unanswered          UnansweredStats `json:"unanswered"`
	Corrections         int64           `json:"corrections"`          // examples that were emitted again with a better outcome
	RepeatedPredictions int64           `json:"repeated_predictions"` // predictions whose id was there
}

// UnansweredStats say why predictions are unanswered.
type UnansweredStats struct {
	None    int64 `json:"none"`
	Late    int64 `json:"late"`
	Invalid int64 `json:"invalid"`
}

// statsCounters is how many counters a Stats has.
const statsCounters = 17

// counters returns where the counters of s are, in the order of FORMAT.md.
func (s *Stats) counters() [statsCounters]*int64 {
	p, o, d := &s.Predictions, &s.Outcomes, &s.Details
	return [...]*int64{
		&p.Total, &p.Pending, &p.Matched, &p.Unanswered,
		&o.Total, &o.Effective, &o.Superseded, &o.Duplicate, &o.Late, &o.Invalid, &o.Orphan, &o.Waiting,
		&d.Unanswered.None, &d.Unanswered.Late, &d.Unanswered.Invalid, &d.Corrections, &d.RepeatedPredictions,
	}
}

// Add returns the counts of a and b together, as of two shards.
func (a Stats) Add(b Stats) Stats {
	from := b.counters()
	for i, n := range a.counters() {
		*n += *from[i]
	}
	return a
}

// closed reports whether no counter is negative and both sums close.
func (a Stats) closed() bool {
	for _, n := range a.counters() {
		if *n < 0 {
			return false
		}
	}
	p, o, u := a.Predictions, a.Outcomes, a.Details.Unanswered
	return p.Total == p.Pending+p.Matched+p.Unanswered && p.Unanswered == u.None+u.Late+u.Invalid &&
		o.Total == o.Effective+o.Superseded+o.Duplicate+o.Late+o.Invalid+o.Orphan+o.Waiting
}

// count returns the counter of outcomes of a status.
func (o *OutcomeStats) count(s status) *int64 {
	return [...]*int64{waiting: &o.Waiting, orphan: &o.Orphan, invalid: &o.Invalid, late: &o.Late, superseded: &o.Superseded, effective: &o.Effective}[s]
}
