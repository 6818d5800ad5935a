package http

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/rowmill/rowmill/internal/codec"
	"github.com/rowmill/rowmill/internal/exchange"
	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/policy"
)

// page is an answer.
type page struct {
	at   place
	from *url.URL // of the request that brought it, behind redirects
	link string   // of its header Link
	body []byte   // valid JSON; nil for no content
	rows jsontext.Value
	size int // rows
}

// where names a page in messages.
func (s *Source) where(p place) string {
	return exchange.Address(s.base) + ", " + s.text(p)
}

// fetch asks for a page, under the policies.
func (s *Source) fetch(ctx context.Context, at place) (*page, error) {
	ctx, _ = s.policy.Begin(ctx)
	return policy.Turn(ctx, policy.Ask{}, func(ctx context.Context, _ *policy.Attempt) (*page, error) {
		return s.get(ctx, at)
	})
}

// get asks for a page once.
func (s *Source) get(ctx context.Context, at place) (*page, error) {
	u, err := s.address(at)
	if err != nil {
		return nil, err
	}
	response, err := s.follow(ctx, at, u)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	p := &page{at: at, from: response.Request.URL, link: nextLink(response.Header.Values("Link"))}
	switch {
	case response.StatusCode == http.StatusNoContent:
		return p, nil
	case response.StatusCode/100 != 2:
		said, err := io.ReadAll(io.LimitReader(response.Body, exchange.MostSaid))
		if err != nil {
			return nil, exchange.Lost(s.where(at), err)
		}
		return nil, s.refused(at, response, string(said))
	}
	if p.body, err = s.body(response); err != nil {
		return nil, s.failed(at, err)
	}
	if err := s.parsePage(p, response.Header.Get("Content-Type")); err != nil {
		return nil, s.failed(at, err)
	}
	return p, nil
}

// mostRedirects is how many redirects are followed, as many as by net/http.
const mostRedirects = 10

// follow makes a request, and those to which redirects lead. Headers go where the address
// of a page leads, and not where a redirect leads away from there.
func (s *Source) follow(ctx context.Context, at place, u *url.URL) (*http.Response, error) {
	first := u
	for range mostRedirects {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
		if err != nil {
			return nil, pipeline.Fatal("next", fmt.Errorf("%s: its address cannot be asked", s.where(at)))
		}
		request.Header.Set("Accept", "application/json")
		if hostOf(u) == hostOf(first) {
			s.introduce(request)
		}
		response, err := s.client.Do(request)
		if err != nil {
			return nil, exchange.Lost(s.where(at), err)
		}
		to := response.Header.Get("Location")
		if response.StatusCode/100 != 3 || to == "" {
			return response, nil
		}
		_ = response.Body.Close()
		if u, err = s.lead(u, to); err != nil {
			return nil, s.failed(at, fmt.Errorf("redirect: %w", err))
		}
	}
	return nil, pipeline.Fatal("redirects", fmt.Errorf("%s: more than %d redirects", s.where(at), mostRedirects))
}

// introduce adds what tells the server who asks.
func (s *Source) introduce(request *http.Request) {
	if user := s.base.User; user != nil {
		password, _ := user.Password()
		request.SetBasicAuth(user.Username(), password)
	}
	for name, value := range s.config.Headers {
		request.Header.Set(name, value.Reveal())
	}
}

// failed says of which page an error is.
func (s *Source) failed(at place, err error) error {
	class, code := pipeline.Classify(err)
	if class == pipeline.ClassRecord {
		class, code = pipeline.ClassFatal, "page"
	}
	return &pipeline.Error{Class: class, Code: code, Err: fmt.Errorf("%s: %w", s.where(at), err)}
}

// refused says what an answer means that is no page, and what to do about it.
func (s *Source) refused(at place, response *http.Response, said string) error {
	e := exchange.Refused(s.where(at), response, s.secrets.Hide(said))
	e.Answer = ""
	if response.StatusCode == http.StatusForbidden && e.RetryAfter > 0 {
		e.Class = pipeline.ClassRefused // a rate limit, as some servers tell it
	}
	if e.Class != pipeline.ClassRecord {
		return e
	}
	e.Class, e.RetryAfter = pipeline.ClassFatal, 0
	var advice string
	switch status := response.StatusCode; {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		advice = "check `headers`: whoever asks may not"
	case at.number > 1 && s.counts():
		advice = "if the server answers so behind its last page, tell that page by `size` or `more`"
	case status == http.StatusNotFound, status == http.StatusGone:
		advice = "check `url`"
	default:
		return e
	}
	e.Err = fmt.Errorf("%w; %s", e.Err, advice)
	return e
}

