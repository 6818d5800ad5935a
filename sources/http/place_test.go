package http_test

import (
	"encoding/json"
	"fmt"
	stdhttp "net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/sources/http"
)

func TestNextLink(t *testing.T) {
	t.Parallel()
	for field, want := range map[string]string{
		`<https://x/y?a=1,2;3>; rel="next"`:            "https://x/y?a=1,2;3",
		`</a>; rel=prev, </b>; rel=next`:               "/b",
		`</a>;rel="last NEXT"`:                         "/a",
		`< /a >; title="x, \"y\"; rel=next"; Rel=next`: "/a",
		`</a>; rel=prev; rel=next`:                     "",
		`</a>; rel="nextish"`:                          "",
		`</a>; title="rel=next"`:                       "",
		`</a>; crossorigin; rel=next`:                  "/a",
		`</a>; title=", </b>; rel=next"`:               "",
		`</a>; rel = "next" , </b>`:                    "/a",
		`</a`:                                          "",
		`</a>; rel="next`:                              "/a",
		``:                                             "",
		`;,<`:                                          "",
	} {
		if got := http.NextLink([]string{`</c>; rel="first"`, field}); got != want {
			t.Errorf("%s: got %q, want %q", field, got, want)
		}
	}
}

func FuzzNextLink(f *testing.F) {
	f.Add(`</a>; title="x, \"y\"; rel=next"; Rel=next, <b>`)
	f.Add(`</a>;;=";,rel=next`)
	f.Fuzz(func(t *testing.T, field string) {
		if got := http.NextLink([]string{field}); got != "" && !strings.Contains(field, got) {
			t.Errorf("%q: got %q, which is not in it", field, got)
		}
	})
}

func TestPath(t *testing.T) {
	t.Parallel()
	const text = ` {"a": {"b": [1, {"c": "x"}], "": 2, "d.e": 3, "f/~": 4, "b": 5}, "n": 12345678901234567890.10 } `
	for at, want := range map[string]string{
		"a.b.0": "1", "a.b.1.c": `"x"`, "a.b.-1.c": `"x"`, "a.b.-2": "1", "n": "12345678901234567890.10",
		"/a/": "2", "/a/d.e": "3", "/a/f~1~0": "4", "": strings.TrimSpace(text),
		"a.b.2": "", "a.b.-3": "", "a.b.x": "", "a.x": "", "n.x": "", "x.y": "",
	} {
		if got, ok, err := http.FindIn([]byte(text), at); err != nil || got != want || ok != (want != "") {
			t.Errorf("%q: got %q, %v, %v; want %q", at, got, ok, err, want)
		}
	}
	for _, at := range []string{".", "a.", "a..b"} {
		if _, _, err := http.FindIn(nil, at); err == nil {
			t.Errorf("%q: got no error", at)
		}
	}
}

func FuzzPath(f *testing.F) {
	f.Add([]byte(`{"a":{"b":[1,{"c":"x"}]}}`), "a.b.-1.c")
	f.Add([]byte(`[[],{"\u0061":"\xff"}]`), "/1/a")
	f.Fuzz(func(t *testing.T, text []byte, at string) {
		if !http.Valid(text) {
			return
		}
		got, ok, err := http.FindIn(text, at)
		if err == nil && ok && !http.Valid([]byte(got)) {
			t.Errorf("%q in %q: got %q, which is no JSON", at, text, got)
		}
	})
}

func TestParam(t *testing.T) {
	t.Parallel()
	for query, want := range map[string]string{
		"": "p=1%262", "a=%2f&p=9&b": "a=%2f&p=1%262&b", "p&p=3&a": "p=1%262&a", "&&a=%zz": "a=%zz&p=1%262", "%70=3": "p=1%262",
	} {
		if got := http.WithParam(query, "p", "1&2"); got != want {
			t.Errorf("%q: got %q, want %q", query, got, want)
		}
	}
}

