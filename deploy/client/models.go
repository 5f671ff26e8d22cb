package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// A PredictRequest asks a model about one entity.
type PredictRequest struct {
	Entity  map[string]any `json:"entity"`             // a value for each field of whom the model is about
	Request map[string]any `json:"request,omitempty"`  // a number for each request.* value of features on demand
	ID      string         `json:"id,omitempty"`       // of the prediction, at most 256 bytes; empty: Predict makes one
	Explain bool           `json:"explain,omitempty"`  // say what made the prediction, too
	AtLeast []Position     `json:"at_least,omitempty"` // wait until these are applied
	WaitMS  int64          `json:"wait_ms,omitempty"`  // for how long; 0: the server's limit of 5 s
}

// A Prediction is a model's answer.
type Prediction struct {
	ID           string            `json:"id"`
	Score        float64           `json:"score"` // binary: the probability; regression: the mean
	Model        string            `json:"model"`
	Version      int               `json:"version"` // 0: the base rate, which sees no features
	Bundle       string            `json:"bundle"`  // empty with version 0
	BaseRate     bool              `json:"base_rate"`
	AsOf         time.Time         `json:"as_of"`
	Fingerprints map[string]string `json:"fingerprints"` // of the features that the model sees, by view.feature
	Degraded     string            `json:"degraded"`     // why the base rate answers in the place of a version; empty: it does not

	Explanation   *Explanation `json:"explanation"`    // nil: none was asked for, or there is none
	NoExplanation string       `json:"no_explanation"` // why there is none
}

// An Explanation says what made a prediction: the base and all contributions add
// up to the score, which is a log-odds (binary) or the prediction (regression).
type Explanation struct {
	Score         float64            `json:"score"`
	Base          float64            `json:"base"`
	Contributions map[string]float64 `json:"contributions"` // by view.feature
}

// Predict asks a model. The server keeps what is asked, seen and answered before
// it answers, so that an outcome can find it. Where the server is busy or its
// store is away Predict tries again until ctx ends, and always with one ID: of
// what a lost try may have left in the log, the join takes the first and drops
// the others, whose scores may differ where the features or the version have
// changed in between. A caller that gives an ID may call Predict again with it
// for the same reason, and not for another question.
func (c *Client) Predict(ctx context.Context, model string, req PredictRequest) (*Prediction, error) {
	if req.ID == "" {
		var b [16]byte
		rand.Read(b[:]) // never fails
		req.ID = hex.EncodeToString(b[:])
	}
	body, err := json.Marshal(req)
	if err != nil {
		return nil, fmt.Errorf("client: predict: %w", err)
	}
	for t := (tries{}); ; {
		var p Prediction
		err := c.post(ctx, "/v1/predict/"+url.PathEscape(model), "application/json", body, &p)
		if err == nil && p.ID != req.ID {
			return nil, fmt.Errorf("client: predict %s: the server answered prediction %q to %q", model, p.ID, req.ID)
		}
		if err == nil {
			return &p, nil
		}
		if err := t.again(ctx, err); err != nil {
			return nil, fmt.Errorf("client: predict %s: %w", model, err)
		}
	}
}

// An Outcome is what came true. It names its prediction (ID) where the model's
// label is joined by prediction_id, and else whom it is about (Entity).
type Outcome struct {
	ID        string         `json:"id,omitempty"`
	Entity    map[string]any `json:"entity,omitempty"`
	OutcomeID string         `json:"outcome_id,omitempty"` // empty: the server makes one of all the rest
	Time      time.Time      `json:"time"`
	Value     any            `json:"value"` // binary: a bool, or 0 or 1; regression: a finite number
}

// Outcomes writes what came true of a model's predictions and returns the ids of
// the outcomes, in order, once the log has them. The server takes all or none of
// a call that it can judge; where its log is away Outcomes tries again until ctx
// ends. An outcome that is in the log twice counts once: it has the same id.
func (c *Client) Outcomes(ctx context.Context, model string, outcomes ...Outcome) (ids []string, err error) {
	if len(outcomes) == 0 {
		return nil, nil
	}
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false)
	for i := range outcomes {
		if outcomes[i].Time.IsZero() { // which would be a time, and before every prediction's
			return nil, fmt.Errorf("client: outcomes: outcome %d has no Time; say when it came true", i+1)
		}
		if err := enc.Encode(&outcomes[i]); err != nil { // it ends the line
			return nil, fmt.Errorf("client: outcomes: outcome %d: %w", i+1, err)
		}
	}
	for t := (tries{}); ; {
		var answer struct {
			IDs []string `json:"ids"`
		}
		err := c.post(ctx, "/v1/outcomes/"+url.PathEscape(model), "application/x-ndjson", body.Bytes(), &answer)
		if err == nil && len(answer.IDs) != len(outcomes) {
			return nil, fmt.Errorf("client: outcomes: the server answered %d ids for %d outcomes", len(answer.IDs), len(outcomes))
		}
		if err == nil {
			return answer.IDs, nil
		}
		if err := t.again(ctx, err); err != nil {
			return nil, fmt.Errorf("client: %d outcomes of %s: %w", len(outcomes), model, err)
		}
	}
}

// A Model is what a server has loaded of one.
type Model struct {
	Name     string   `json:"name"`
	Task     string   `json:"task"`     // binary or regression
	Set      string   `json:"set"`      // names the features that it sees, in their order
	Champion Version  `json:"champion"` // that answers
	Shadow   *Version `json:"shadow"`   // beside it; nil: none
	BaseRate struct {
		Value  float64 `json:"value"`
		Labels int64   `json:"labels"`
	} `json:"base_rate"`
	Revision int64     `json:"revision"` // of what the registry wants
	Since    time.Time `json:"since"`    // when the champion came to answer; zero: nothing was ever loaded
	Problems []string  `json:"problems"` // why it is not as the registry wants it
}

// A Version is one version of a model.
type Version struct {
	Number int    `json:"version"` // 0: the base rate
	Bundle string `json:"bundle"`  // empty with 0
}

// Models returns what the server has loaded of each model, by name.
func (c *Client) Models(ctx context.Context) ([]Model, error) {
	var answer struct{ Models []Model }
	if err := c.do(ctx, http.MethodGet, "/v1/models", "", nil, &answer); err != nil {
		return nil, fmt.Errorf("client: models: %w", err)
	}
	if answer.Models == nil {
		return nil, errors.New("client: models: the answer has none, which is not what a millrace server gives")
	}
	return answer.Models, nil
}

// JoinStats count what became of predictions and outcomes since the beginning of
// the log. Each total is the sum of its statuses.
type JoinStats struct {
	Predictions struct {
		Total      int64 `json:"total"`
		Pending    int64 `json:"pending"`
		Matched    int64 `json:"matched"`
		Unanswered int64 `json:"unanswered"`
	} `json:"predictions"`
	Outcomes struct {
		Total      int64 `json:"total"`
		Effective  int64 `json:"effective"`
		Superseded int64 `json:"superseded"`
		Duplicate  int64 `json:"duplicate"`
		Late       int64 `json:"late"`
		Invalid    int64 `json:"invalid"`
		Orphan     int64 `json:"orphan"`
		Waiting    int64 `json:"waiting"`
	} `json:"outcomes"`
	Details json.RawMessage `json:"details"` // more about some of the statuses
}

// JoinStats returns the counts of the join.
func (c *Client) JoinStats(ctx context.Context) (*JoinStats, error) {
	s := new(JoinStats)
	if err := c.do(ctx, http.MethodGet, "/v1/join", "", nil, s); err != nil {
		return nil, fmt.Errorf("client: join: %w", err)
	}
	return s, nil
}
