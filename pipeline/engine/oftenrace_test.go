//go:build race

package engine_test

// The race detector makes a process begin ten times slower: then it is only seen that
// nothing races.
const (
	eachPoint   = 1
	someKills   = 1
	someRetries = 1
)
