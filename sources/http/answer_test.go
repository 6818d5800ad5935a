package http_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"log/slog"
	stdhttp "net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/policy"
	"github.com/rowmill/rowmill/sources/http"
)

func gzipped(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, text)
	_ = w.Close()
	return b.String()
}

// TestAnswers is about what comes in place of a page, or looks odd and is one.
func TestAnswers(t *testing.T) {
	t.Parallel()
	list := func(next string) string { return `{"items":[{"i":1}],"meta":{"next":` + next + `}}` }
	cursor := http.Paging{Kind: "cursor", Next: "meta.next", Param: "c"}
	for name, c := range map[string]struct {
		status int
		header string // "Name: value"
		body   string
		rows   string
		paging http.Paging
		want   string // in the error; "" for none, and the row {"i":1}
	}{
		"a list":                      {body: ` [{"i":1}] `},
		"a mark in front":             {body: "\xef\xbb\xbf[{\"i\":1}]"},
		"compressed, unsaid":          {body: gzipped(`[{"i":1}]`)},
		"of another type":             {header: "Content-Type: text/plain", body: `[{"i":1}]`},
		"one page, as it was said":    {body: list("7"), rows: "items", paging: http.Paging{Kind: "none"}},
		"null as the cursor":          {body: list("null"), rows: "items", paging: cursor},
		"nothing as the cursor":       {body: list(`""`), rows: "items", paging: cursor},
		"no as the cursor":            {body: list(`false`), rows: "items", paging: cursor},
		"no address":                  {body: list("null"), rows: "items", paging: http.Paging{Kind: "link", Next: "meta.next"}},
		"a name with a dot":           {body: `{"a.b/c":[{"i":1}]}`, rows: "/a.b~1c"},
		"in a list":                   {body: `[[], {"x": [{"i":1}]}]`, rows: "-1.x"},
		"HTML":                        {header: "Content-Type: text/html; charset=utf-8", body: "<p>Sign in", want: "(HTML)"},
		"HTML, unsaid":                {header: "Content-Type: application/json", body: "\n<!DOCTYPE html>", want: "(HTML)"},
		"empty":                       {body: " \n", want: "the answer is empty"},
		"CSV":                         {header: "Content-Type: text/csv", body: "id,name\n1,x", want: "of type text/csv"},
		"JSON lines":                  {body: `{"i":1}` + "\n" + `{"i":2}`, want: "something follows the value at byte 9"},
		"UTF-16":                      {body: "\xff\xfe[\x00]\x00", want: "UTF-16"},
		"of an unknown compression":   {header: "Content-Encoding: br", body: "?", want: `"br"`},
		"wrong JSON":                  {body: `[{"i":1},,]`, want: "at byte 10"},
		"too large":                   {body: `[{"i":"` + strings.Repeat("x", 1000) + `"}]`, want: "max_page"},
		"too large, compressed":       {body: gzipped(`[{"i":"` + strings.Repeat("x", 100_000) + `"}]`), want: "max_page"},
		"damaged":                     {body: gzipped(`[{"i":1}]`)[:20] + "????????????????", want: "damaged"},
		"no list":                     {body: list("null"), want: "say with `rows` where the list of rows is; it holds items (a list of 1)"},
		"a text":                      {body: `"x"`, want: "a text"},
		"a wrong path":                {body: `{"data":{"items":[{}], "x.y": {"z":[]}}, "a/b":[], "c":{"d":{"e":[{},{}], "f":{"g":[]}}}}`, rows: "data.rows", want: "there is no `data.rows` in the answer; it holds data.items (a list of 1), /a~1b (a list of 0), c.d.e (a list of 2)"},
		"a path to no list":           {body: list("null"), rows: "meta", want: "`meta` in the answer is an object"},
		"an error that says success":  {body: `{"error":"quota", "code": 7}`, rows: "items", want: "it holds no list, but error, code"},
		"more pages, and nobody says": {body: list("7"), rows: "items", want: "`meta.next`"},
		"more pages, on the top":      {body: `{"items":[{}], "@odata.nextLink": "x"}`, rows: "items", want: "`/@odata.nextLink`"},
		"a cursor elsewhere":          {body: `{"items":[{}], "has_more": true}`, rows: "items", paging: cursor, want: "but `has_more`"},
		"an odd cursor":               {body: list(`{"a":1}`), rows: "items", paging: cursor, want: "`meta.next` in the answer is an object"},
		"an odd address":              {body: list(`7`), rows: "items", paging: http.Paging{Kind: "link", Next: "meta.next"}, want: "`meta.next` in the answer is a number"},
		"more, and no cursor":         {body: `{"items":[{}], "more": true}`, rows: "items", paging: http.Paging{Kind: "cursor", Next: "next", Param: "c", More: "more"}, want: "nothing says where"},
		"nobody says whether more":    {body: list("7"), rows: "items", paging: http.Paging{Kind: "cursor", Next: "meta.next", Param: "c", More: "more"}, want: "there is no `more`"},
		"the same cursor again":       {body: list("7"), rows: "items", paging: cursor, want: "page 3, c=7) is one that was read before"},
		"itself as the next":          {header: "Link: <?token=hunter2hunter>; rel=next", body: `[{"i":1}]`, want: "read before"},
		"the same rows again":         {body: `[{"i":1}]`, paging: http.Paging{Kind: "page"}, want: `does the server know the parameter "page"?`},
		"more for ever":               {body: `{"items":[], "more":true}`, rows: "items", paging: http.Paging{Kind: "page", More: "more"}, want: "100 pages in a row have no rows"},
		"another server":              {header: "Link: <https://elsewhere.example/x>; rel=next", body: `[]`, want: "hosts: [elsewhere.example]"},
		"no server":                   {header: "Link: <mailto:x>; rel=next", body: `[]`, want: "no address"},
		"redirected elsewhere":        {status: 302, header: "Location: https://elsewhere.example/?token=hunter2hunter", want: "hosts: [elsewhere.example]"},
		"redirected for ever":         {status: 307, header: "Location: /x", want: "10 redirects"},
		"redirected nowhere":          {status: 304, want: "304 Not Modified"},
		"no key":                      {status: 401, body: "the token hunter2hunter is wrong", want: "401 Unauthorized: the token *** is wrong; check `headers`"},
		"not there":                   {status: 404, want: "404 Not Found; check `url`"},
		"not there, to be counted":    {status: 404, paging: http.Paging{Kind: "page"}, want: "404 Not Found; check `url`"},
		"wrong in another way":        {status: 422, body: "size is too large", want: "422 Unprocessable Entity: size is too large"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := serve(t, 0)
			a.set(func(_ int, w stdhttp.ResponseWriter, _ *stdhttp.Request) bool {
				w.Header().Set("Content-Type", "application/json")
				if name, value, ok := strings.Cut(c.header, ": "); ok {
					w.Header().Set(name, value)
				}
				w.WriteHeader(max(c.status, 200))
				_, _ = io.WriteString(w, c.body)
				return true
			})
			source := newSource(t, http.Config{
				URL: a.url + "/here/T0K3Nhunter2?token=hunter2hunter", Rows: c.rows, Paging: c.paging, MaxPage: 500,
				Headers: map[string]pipeline.Secret{"X-Key": "opensesame"},
			})
			rows, err := read(source, t.Context())
			if c.want == "" {
				if err != nil || len(rows) != 1 || rows[0] != `{"i":1}` {
					t.Errorf("got %v, %v; want a row", rows, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), a.url+"/here/***, page ") {
				t.Fatalf("got %v, want an error with the page that says %q", err, c.want)
			}
			if class, code := pipeline.Classify(err); class != pipeline.ClassFatal || code == "" {
				t.Errorf("got class %v and code %q, want a fatal one", class, code)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error holds a secret: %v", err)
			}
		})
	}
}

