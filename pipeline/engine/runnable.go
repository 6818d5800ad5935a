package engine

import (
	"fmt"

	"github.com/rowmill/rowmill/pipeline"
)

// runsOrdered reports whether the first of these stages keeps the order: because
// it is told to, or because a stage behind it depends on it.
func runsOrdered(steps []pipeline.Step) bool {
	if !steps[0].Unordered {
		return true
	}
	for _, s := range steps {
		if NeedsOrder(s.Stage) {
			return true
		}
	}
	return false
}

// NeedsOrder reports whether a stage's answer depends on the order of the records,
// so that every stage in front of it runs ordered.
func NeedsOrder(s pipeline.Stage) bool {
	_, sequential := s.(pipeline.Sequential)
	_, collects := s.(pipeline.Collector)
	return sequential || pipeline.Together(s) || collects
}

// runnable refuses a stage that cannot be run as it is declared.
func runnable(s pipeline.Step) error {
	if s.Stage == nil {
		return fmt.Errorf("stage %s is nil", s.Name)
	}
	if pipeline.Together(s.Stage) && s.When != nil {
		return fmt.Errorf("stage %s works on batches, which cannot be had with When: put a filter in front of it", s.Name)
	}
	if _, knows := s.Stage.(pipeline.Deadliner); !knows && s.Deadlines != (pipeline.Deadlines{}) {
		return fmt.Errorf("stage %s knows of no parts of an attempt, which Deadlines bound: set Timeout", s.Name)
	}
	if _, collects := s.Stage.(pipeline.Collector); collects && s.When != nil {
		return fmt.Errorf("stage %s takes every record, which cannot be had with When: put a filter in front of it", s.Name)
	}
	if foreign, ok := s.Stage.(*foreignStage); ok {
		return foreign.runnable(s)
	}
	return hedgeable(s)
}

// hedgeable refuses to hedge a stage whose requests cannot be made twice at once.
func hedgeable(s pipeline.Step) error {
	_, turner := s.Stage.(pipeline.Turner)
	switch {
	case !turner && s.Hedge != (pipeline.Hedge{}):
		return fmt.Errorf("stage %s cannot be hedged: only one that asks a model can (pipeline.Turner)", s.Name)
	case s.Hedge.AtMost < 0 || s.Hedge.AtMost > 1:
		return fmt.Errorf("stage %s: Hedge.AtMost is %v; choose a share from 0%% to 100%%", s.Name, s.Hedge.AtMost)
	default:
		return nil
	}
}

// nameSteps gives a name to every stage that has none.
func nameSteps(steps []pipeline.Step) []pipeline.Step {
	named := make([]pipeline.Step, len(steps))
	for i, s := range steps {
		if s.Name == "" {
			s.Name = fmt.Sprintf("stage-%d", i+1)
		}
		named[i] = s
	}
	return named
}
