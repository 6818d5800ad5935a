package builtin_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"time"
)

// fileCase is about a key of the source file, which reads one of that name.
func fileCase(key, name, text, more string, values ...string) keyCase {
	return keyCase{
		key:    "source file: " + key,
		yaml:   fmt.Sprintf("source: {file: {path: DIR/%s%s}}\nsink: {file: {path: DIR/out.jsonl}}", name, more),
		files:  map[string]string{name: text},
		values: values,
	}
}

func gzipped(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(text)) // a Buffer has no error
	_ = w.Close()
	return b.String()
}

func sourceKeyCases() []keyCase {
	const rangeYAML, valuesYAML = "source: {range: {to: 4}}\nsink: {file: {path: DIR/out.jsonl}}", "source: {values: {rows: [1]}}\nsink: {file: {path: DIR/out.jsonl}}"
	const open = "source: {range: {}}\nsink: {file: {path: DIR/out.jsonl}}"
	path := fileCase("path", "in/a.jsonl", "{\"n\":1}\n", "", "DIR/in/a.jsonl", "DIR/in/b.jsonl", "'DIR/in/*.jsonl'", "[DIR/in/b.jsonl, DIR/in/a.jsonl]")
	path.files["in/b.jsonl"] = "{\"n\":2}\n"
	return append(parquetKeyCases(),
		path,
		fileCase("format", "a.jsonl", "{\"n\": 1}\n{\"n\":2}\n", "", "auto", "lines", "whole", "csv"),
		fileCase("compression", "a.jsonl", gzipped("{\"n\":1}\n"), "", "auto", "none"),
		fileCase("delimiter", "a.csv", "a,b;c\n1,2;3\n", "", "','", "';'"),
		fileCase("types", "a.csv", "a,b\n1,yes\nx,no\n", "", "", "{a: number}", "{b: bool}"),
		fileCase("field", "a.txt", "one\n", "", "text", "line"),
		fileCase("max_record", "a.jsonl", "{\"text\":\"a long one\"}\n{\"n\":1}\n", "", "64MiB", "10"),
		keyCase{key: "source range: from", yaml: rangeYAML, values: []string{"1", "2", "-1"}},
		keyCase{key: "source range: to", yaml: rangeYAML, values: []string{"4", "5"}},
		keyCase{key: "source range: count", yaml: open, values: []string{"1", "2"}},
		keyCase{key: "source range: step", yaml: rangeYAML, values: []string{"1", "2"}},
		keyCase{key: "source range: field", yaml: rangeYAML, values: []string{"i", "number"}},
		keyCase{key: "source values: rows", yaml: valuesYAML, values: []string{"[{a: 1}]", "[{a: 2}]", "[text]"}},
	)
}

func sinkKeyCases() []keyCase {
	sink := func(key, config string, values ...string) keyCase {
		kind, _, _ := bytes.Cut([]byte(key), []byte(":"))
		return keyCase{
			key:    "sink " + key,
			yaml:   fmt.Sprintf("source: {values: {rows: [{a: 1, b: x}, {a: 2, b: y}]}}\nsink: {%s: {%s}}", kind, config),
			values: values,
		}
	}
	return append(parquetSinkCases(),
		sink("file: path", "path: DIR/out.jsonl", "DIR/a.jsonl", "DIR/b.jsonl", "DIR/a.csv", "DIR/a.jsonl.gz"),
		sink("file: format", "path: DIR/out.data, format: jsonl", "jsonl", "csv", "tsv"),
		sink("file: compression", "path: DIR/out.jsonl", "auto", "gzip", "zstd"),
		sink("file: columns", "path: DIR/out.csv", "[a, b]", "[b, a]", "[a, b, c]"),
		sink("file: delimiter", "path: DIR/out.csv", "','", "';'"),
		sink("file: field", "path: DIR/out.txt", "a", "b"),
		sink("text: path", "path: DIR/out.md, template: '{{.a}}'", "DIR/a.md", "DIR/b.md"),
		sink("text: template", "path: DIR/out.md, template: x", "'{{.a}}'", "'{{.b}}'"),
		sink("text: compression", "path: DIR/out.md, template: x", "auto", "gzip", "zstd"),
	)
}

