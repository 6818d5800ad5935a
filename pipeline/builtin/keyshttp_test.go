package builtin_test

import "time"

func httpKeyCases() []keyCase {
	sink := func(key string, values ...string) keyCase {
		return keyCase{
			key: "sink http: " + key, values: values,
			yaml: "source: {values: {rows: [{id: 1, a: x}, {id: 2, a: y}]}}\nsink: {http: {url: URL/in}}\ndead_letter: {file: {path: DIR/dead.jsonl}}",
		}
	}
	late := sink("timeout", "1m", "1ns") // whose requests are made again and again
	late.stop, late.see = 2*time.Second, []aspect{counts}
	return []keyCase{
		sink("url", "URL/in", "URL/out"),
		sink("method", "POST", "PATCH"),
		sink("headers", "{X-A: b}", "{X-A: c}"),
		sink("body", "array", "jsonl", "object"),
		sink("batch", "100", "1"),
		late,
	}
}