// body reads an answer, decompressed. net/http has done that where it asked for it; some
// servers compress unasked, and some say nothing of it.
func (s *Source) body(response *http.Response) ([]byte, error) {
	if encoding := response.Header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "gzip") &&
		!strings.EqualFold(encoding, "identity") && !strings.EqualFold(encoding, "zstd") {
		return nil, fmt.Errorf("the answer is compressed with %q, for which nobody has asked", encoding)
	}
	limit := int64(s.config.MaxPage)
	plain := codec.Decompress(&received{r: response.Body}, "", codec.AutoCompression)
	defer func() { _ = plain.Close() }()
	body, err := io.ReadAll(io.LimitReader(plain, limit+1))
	switch {
	case err != nil:
		return nil, err
	case int64(len(body)) > limit:
		return nil, fmt.Errorf("the page is larger than `max_page` (%s); ask for fewer rows in one, or raise that", s.config.MaxPage)
	}
	return body, nil
}

// received has errors of the connection pass for what they are.
type received struct{ r io.Reader }

// Read reads on.
func (r *received) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		class, code := pipeline.Classify(err)
		if class == pipeline.ClassRecord {
			class, code = pipeline.ClassTransient, "network"
		}
		err = &pipeline.Error{Class: class, Code: code, Err: fmt.Errorf("the answer is cut short: %w", err)}
	}
	return n, err
}

// parsePage finds the rows of a page.
func (s *Source) parsePage(p *page, contentType string) error {
	p.body = bytes.TrimPrefix(p.body, []byte("\xef\xbb\xbf"))
	if err := validate(p.body); err != nil {
		return s.noJSON(p.body, contentType, err)
	}
	rows, ok := s.rows.find(p.body)
	switch {
	case !ok:
		return pipeline.Fatal("rows", fmt.Errorf("there is no `%s` in the answer; %s", s.config.Rows, hint(p.body)))
	case len(s.rows) > 0 && rows.Kind() == 'n':
		return nil
	case rows.Kind() == '[':
		p.rows, p.size = rows, count(rows)
		return nil
	case len(s.rows) > 0:
		return pipeline.Fatal("rows", fmt.Errorf("`%s` in the answer is %s and no list of rows; %s", s.config.Rows, describe(rows), hint(p.body)))
	default:
		return pipeline.Fatal("rows", fmt.Errorf("the answer is %s and no list; say with `rows` where the list of rows is; %s", describe(rows), hint(p.body)))
	}
}

// hint says what is in an answer.
func hint(body []byte) string {
	v := jsontext.Value(bytes.TrimSpace(body))
	if v.Kind() != '{' {
		return "it is " + describe(v)
	}
	if all := lists(v, "", deepest); len(all) > 0 {
		return "it holds " + strings.Join(all, ", ")
	}
	return "it holds no list, but " + names(v)
}

// noJSON says what came in place of JSON.
func (s *Source) noJSON(body []byte, contentType string, err error) error {
	kind, _, _ := mime.ParseMediaType(contentType)
	begin := s.secrets.Hide(exchange.FirstWords(string(body[:min(len(body), 200)])))
	head := strings.ToLower(string(bytes.TrimSpace(body[:min(len(body), 64)])))
	said := "without a Content-Type"
	if kind != "" {
		said = "of type " + kind
	}
	switch {
	case len(bytes.TrimSpace(body)) == 0:
		return pipeline.Fatal("not_json", fmt.Errorf("the answer is empty, %s, and no JSON", said))
	case kind == "text/html", strings.HasPrefix(head, "<!doctype html"), strings.HasPrefix(head, "<html"):
		return pipeline.Fatal("not_json", fmt.Errorf("the answer is a page for people (HTML), and no JSON: is url that of the API, and does it want a key? It begins with %q", begin))
	case bytes.HasPrefix(body, []byte("\xff\xfe")), bytes.HasPrefix(body, []byte("\xfe\xff")):
		return pipeline.Fatal("not_json", errors.New("the answer is UTF-16, and JSON is UTF-8"))
	case errors.Is(err, io.ErrUnexpectedEOF):
		return pipeline.Transient("cut_short", fmt.Errorf("the answer is cut short, after %d bytes", len(body)))
	default:
		return pipeline.Fatal("not_json", fmt.Errorf("the answer, %s, is no JSON: %w; it begins with %q", said, err, begin))
	}
}
