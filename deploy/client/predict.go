package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/millrace/millrace/feedback"
)

// A PredictRequest asks a model about an entity.
type PredictRequest struct {
	Entity  map[string]any `json:"entity"`             // a value for each field of the entity
	Request map[string]any `json:"request,omitempty"`  // request.* values of features on demand
	ID      string         `json:"id,omitempty"`       // what the prediction is to be called; empty: the server says
	AtLeast []Position     `json:"at_least,omitempty"` // wait until these are applied
	WaitMS  int64          `json:"wait_ms,omitempty"`  // for how long; 0: the server's limit of 5 s
}

// A Prediction is what a model answers.
type Prediction struct {
	ID           string            `json:"id"`
	Score        float64           `json:"score"` // binary: a probability; regression: a mean
	Model        string            `json:"model"`
	Version      int               `json:"version"` // 0: the base rate
	Bundle       string            `json:"bundle"`
	BaseRate     bool              `json:"base_rate"` // there is no champion yet
	AsOf         time.Time         `json:"as_of"`
	Fingerprints map[string]string `json:"fingerprints"` // of the features that the model saw
	Degraded     string            `json:"degraded"`     // why the champion did not answer; empty: it did
}

// Predict asks for a prediction, which the server keeps with what the model saw.
// With an ID it tries again where the server is busy or away, until ctx ends:
// what is kept twice under one ID counts once. Without one it asks once.
func (c *Client) Predict(ctx context.Context, model string, req PredictRequest) (*Prediction, error) {
	body, err := json.Marshal(req)
	if err != nil {
		return nil, fmt.Errorf("client: predict: %w", err)
	}
	for t := (tries{}); ; {
		var p Prediction
		err := c.post(ctx, "/v1/predict/"+url.PathEscape(model), "application/json", body, &p)
		if err == nil {
			return &p, nil
		}
		if req.ID != "" {
			err = t.again(ctx, err)
		}
		if err != nil {
			return nil, fmt.Errorf("client: predict: %w", err)
		}
	}
}

// JoinStats returns what became of the project's predictions and outcomes.
func (c *Client) JoinStats(ctx context.Context) (feedback.Stats, error) {
	var s feedback.Stats
	if err := c.do(ctx, http.MethodGet, "/v1/join", "", nil, &s); err != nil {
		return s, fmt.Errorf("client: join statistics: %w", err)
	}
	return s, nil
}