// TestItIsAskedAgain: what passes by itself is waited out, and costs no row.
func TestItIsAskedAgain(t *testing.T) {
	t.Parallel()
	cut := func(w stdhttp.ResponseWriter, text string) {
		conn, _, _ := w.(stdhttp.Hijacker).Hijack()
		_, _ = io.WriteString(conn, text)
		_ = conn.Close()
	}
	for name, fault := range map[string]func(w stdhttp.ResponseWriter, r *stdhttp.Request){
		"refused": func(w stdhttp.ResponseWriter, _ *stdhttp.Request) {
			w.Header().Set("Retry-After", "0.05")
			w.WriteHeader(429)
		},
		"refused, as a few do": func(w stdhttp.ResponseWriter, _ *stdhttp.Request) {
			w.Header().Set("Retry-After", "0.05")
			w.WriteHeader(403)
		},
		"failing": func(w stdhttp.ResponseWriter, _ *stdhttp.Request) { w.WriteHeader(500) },
		"cut":     func(w stdhttp.ResponseWriter, _ *stdhttp.Request) { cut(w, "") },
		"cut inside": func(w stdhttp.ResponseWriter, _ *stdhttp.Request) {
			cut(w, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[{\"i\":0},")
		},
		"cut, unsaid": func(w stdhttp.ResponseWriter, _ *stdhttp.Request) {
			cut(w, "HTTP/1.0 200 OK\r\n\r\n[{\"i\":0},")
		},
		"cut, compressed": func(w stdhttp.ResponseWriter, _ *stdhttp.Request) {
			cut(w, "HTTP/1.0 200 OK\r\nContent-Encoding: gzip\r\n\r\n"+gzipped(`[{"i":0}]`)[:20])
		},
		"late": func(_ stdhttp.ResponseWriter, r *stdhttp.Request) { <-r.Context().Done() },
		"late inside": func(w stdhttp.ResponseWriter, r *stdhttp.Request) {
			_, _ = io.WriteString(w, "[")
			_ = stdhttp.NewResponseController(w).Flush()
			<-r.Context().Done()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := serve(t, 7)
			a.set(func(n int, w stdhttp.ResponseWriter, r *stdhttp.Request) bool {
				if n == 2 {
					fault(w, r)
				}
				return n == 2
			})
			rows, err := read(newSource(t, http.Config{URL: a.url + "/link", Timeout: pipeline.Duration(100 * time.Millisecond)}), t.Context())
			if err != nil || len(rows) != 7 {
				t.Errorf("got %v, %v; want 7 rows", rows, err)
			}
			if asked := a.asked(); len(asked) != 4 || asked[1] != asked[2] {
				t.Errorf("asked for %v, want the second page twice", asked)
			}
		})
	}
}

// network is a server that is asked without a connection, on the clock of the test.
type network func(*stdhttp.Request) *stdhttp.Response

func (n network) RoundTrip(r *stdhttp.Request) (*stdhttp.Response, error) { return n(r), nil }

// TestRefusalsAreLearnedFrom: a server that wants a fifth of a second between two requests,
// and does not say so, gets soon what it wants, and the pages come nearly as fast as they can.
func TestRefusalsAreLearnedFrom(t *testing.T) {
	t.Parallel()
	const pages, least = 20, 200 * time.Millisecond
	for name, c := range map[string]struct {
		retryAfter string
		limit      policy.Rate
		within     time.Duration
		refused    int
	}{
		"nothing is said":  {"", policy.Auto, 5 * time.Second, 3},
		"a second is said": {"1", policy.Auto, 7 * time.Second, 3},
		"it is configured": {"1", 240, 6 * time.Second, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var last time.Time
				refused := 0
				s := newSource(t, http.Config{URL: "http://x.example/rows", Paging: http.Paging{Kind: "page", MaxPages: pages}, RateLimit: http.RateLimit{RequestsPerMinute: c.limit}})
				s.Over(network(func(r *stdhttp.Request) *stdhttp.Response {
					answer := httptest.NewRecorder()
					if time.Since(last) < least {
						refused++
						if c.retryAfter != "" {
							answer.Header().Set("Retry-After", c.retryAfter)
						}
						answer.WriteHeader(stdhttp.StatusTooManyRequests)
					} else {
						last = time.Now()
						_, _ = fmt.Fprintf(answer, `[{"page":%q}]`, r.URL.RawQuery)
					}
					response := answer.Result()
					response.Request = r
					return response
				}))
				began := time.Now()
				rows, err := read(s, t.Context())
				if took := time.Since(began); err != nil || len(rows) != pages || took > c.within || refused > c.refused {
					t.Errorf("got %d rows and %v in %v, with %d refusals; want %d within %v and %d at most", len(rows), err, took, refused, pages, c.within, c.refused)
				}
			})
		})
	}
}

