package http_test

import (
	"context"
	"fmt"
	"io"
	stdhttp "net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/rowmill/rowmill/internal/doomed"
	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/pipelinetest"
	"github.com/rowmill/rowmill/sources/http"
)

func TestMain(m *testing.M) {
	doomed.Main(doomed.Options{})
	goleak.VerifyTestMain(m)
}

// api serves rows in pages of three unless `size` asks for another number, whichever way it
// is asked for them: /link (header), /body (address in the body), /cursor, /page, /offset.
type api struct {
	url string

	mu       sync.Mutex
	rows     []string
	requests []*stdhttp.Request
	// before may answer in place of the server.
	before func(n int, w stdhttp.ResponseWriter, r *stdhttp.Request) bool
}

// serve starts a server of so many rows: {"i":0}, {"i":1}, …
func serve(t *testing.T, rows int) *api {
	t.Helper()
	a := &api{}
	for i := range rows {
		a.rows = append(a.rows, fmt.Sprintf(`{"i":%d}`, i))
	}
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	a.url = server.URL
	return a
}

// set changes what is served.
func (a *api) set(before func(n int, w stdhttp.ResponseWriter, r *stdhttp.Request) bool, rows ...string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.before = before
	if rows != nil {
		a.rows = rows
	}
}

// asked returns what was asked for so far: paths and queries.
func (a *api) asked() (all []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range a.requests {
		all = append(all, r.URL.RequestURI())
	}
	return all
}

func (a *api) ServeHTTP(w stdhttp.ResponseWriter, r *stdhttp.Request) {
	a.mu.Lock()
	a.requests = append(a.requests, r)
	n, before, rows := len(a.requests), a.before, a.rows
	a.mu.Unlock()
	if before != nil && before(n, w, r) {
		return
	}
	number := func(name string, otherwise int) int {
		if n, err := strconv.Atoi(r.URL.Query().Get(name)); err == nil {
			return n
		}
		return otherwise
	}
	size := min(number("size", 3), 5) // it gives five at most
	from := number("offset", number("after", -1)+1)
	switch r.URL.Path {
	case "/page":
		from = (number("page", number("p", 1)) - 1) * size
	case "/page0":
		from = number("page", 0) * size
	}
	from = min(from, len(rows))
	to := min(from+size, len(rows))
	list := "[" + strings.Join(rows[from:to], ",") + "]"
	query := r.URL.Query()
	query.Set("offset", strconv.Itoa(to))
	next := `"` + r.URL.Path + "?" + query.Encode() + `"`
	if to == len(rows) {
		next = "null"
	}
	switch r.URL.Path {
	case "/link":
		if next != "null" {
			w.Header().Add("Link", `</link>; rel="first", <`+strings.Trim(next, `"`)+`>; title="a, b"; rel="last next"`)
		}
		_, _ = io.WriteString(w, list)
	case "/body":
		_, _ = fmt.Fprintf(w, `{"paging": {"next": %s}, "data": {"items": %s}}`, next, list)
	case "/cursor":
		if next != "null" {
			next = strconv.Itoa(to)
		}
		_, _ = fmt.Fprintf(w, `{"items": %s, "next": %s, "more": %v}`, list, next, next != "null")
	case "/page", "/page0", "/offset":
		_, _ = fmt.Fprintf(w, `{"items": %s}`, list)
	default:
		stdhttp.NotFound(w, r)
	}
}

// kinds are configurations that read the same rows.
func kinds(base string) map[string]http.Config {
	return map[string]http.Config{
		"auto":   {URL: base + "/link"},
		"link":   {URL: base + "/link?token=hunter2hunter", Paging: http.Paging{Kind: "link"}},
		"body":   {URL: base + "/body", Rows: "data.items", Paging: http.Paging{Kind: "link", Next: "/paging/next"}},
		"cursor": {URL: base + "/cursor?a=b", Rows: "items", Paging: http.Paging{Kind: "cursor", Next: "next", Param: "offset"}},
		"more":   {URL: base + "/cursor", Rows: "items", Paging: http.Paging{Kind: "cursor", Next: "next", Param: "offset", More: "more"}},
		"page":   {URL: base + "/page", Rows: "items", Paging: http.Paging{Kind: "page"}},
		"sized":  {URL: base + "/page", Rows: "items", Paging: http.Paging{Kind: "page", Size: 4, SizeParam: "size"}},
		"offset": {URL: base + "/offset", Rows: "items", Paging: http.Paging{Kind: "offset"}},
		"capped": {URL: base + "/offset", Rows: "items", Paging: http.Paging{Kind: "offset", Size: 100, SizeParam: "size"}},
	}
}