// TestSecretsAreInNoPlace: what the configuration holds is in none of the places that stand
// in dead letters, checkpoints and messages, though the server writes it into its links.
func TestSecretsAreInNoPlace(t *testing.T) {
	t.Parallel()
	s := newSource(t, http.Config{
		URL: "https://me:password1@x.example/v1?api_key=hunter2%2Fhunter&n=5", Hosts: []string{"y.example"},
		Headers: map[string]pipeline.Secret{"Authorization": "Bearer opensesame"},
	})
	for address, want := range map[string]string{
		"https://x.example/v1?api_key=hunter2%2Fhunter&page=2":  "/v1?api_key=***&page=2",
		"https://x.example/v1?api_key=hunter2/hunter&page=2":    "/v1?api_key=***&page=2",
		"https://x.example/v2?page=2&access_token=opensesame&n": "/v2?page=2&access_token=***Authorization&n",
		"https://y.example/v1?n=6&n=5&x=***":                    "https://y.example/v1?n=6&n=***&x=%2A**",
		"https://x.example?page=2":                              "/?page=2",
		"https://x.example/a%2Fb%3Fc":                           "/a%2Fb%3Fc",
	} {
		hidden, shown, err := s.HideAndShow(address)
		if err != nil || hidden != want {
			t.Errorf("%s: got %s, %v; want %s", address, hidden, err, want)
		}
		if was, is := parsed(t, address), parsed(t, shown); was != is {
			t.Errorf("%s: came back as %s", was, is)
		}
	}
	for _, gone := range []string{"/v1?other=***", "/v1?a=***X-Key"} {
		if err := s.Seek(t.Context(), pipeline.Origin{Path: "page 2, " + gone, Line: 1}); err == nil || !strings.Contains(err.Error(), "--fresh") {
			t.Errorf("%s: got %v, want an error: what was blanked is gone", gone, err)
		}
	}
}

// TestATokenInThePathIsInNoPlace is about one that stands in the path of url.
func TestATokenInThePathIsInNoPlace(t *testing.T) {
	t.Parallel()
	s := newSource(t, http.Config{URL: "https://x.example/api/T0K3N/rows", Hosts: []string{"y.example"}})
	for address, want := range map[string]string{
		"https://x.example/api/T0K3N/rows?page=2": "/api/***/rows?page=2",
		"https://x.example/api/T0K3N":             "/api/***",
		"https://y.example/api/T0K3N/":            "https://y.example/api/***/",
		"https://x.example/api/7/T0K3N":           "/api/7/T0K3N", // theirs: it stands elsewhere
		"https://x.example/***/***/x":             "/%2A**/%2A**/x",
	} {
		hidden, shown, err := s.HideAndShow(address)
		if err != nil || hidden != want {
			t.Errorf("%s: got %s, %v; want %s", address, hidden, err, want)
		}
		if shown = strings.ReplaceAll(shown, "%2A", "*"); shown != address {
			t.Errorf("%s: came back as %s", address, shown)
		}
	}
	if err := s.Seek(t.Context(), pipeline.Origin{Path: "page 2, /a/b/c/***", Line: 1}); err == nil || !strings.Contains(err.Error(), "--fresh") {
		t.Errorf("got %v, want an error: what was blanked is gone", err)
	}
}

// parsed is an address with its query decoded.
func parsed(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(u.Scheme+"://"+u.Host+u.EscapedPath(), "/") + fmt.Sprint(u.Query())
}