// TestProbe: what will not pass by itself is said before the run, and a page that was
// fetched is not asked for again.
func TestProbe(t *testing.T) {
	t.Parallel()
	a := serve(t, 4)
	for fault, wanted := range map[int]bool{200: false, 401: true, 404: true, 429: false, 500: false, 503: false} {
		a.set(func(_ int, w stdhttp.ResponseWriter, _ *stdhttp.Request) bool {
			w.WriteHeader(fault)
			return fault != 200
		})
		if err := newSource(t, http.Config{URL: a.url + "/link"}).Probe(t.Context()); (err != nil) != wanted {
			t.Errorf("%d: got %v, want an error: %v", fault, err, wanted)
		}
	}
	a.set(nil)
	if err := newSource(t, http.Config{URL: a.url + "/cursor", Rows: "item"}).Probe(t.Context()); err == nil {
		t.Error("a wrong path is not found")
	}
	if err := newSource(t, http.Config{URL: "http://127.0.0.1:1"}).Probe(t.Context()); err == nil {
		t.Error("it is not found that nobody is there")
	}
	before := len(a.asked())
	s := newSource(t, http.Config{URL: a.url + "/link"})
	if err := s.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	if rows, err := read(s, t.Context()); err != nil || len(rows) != 4 || len(a.asked())-before != 2 {
		t.Errorf("got %v, %v with %d requests, want 4 rows with 2", rows, err, len(a.asked())-before)
	}
}

