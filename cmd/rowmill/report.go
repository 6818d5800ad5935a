package main

import (
	"fmt"
	"math"

	json "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
)

// report is the summary of a run for programs: --summary json.
type report struct {
	Name string `json:"name"`
	// Outcome is "finished", "failed", "stopped", or "refused" where configuration or
	// preflight kept the run from beginning.
	Outcome        string                `json:"outcome"`
	ExitCode       int                   `json:"exit_code"`
	Error          string                `json:"error,omitempty"`
	ElapsedSeconds float64               `json:"elapsed_seconds"`
	RowsPerSecond  float64               `json:"rows_per_second"`
	Counts         engine.Counts         `json:"counts"`
	Stages         []engine.StageSummary `json:"stages"`
	Reasons        []engine.Reason       `json:"reasons"`
	// Sinks are the sinks, where there are several.
	Sinks        []pipeline.SinkUse `json:"sinks,omitempty"`
	Output       string             `json:"output,omitempty"`
	DeadLetters  string             `json:"dead_letters,omitempty"`
	RepeatedKeys int64              `json:"repeated_keys,omitzero"`
	// State is the folder of the run's state; DoneBefore the rows that had ended in the
	// run that this one went on with, Replayed the answers taken from its journal.
	State      string `json:"state,omitempty"`
	DoneBefore int64  `json:"done_before,omitzero"`
	Replayed   int64  `json:"replayed,omitzero"`
	// CutOff is how many answers are asked for again by the run that goes on.
	CutOff int64 `json:"cut_off,omitzero"`
	// Known is how many rows --new has passed by, Changed how many others have the key of
	// one that was done.
	Known       int64 `json:"known,omitzero"`
	Changed     int64 `json:"changed,omitzero"`
	NothingToDo bool  `json:"nothing_to_do,omitzero"`
	// Delivery is how often a record may be in the output after a kill.
	Delivery string `json:"delivery,omitempty"`
}

// line returns the report as one line of JSON.
func (r report) line() (string, error) {
	b, err := json.Marshal(r, json.Deterministic(true), jsontext.AllowInvalidUTF8(true))
	if err != nil {
		return "", fmt.Errorf("summary: %w", err)
	}
	return string(b) + "\n", nil
}

func thousandths(f float64) float64 { return math.Round(f*1000) / 1000 }