func newSource(t *testing.T, c http.Config) *http.Source {
	t.Helper()
	s, err := http.New(c, pipeline.Env{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestHTTPConformance(t *testing.T) {
	t.Parallel()
	for name := range kinds("") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := serve(t, 0)
			a.set(nil, `{"i": 1.50}`, `"a text"`, `{"i":12345678901234567890}`, `{"a":"é\n"}`, `{}`, "{\"a\":\"\xff\"}", `{"i": 7}`)
			want := []string{`{"i": 1.50}`, `{"i":12345678901234567890}`, `{"a":"é\n"}`, `{}`, `{"i": 7}`}
			pipelinetest.Source(t, pipelinetest.SourceCase{
				New:  func(t *testing.T) pipeline.Source { return newSource(t, kinds(a.url)[name]) },
				Want: want, Unreadable: 2,
				Idle: func(t *testing.T) pipeline.Source {
					stuck := serve(t, 0)
					stuck.set(func(_ int, _ stdhttp.ResponseWriter, r *stdhttp.Request) bool { <-r.Context().Done(); return true })
					return newSource(t, kinds(stuck.url)[name])
				},
			})
		})
	}
}

// read returns the rows of a source, with the error at the end.
func read(s *http.Source, ctx context.Context) (rows []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, readsWithin)
	defer cancel()
	for r, err := range s.Records(ctx) {
		if r == nil {
			return rows, err
		}
		rows = append(rows, string(r.AppendJSON(nil)))
	}
	if ctx.Err() != nil {
		return rows, fmt.Errorf("the source neither came to its end nor failed within %v, but read %d rows", readsWithin, len(rows))
	}
	return rows, nil
}

// readsWithin is how long a test waits for what takes a moment.
const readsWithin = time.Minute

// TestPages says which pages are asked for.
func TestPages(t *testing.T) {
	t.Parallel()
	zero := 0
	for name, c := range map[string]struct {
		rows   int
		path   string
		paging http.Paging
		want   string
	}{
		"page, an empty one ends":              {7, "/page", http.Paging{Kind: "page"}, "page=1 page=2 page=3 page=4"},
		"page, full to the end":                {6, "/page", http.Paging{Kind: "page", Size: 3}, "page=1 page=2 page=3"},
		"page, a short one ends":               {7, "/page", http.Paging{Kind: "page", Size: 3}, "page=1 page=2 page=3"},
		"page, from nought":                    {4, "/page0", http.Paging{Kind: "page", Start: &zero}, "page=0 page=1 page=2"},
		"page, larger than the server's":       {12, "/page", http.Paging{Kind: "page", Size: 9, SizeParam: "size"}, "page=1&size=9 page=2&size=9 page=3&size=9 page=4&size=9"},
		"page, short at once":                  {2, "/page", http.Paging{Kind: "page", Size: 3}, "page=1 page=2"},
		"page, in a parameter of another name": {2, "/page?x=y&p=7&z", http.Paging{Kind: "page", Param: "p"}, "x=y&p=1&z x=y&p=2&z"},
		"page, bounded":                        {7, "/page", http.Paging{Kind: "page", MaxPages: 2}, "page=1 page=2"},
		"offset":                               {7, "/offset", http.Paging{Kind: "offset"}, "offset=0 offset=3 offset=6 offset=7"},
		"offset, larger than the server's":     {7, "/offset?size=x", http.Paging{Kind: "offset", Size: 9, SizeParam: "size"}, "size=9&offset=0 size=9&offset=5 size=9&offset=7"},
		"cursor":                               {7, "/cursor", http.Paging{Kind: "cursor", Next: "next", Param: "offset"}, " offset=3 offset=6"},
		"cursor, bounded":                      {7, "/cursor", http.Paging{Kind: "cursor", Next: "next", Param: "offset", MaxPages: 1}, ""},
		"the last row is the cursor":           {7, "/cursor", http.Paging{Kind: "cursor", Next: "items.-1.i", Param: "after"}, " after=2 after=5 after=6"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := serve(t, c.rows)
			rows, err := read(newSource(t, http.Config{URL: a.url + c.path, Rows: "items", Paging: c.paging}), t.Context())
			var got []string
			for _, uri := range a.asked() {
				_, query, _ := strings.Cut(uri, "?")
				got = append(got, query)
			}
			if err != nil || len(rows) != c.rows && c.paging.MaxPages == 0 {
				t.Errorf("got %d rows, %v; want %d", len(rows), err, c.rows)
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("got %q, want %q", strings.Join(got, " "), c.want)
			}
		})
	}
}