// TestACircle: a server that leads in a circle is noticed, however long that is.
func TestACircle(t *testing.T) {
	t.Parallel()
	a := serve(t, 0)
	a.set(func(_ int, w stdhttp.ResponseWriter, r *stdhttp.Request) bool {
		var at int
		_, _ = fmt.Sscan(r.URL.Query().Get("c"), &at)
		_, _ = fmt.Fprintf(w, `{"items":[{"i":%d}],"next":%d}`, at, (at+1)%37)
		return true
	})
	_, err := read(newSource(t, http.Config{URL: a.url, Rows: "items", Paging: http.Paging{Kind: "cursor", Next: "next", Param: "c"}}), t.Context())
	if err == nil || !strings.Contains(err.Error(), "read before") || len(a.asked()) > 150 {
		t.Errorf("got %v after %d pages, want an error soon", err, len(a.asked()))
	}
}

// TestThePathOfTheCursorIsMissed: it may be a mistake, and is said.
func TestThePathOfTheCursorIsMissed(t *testing.T) {
	t.Parallel()
	a := serve(t, 0)
	a.set(func(_ int, w stdhttp.ResponseWriter, _ *stdhttp.Request) bool {
		_, _ = io.WriteString(w, `{"items":[{"i":1}],"follows":7}`)
		return true
	})
	var log bytes.Buffer
	s, err := http.New(http.Config{URL: a.url, Rows: "items", Paging: http.Paging{Kind: "cursor", Next: "next", Param: "c"}},
		pipeline.Env{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if rows, err := read(s, t.Context()); err != nil || len(rows) != 1 || !strings.Contains(log.String(), "items, follows") {
		t.Errorf("got %v, %v and the log %q, want a row and a warning", rows, err, log.String())
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	minus := -1
	err := http.Config{
		URL: "ftp://x?token=hunter2", Rows: "a..b", MaxPage: -1, Hosts: []string{"https://x", "y/z", "ok:80"},
		Headers: map[string]pipeline.Secret{"a b": "hunter2", "c": "hunter2\nx: y"},
		Paging:  http.Paging{Kind: "cursor", More: ".", Start: &minus, Size: -1, SizeParam: "s", MaxPages: -1},
	}.Validate()
	for _, want := range []string{
		"url: ", "rows: ", "max_page: ", "hosts[0]: ", "hosts[1]: ", `"a b"`, "headers.c: ", "paging.next: ", "paging.param: ", "paging.more: ", "paging.start: ",
		"paging.size: ", "paging.size_param: ", "paging.max_pages: ",
	} {
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("got %v, want %q and no secret", err, want)
		}
	}
	var problems pipeline.Problems
	if err := (http.Config{URL: "http://x", Paging: http.Paging{Kind: "none", Next: "a", MaxPages: 1}}).Validate(); !errors.As(err, &problems) || len(problems) != 2 {
		t.Errorf("got %v, want two keys that mean nothing", err)
	}
	if err := (http.Config{URL: "http://x", Paging: http.Paging{Kind: "page", SizeParam: "limit"}}).Validate(); err == nil || !strings.Contains(err.Error(), "paging.size_param") {
		t.Errorf("got %v, want a size", err)
	}
}
