package engine

import (
	"maps"
	"time"

	"github.com/rowmill/rowmill/pipeline"
)

// Snapshot says how the run stands now.
func (e *Execution) Snapshot() Snapshot { return e.run.snapshot() }

func (r *run) snapshot() Snapshot {
	s := Snapshot{Elapsed: time.Since(r.began), Counts: r.tracker.counts(), Draining: r.stopped.Load()}
	s.Finished = r.tracker.arrived.Load() + s.Counts.Dropped + s.Counts.DroppedOnError + s.Counts.Absorbed + r.deadSoFar.Load()
	s.EstimatedRows = r.estimate(s.Counts.Read)
	for _, n := range r.stages {
		s.Stages = append(s.Stages, n.snapshot())
		if w := n.waitingFor(); w != "" {
			s.Waiting = w + " in " + n.step.Name
		}
	}
	if r.before != nil {
		return s.after(r.before.snapshot())
	}
	return s
}

// estimate is how many rows the source seems to have, 0 if that is not known.
func (r *run) estimate(read int64) int64 {
	limit := r.options.Limit
	if r.source.ended.Load() {
		return read
	}
	m, ok := r.pipeline.Source.(pipeline.Meter)
	if !ok || read == 0 {
		return limit
	}
	done, total := m.Progress()
	if done <= 0 || total <= 0 {
		return limit
	}
	before := r.estimateFrom
	rows := before + int64(float64(read-before)*max(1, float64(total)/float64(done)))
	if limit > 0 {
		return min(rows, limit)
	}
	return rows
}

func (n *stageNode) snapshot() StageSnapshot {
	s := StageSnapshot{Name: n.step.Name, InFlight: int(n.busy.Load()), Calls: n.calls.Load()}
	if n.policy != nil {
		p := n.policy.Snapshot()
		s.Attempts, s.Retries, s.Refusals, s.OnWire = p.Attempts, p.Retries, p.Refusals, p.InFlight
		s.Hedges, s.HedgesWon, s.Endpoints = p.Hedges, p.HedgesWon, p.Endpoints
		s.Paused, s.PausedUntil = p.Paused, p.PausedUntil
		s.Limits, s.Time = p.Limits, n.flight.time(&p)
		if p.SlotsFound {
			s.Concurrency = p.Slots
		}
		return s
	}
	s.Time = n.flight.time(nil)
	return s
}

func (n *stageNode) waitingFor() string {
	if n.order == nil {
		return ""
	}
	return n.order.waitingFor()
}

// summarize says how the run ended.
func (r *run) summarize() Summary {
	s := Summary{
		Name: r.pipeline.Name, Elapsed: time.Since(r.began), Counts: r.tracker.counts(),
		Reasons: r.reasons.list(), RepeatedKeys: r.source.keys.total.Load(), Stopped: r.stopped.Load(),
		State: r.options.State, NothingToDo: r.idle, Delivery: DeliveryOf(r.pipeline.Sink),
		Guarantees: guarantees(r.pipeline), NoState: r.noState,
	}
	if k := r.keeper; k != nil && k.resumed {
		s.Resumed, s.DoneBefore, s.Replayed = true, k.previous.Counts.Read, k.replayed.Load()
	}
	s.CutOff = r.cutOff.Load()
	if several, ok := r.pipeline.Sink.(pipeline.Router); ok {
		s.Sinks = several.Uses()
	}
	var fresh int64
	s.Known, s.Changed, fresh = r.tracker.newRows()
	s.NothingToDo = s.NothingToDo || s.Resumed && r.keeper.onlyNew() && fresh == 0 && r.failed() == nil && !r.cutShort()
	if s.Counts.DeadLettered > 0 {
		s.DeadLetters = r.pipeline.DeadLetterName
	}
	for _, n := range r.stages {
		s.Stages = append(s.Stages, n.summary())
	}
	if r.before != nil {
		return s.after(r.before.summary)
	}
	return s
}

func (n *stageNode) summary() StageSummary {
	s := n.snapshot()
	sum := StageSummary{
		Name: s.Name, Calls: s.Calls, Attempts: s.Attempts, Retries: s.Retries, Refusals: s.Refusals,
		Time: s.Time, Limits: s.Limits, Concurrency: s.Concurrency,
	}
	sum.Hedges, sum.HedgesWon, sum.Endpoints = s.Hedges, s.HedgesWon, s.Endpoints
	sum.Usage = n.usage()
	return sum
}

// usage is what the stages have used, together with the run that this one goes on with.
func (r *run) usage() map[string]map[string]int64 {
	all := map[string]map[string]int64{}
	for _, n := range r.stages {
		if used := n.usage(); len(used) > 0 {
			all[n.step.Name] = used
		}
	}
	return all
}

func (n *stageNode) usage() map[string]int64 {
	a, ok := n.step.Stage.(pipeline.Accountant)
	if !ok {
		return nil
	}
	var used map[string]int64
	_ = n.run.safely(n.step.Name, func() error { used = maps.Clone(a.Usage()); return nil }) // logged
	if n.run.keeper != nil {
		for name, before := range n.run.keeper.previous.Usage[n.step.Name] {
			if used == nil {
				used = map[string]int64{}
			}
			used[name] += before
		}
	}
	return used
}