// TestHeadersStayAtHome: they go to the server of url and to hosts that an answer names, and
// not where a redirect leads.
func TestHeadersStayAtHome(t *testing.T) {
	t.Parallel()
	type told struct{ key, user string }
	var there []told
	elsewhere := httptest.NewServer(stdhttp.HandlerFunc(func(w stdhttp.ResponseWriter, r *stdhttp.Request) {
		user, _, _ := r.BasicAuth()
		there = append(there, told{r.Header.Get("X-Key"), user})
		_, _ = fmt.Fprint(w, `[{"i":1}]`)
	}))
	defer elsewhere.Close()
	host := strings.TrimPrefix(elsewhere.URL, "http://")
	a := serve(t, 0)
	var here []told
	a.set(func(_ int, w stdhttp.ResponseWriter, r *stdhttp.Request) bool {
		user, _, _ := r.BasicAuth()
		here = append(here, told{r.Header.Get("X-Key"), user})
		switch r.URL.Path {
		case "/redirect":
			stdhttp.Redirect(w, r, elsewhere.URL, stdhttp.StatusFound)
		case "/home":
			stdhttp.Redirect(w, r, "/there", stdhttp.StatusPermanentRedirect)
		default:
			w.Header().Set("Link", "<"+elsewhere.URL+">; rel=next")
			_, _ = fmt.Fprint(w, `[{"i":0}]`)
		}
		return true
	})
	base := strings.Replace(a.url, "http://", "http://me:password1@", 1)
	for path, want := range map[string]struct {
		rows        int
		here, there []told
	}{
		"/redirect": {1, []told{{"opensesame", "me"}}, []told{{}}},
		"/link":     {2, []told{{"opensesame", "me"}}, []told{{"opensesame", "me"}}},
		"/home":     {2, []told{{"opensesame", "me"}, {"opensesame", "me"}}, []told{{"opensesame", "me"}}},
	} {
		here, there = nil, nil
		rows, err := read(newSource(t, http.Config{
			URL: base + path, Hosts: []string{host}, Headers: map[string]pipeline.Secret{"X-Key": "opensesame"},
		}), t.Context())
		if err != nil || len(rows) != want.rows || fmt.Sprint(here, there) != fmt.Sprint(want.here, want.there) {
			t.Errorf("%s: got %d rows, %v; here %v, there %v; want %+v", path, len(rows), err, here, there, want)
		}
	}
}

// TestSeek: a run that goes on asks for the page of the row again, and is refused where
// what stands in front of that row is not what it was.
func TestSeek(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		rows []string // of the second page, which were {"i":3} {"i":4} {"i":5}
		want string   // in the error
	}{
		"as it was":        {[]string{`{"i":3}`, `{"i":4}`, `{"i":5}`}, ""},
		"changed behind":   {[]string{`{"i":3}`, `{"i":4}`, `{"i":"five"}`}, ""},
		"one in front":     {[]string{`{"i":2.5}`, `{"i":3}`, `{"i":4}`}, "10 bytes stand in front of row 2, and were 8"},
		"changed in front": {[]string{`{"i":33}`, `{"i":4}`, `{"i":5}`}, "9 bytes stand in front of row 2, and were 8"},
		"fewer":            {[]string{`{"i":3}`}, "it has 1 rows, and had 2"},
		"none":             {[]string{}, "it has 0 rows"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := serve(t, 9)
			var at pipeline.Origin
			config := http.Config{URL: a.url + "/body?token=hunter2", Rows: "data.items", Paging: http.Paging{Kind: "link", Next: "paging.next"}}
			for r, err := range newSource(t, config).Records(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				if string(r.AppendJSON(nil)) == `{"i":4}` {
					at = r.Origin
				}
			}
			if text, _ := json.Marshal(at); !strings.Contains(string(text), `"page 2, /body?offset=3\u0026token=***"`) || strings.Contains(string(text), "hunter2") {
				t.Errorf("the row stood at %s", text)
			}
			a.set(nil, append([]string{`{"i":0}`, `{"i":1}`, `{"i":2}`}, c.rows...)...)
			before := len(a.asked())
			s := newSource(t, config)
			if err := s.Seek(t.Context(), at); err != nil {
				t.Fatal(err)
			}
			rows, err := read(s, t.Context())
			if asked := a.asked()[before:]; len(asked) != 1 || asked[0] != "/body?offset=3&token=hunter2" {
				t.Errorf("asked for %v, want the second page alone", asked)
			}
			if c.want == "" {
				if err != nil || len(rows) != 2 || rows[0] != `{"i":4}` {
					t.Errorf("got %v, %v; want the rows from {\"i\":4} on", rows, err)
				}
			} else if err == nil || len(rows) > 0 || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "--fresh") {
				t.Errorf("got %v, %v; want none and an error that says %q", rows, err, c.want)
			}
		})
	}
	for _, path := range []string{"", "file.jsonl", "page 0", "page 2, other=3"} {
		if err := newSource(t, http.Config{URL: "http://x", Paging: http.Paging{Kind: "page"}}).Seek(t.Context(), pipeline.Origin{Path: path, Line: 1}); err == nil {
			t.Errorf("%q: got no error", path)
		}
	}
}
