package builtin_test

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// pages answers with two rows, then one, then none, whichever way the page is named.
func pages(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	rows, at := `{"n":1},{"n":2}`, ""
	for _, name := range []string{"page", "p", "q", "offset"} {
		at += q.Get(name)
	}
	switch at {
	case "2":
		rows = `{"n":3}`
	case "", "0", "1":
	default:
		rows = ""
	}
	switch {
	case r.URL.Path == "/away" && strings.HasPrefix(r.Host, "127"):
		http.Redirect(w, r, "http://"+strings.Replace(r.Host, "127.0.0.1", "localhost", 1)+"/away", http.StatusFound)
	case q.Has("p"), q.Has("q"), q.Has("c"):
		_, _ = fmt.Fprintf(w, `{"items":[%s], "other":[{"n":7}]}`, rows)
	default:
		_, _ = fmt.Fprintf(w, `{"items":[%s], "other":[{"n":7}], "a":"x", "b":"y", "next":"z", "more":false}`, rows)
	}
}

func httpKeyCases() []keyCase {
	sink := func(key string, values ...string) keyCase {
		return keyCase{
			key: "sink http: " + key, values: values,
			yaml: "source: {values: {rows: [{id: 1, a: x}, {id: 2, a: y}]}}\nsink: {http: {url: URL/in}}\ndead_letter: {file: {path: DIR/dead.jsonl}}",
		}
	}
	late := sink("timeout", "1m", "1ns") // whose requests are made again and again
	late.stop, late.see = 2*time.Second, []aspect{counts}
	source := func(key, more string, values ...string) keyCase {
		return keyCase{
			key: "source http: " + key, values: values, pages: pages,
			yaml: "source: {http: {url: URL/in, rows: items" + more + "}}\nsink: {file: {path: DIR/out.jsonl}}",
		}
	}
	const byPage, byCursor = ", paging: {kind: page}", ", paging: {kind: cursor, next: a, param: c}"
	away := source("hosts", byPage, "[]", "[LOCALHOST]")
	away.yaml, away.see = strings.Replace(away.yaml, "URL/in", "URL/away", 1), []aspect{output, counts, code}
	slow := source("timeout", byPage, "1m", "1ns")
	slow.stop, slow.see = 2*time.Second, []aspect{counts}
	paced := source("rate_limit.requests_per_minute", byPage, "off", "20")
	paced.see = []aspect{output, takes(3 * time.Second)}
	return []keyCase{
		source("url", byPage, "URL/in", "URL/on"),
		source("headers", byPage, "{X-A: b}", "{X-A: c}"),
		source("rows", ", paging: {kind: none}", "items", "other", "''"),
		source("paging.kind", "", "auto", "link", "page", "offset"),
		source("paging.next", byCursor, "a", "b", "c"),
		source("paging.param", byCursor, "c", "d"),
		source("paging.start", byPage, "1", "2"),
		source("paging.size", byPage, "2", "50"),
		source("paging.size_param", ", paging: {kind: page, size: 2}", "n", "m"),
		source("paging.more", byPage, "", "more"),
		source("paging.max_pages", byPage, "1", "2"),
		source("max_page", byPage, "64MiB", "10"),
		away,
		slow,
		paced,
		sink("url", "URL/in", "URL/out"),
		sink("method", "POST", "PATCH"),
		sink("headers", "{X-A: b}", "{X-A: c}"),
		sink("body", "array", "jsonl", "object"),
		sink("batch", "100", "1"),
		late,
	}
}