func stageKeyCases() []keyCase {
	stage := func(key, rows, config string, values ...string) keyCase {
		name, _, _ := bytes.Cut([]byte(key), []byte(":"))
		return keyCase{
			key:    "stage " + key,
			yaml:   fmt.Sprintf("source: {values: {rows: [%s]}}\nstages: [{%s: {%s}}]\nsink: {file: {path: DIR/out.jsonl}}", rows, name, config),
			values: values,
		}
	}
	const ab = "{a: 1, b: 1}, {a: 1, b: 2}, {a: 2, b: 2}"
	// More keys than fit into 1KiB, for dedupe.
	full := func(key, config string, values ...string) keyCase {
		return keyCase{
			key: "stage dedupe: " + key, values: values, see: []aspect{code},
			yaml: fmt.Sprintf("source: {range: {to: 40}}\nstages: [{dedupe: {by: i%s}}]\nsink: {file: {path: DIR/out.jsonl}}", config),
		}
	}
	// Rows that come a second apart, for group.
	wait := keyCase{
		key: "stage group: wait", values: []string{"0s", "500ms"},
		yaml:   counting + "stages: [{scripted: {}, parallelism: 1}, {group: {size: 3}}]",
		script: func(*call) error { time.Sleep(time.Second); return nil },
	}
	every := keyCase{
		key: "stage window: every", values: []string{"0s", "500ms"},
		yaml:   counting + "stages: [{scripted: {}, parallelism: 1}, {window: {rows: 3, count: n}}]",
		script: wait.script,
	}
	limit := stage("limit: count", ab, "count: 1", "1", "2")
	limit.see = []aspect{output} // how much was read until then is chance
	const texts = `{text: "Ähm. Ein Satz, so so. Überübrig."}`
	of := []keyCase{wait, every}
	for _, name := range []string{"reduce", "window"} { // each says the same of records
		of = append(of,
			stage(name+": by", ab, "count: n", "[]", "[a]", "[a, b]"),
			stage(name+": count", ab, "sum: {x: a}", "", "n", "m"),
			stage(name+": at_most", ab, "list: {x: b}", "1000", "1"),
		)
		for _, key := range []string{"sum", "mean", "min", "max", "first", "last", "list"} {
			of = append(of, stage(name+": "+key, ab, "count: n", "{x: a}", "{x: b + 1}", "{y: a}"))
		}
	}
	return append(of, []keyCase{
		stage("window: rows", ab, "count: n", "1000", "2"),
		stage("window: as", ab, "count: n, by: [a]", "groups", "x"),
		stage("exec: command", ab, "command: [cat]", "[cat]", "[sed, -u, s/1/7/]"),
		execKey("dir", shell("pwd"), ".", "DIR/in"),
		execKey("env", shell("echo $VALUE"), "{VALUE: a}", "{VALUE: b}"),
		execKey("pass_env", shell("echo $GREETING"), "[]", "[GREETING]"),
		execKey("keeps", "[sed, -u, s/1/7/]", "[]", "[a]"),
		execKey("max_answer", shell("head -c 2000 /dev/zero | tr '\\\\0' x"), "1KiB", "16KiB"),
		stage("dedupe: by", ab, "", "", "a", "b"),
		full("memory", "", "64MiB", "1KiB"),
		full("when_full", ", memory: 1KiB", "forget", "stop"),
		stage("filter: where", ab, "where: 'true'", "a > 1", "b > 1"),
		stage("group: size", ab, "", "10", "2"),
		stage("group: as", ab, "", "items", "rows"),
		limit,
		lookupKey("file", "a.csv", "", "DIR/a.csv", "DIR/b.csv"),
		lookupKey("format", "a.csv", "", "csv", "tsv"),
		lookupKey("compression", "z.csv", "", "auto", "none"),
		lookupKey("delimiter", "s.csv", "", "','", "';'"),
		lookupKey("types", "a.csv", "", "{b: string}", "{b: number}"),
		lookupKey("on", "a.csv", ", key: k", "k", "other"),
		lookupKey("key", "a.csv", "", "k", "b"),
		lookupKey("take", "a.csv", "", "[b]", "[c]", "[c, b]"),
		lookupKey("as", "a.csv", "", "", "x", "y"),
		lookupKey("missing", "a.csv", "", "dead_letter", "'null'", "drop"),
		lookupKey("duplicates", "twice.csv", "", "error", "first"),
		lookupKey("memory", "a.csv", "", "1MiB", "1KiB"),
		stage("map: set", ab, "set: {b: b}", "{c: a + b}", "{a: b}"),
		stage("map: rename", ab, "set: {b: b}", "{a: x}", "{b: x}"),
		stage("map: drop", ab, "set: {b: b}", "[a]", "[b]"),
		stage("map: keep", ab, "set: {b: b}", "[a]", "[b]"),
		stage("sample: rate", ab+","+ab+","+ab, "rate: 100%", "100%", "30%"),
		stage("sample: seed", ab+","+ab+","+ab, "rate: 50%", "1", "2"),
		stage("split: field", "{a: [1], b: [2]}", "field: a", "a", "b"),
		stage("split: as", "{a: [1], b: [2]}", "field: a", "", "x"),
		stage("split: index", "{a: [1], b: [2]}", "field: a", "", "n"),
		stage("split: chunk.size", texts, "field: text, chunk: {size: 8}", "8", "16"),
		stage("split: chunk.overlap", texts, "field: text, chunk: {size: 16}", "0", "6"),
		stage("split: chunk.unit", texts, "field: text, chunk: {size: 8}", "chars", "bytes"),
		stage("ungroup: field", "{a: [{n: 1}], b: [{n: 2}]}", "", "a", "b"),
		stage("ungroup: zip", "{items: [{n: 1}], b: [2]}", "", "", "{b: x}", "{b: y}"),
	}...)
}

