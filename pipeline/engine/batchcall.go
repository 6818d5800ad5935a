package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/policy"
)

// batchOutcomes returns what becomes of records that came in as saved says, and how many
// attempts that took: what the journal knows of them, else what the stage makes of them
// now, whatever it does. A batch in which records are merged is not in the journal: what
// one of them has become hangs on which others were there.
func (n *stageNode) batchOutcomes(batch []*pipeline.Record, saved []pipeline.Record) ([]pipeline.Outcome, []int) {
	c := batchCall{node: n, batch: batch, saved: saved, outcomes: make([]pipeline.Outcome, len(batch)), attempts: make([]int, len(batch))}
	var asked []int
	for i, r := range batch {
		if n.answers != nil {
			made, attempts, err, known := n.answers.replay(r)
			if known {
				c.outcomes[i], c.attempts[i] = pipeline.Outcome{Records: made, Err: err}, attempts
				continue
			}
		}
		asked = append(asked, i)
	}
	if len(asked) == 0 {
		return c.outcomes, c.attempts
	}
	c.open = asked
	c.call()
	n.calls.Add(1)
	if n.answers == nil || slices.ContainsFunc(c.outcomes, func(o pipeline.Outcome) bool { return o.Merged }) {
		return c.outcomes, c.attempts
	}
	for _, i := range asked {
		c.keep(i)
	}
	return c.outcomes, c.attempts
}

// batchCall is a call of a Batcher with all its attempts.
type batchCall struct {
	node     *stageNode
	batch    []*pipeline.Record
	saved    []pipeline.Record
	open     []int // those that the next attempt is about
	outcomes []pipeline.Outcome
	attempts []int
	failure  error // of the last attempt: why another one may be made
}

// call makes as many attempts as the policies allow. The next one is about those records
// alone whose outcome may be another then.
func (c *batchCall) call() {
	n := c.node
	var number int
	var err error
	if n.policy == nil {
		err = n.run.safely(n.step.Name, func() error { return c.attempt(n.run.ctx) })
		number = 1
	} else {
		ctx, call := n.policy.Begin(n.run.ctx)
		if n.turner {
			err = n.run.safely(n.step.Name, func() error { return c.attempt(ctx) })
		} else {
			_, err = policy.Turn(ctx, policy.Ask{}, func(ctx context.Context, _ *policy.Attempt) (struct{}, error) { return struct{}{}, c.next(ctx) })
		}
		number = call.Attempts()
	}
	own := c.failure != nil && errors.Is(err, c.failure) && n.final(err) // each of them has failed in its own way
	for _, i := range c.open {
		if c.attempts[i] = number; err != nil && !own {
			c.outcomes[i] = pipeline.Outcome{Err: err}
		}
	}
}

// next is an attempt whose error is that of a record for which another may be made.
func (c *batchCall) next(ctx context.Context) error {
	c.failure = nil
	if err := c.attempt(ctx); err != nil {
		return err
	}
	failed := slices.DeleteFunc(slices.Clone(c.open), func(i int) bool { return !again(c.outcomes[i].Err) })
	if len(failed) == 0 || !c.apart(failed) {
		return nil
	}
	for _, i := range c.open {
		c.attempts[i]++
	}
	c.open, c.failure = failed, c.outcomes[failed[0]].Err
	return c.failure
}

// attempt has the stage work once on the records that are open.
func (c *batchCall) attempt(ctx context.Context) error {
	part := make([]*pipeline.Record, len(c.open))
	for k, i := range c.open {
		c.batch[i].Restore(c.saved[i])
		part[k] = c.batch[i]
	}
	outcomes := c.node.batcher.ProcessBatch(ctx, part)
	if len(outcomes) != len(part) {
		return fmt.Errorf("the stage returned %d outcomes for %d records", len(outcomes), len(part))
	}
	for k, i := range c.open {
		c.outcomes[i] = outcomes[k]
	}
	return nil
}

// apart reports whether the failed records are no part of what the others became, so that
// they can be tried again by themselves.
func (c *batchCall) apart(failed []int) bool {
	for _, o := range c.outcomes {
		if o.Merged {
			return false
		}
		for _, i := range failed {
			if slices.Contains(o.Records, c.batch[i]) {
				return false
			}
		}
	}
	return true
}

// keep notes in the journal what became of a record that was asked about.
func (c *batchCall) keep(i int) {
	o := &c.outcomes[i]
	if o.Err == nil {
		o.Err = check(o.Records)
	}
	if err := c.node.keep(&c.saved[i], c.batch[i], o.Records, c.attempts[i], o.Err); err != nil {
		*o = pipeline.Outcome{Err: err}
	}
}
