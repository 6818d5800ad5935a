//go:build !race

package sinks

// crashFiles are the files that are written across crashes.
func crashFiles() []string { return []string{"a.jsonl", "a.csv.gz", "a.jsonl.zst"} }
