package monitor

import (
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/features"
	"github.com/millrace/millrace/features/expr"
)

func TestConfigFaults(t *testing.T) {
	good := Config{}.WithDefaults(time.Hour)
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Config){
		"every: ":                     func(c *Config) { c.Every = time.Millisecond },
		"window: ":                    func(c *Config) { c.Window = 90 * time.Minute },
		"reference: 48h0m0s: ":        func(c *Config) { c.Reference = 48 * time.Hour },
		"reference: 120000h0m0s and":  func(c *Config) { c.Reference = 5000 * 24 * time.Hour },
		"false_alarms: 0 in":          func(c *Config) { c.False = 0 },
		"false_alarms: 1 in 24h0m0s":  func(c *Config) { c.Per = 24 * time.Hour },
		"false_alarms: 1 in 1000000h": func(c *Config) { c.Per = 1_000_000 * time.Hour },
		"block: ":                     func(c *Config) { c.Block = 300 * 24 * time.Hour },
		"factor: ":                    func(c *Config) { c.Factor = 0.5 },
		`distance: "euclid"`:          func(c *Config) { c.Distance = "euclid" },
	} {
		c := good
		change(&c)
		if err := c.Check(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
		if _, err := New(c, Model{Name: "m"}); err == nil || !strings.HasPrefix(err.Error(), "monitor: model m: "+want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestModelFaults(t *testing.T) {
	inputs := []features.Field{{Name: "a.x", Kind: expr.Float}, {Name: "a.text", Kind: expr.String}}
	for want, test := range map[string]struct {
		m   Model
		std []string
	}{
		"no name":                    {Model{}, nil},
		`"score" is there twice`:     {Model{Name: "m", Inputs: []features.Field{{Name: "score"}}}, nil},
		`"a.x" is there twice`:       {Model{Name: "m", Inputs: append(inputs, inputs[0])}, nil},
		`"a.y" is not a feature`:     {Model{Name: "m", Inputs: inputs}, []string{"a.y"}},
		`"a.text" is a text`:         {Model{Name: "m", Inputs: inputs}, []string{"a.text"}},
		`slices: "a.x" is no entity`: {Model{Name: "m", Inputs: inputs, Slices: []string{"a.x"}}, nil},
		`slices: "who" is no entity`: {Model{Name: "m", Inputs: inputs, Slices: []string{"who"}}, nil},
		"2000 inputs: give at most":  {Model{Name: "m", Inputs: make([]features.Field, 2000)}, nil},
		"a horizon of -1s":           {Model{Name: "m", Horizon: -time.Second}, nil},
	} {
		c := Config{Std: test.std}.WithDefaults(time.Hour)
		if _, err := New(c, test.m); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