// lookupKey is about a key of the stage lookup.
func lookupKey(key, file, more string, values ...string) keyCase {
	return keyCase{
		key: "stage lookup: " + key, values: values, see: []aspect{output, dead, failure}, // how much was read until it failed is chance
		yaml: fmt.Sprintf("source: {values: {rows: [{k: 1, other: 2}, {k: 7, other: 1}]}}\nstages: [{lookup: {file: DIR/%s, on: k%s}}]\nsink: {file: {path: DIR/out.jsonl}}", file, more),
		files: map[string]string{
			"a.csv": "k,b,c\n1,2,3\n2,4,x\n3,1,y\n4,9,z\n5,9,z\n", "b.csv": "k,b\n1,other\n", "s.csv": "k,x;k\n1,2;1\n",
			"twice.csv": "k,b\n1,2\n1,3\n", "z.csv": gzipped("k,b\n1,2\n"),
		},
	}
}

// execKey is about a key of the stage exec.
func execKey(key, command string, values ...string) keyCase {
	return keyCase{
		key: "stage exec: " + key, values: values, files: map[string]string{"in/a": ""},
		yaml: fmt.Sprintf("source: {values: {rows: [{a: 1}]}}\nstages: [{exec: {command: %s}}]\nsink: {file: {path: DIR/out.jsonl}}", command),
	}
}

// shell is a command that answers each line with an object that holds what a command
// says.
func shell(command string) string {
	return fmt.Sprintf(`[sh, -c, "while read -r line; do echo \"{\\\"said\\\": \\\"$(%s)\\\"}\"; done"]`, command)
}

// hang waits for the end of a call.
func hang(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
