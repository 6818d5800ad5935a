//go:build !race

package engine_test

// How often a pipeline is killed at each of its points, at moments of chance, and how
// often its retry is run.
const (
	eachPoint   = 20
	someKills   = 12
	someRetries = 6
)
