package grouped

// Bounded bounds the runs and the log, so that a test reaches the bounds with few rows.
func (c *Collection) Bounded(runs int, log int64) *Collection {
	c.mostRuns, c.mostLog = runs, log
	return c
}
