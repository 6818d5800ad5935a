//go:build race

package sinks

// The race detector has a compressor take twenty times as long to begin: then it is only seen
// that nothing races.
func crashFiles() []string { return []string{"a.jsonl"} }
