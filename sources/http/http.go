// Package http is the source `http`: the rows of a JSON API, page by page. It needs nothing
// but net/http. See package pipeline for the words.
package http

import (
	"context"
	_ "embed"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rowmill/rowmill/internal/exchange"
	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/policy"
)

//go:embed http.go
var code string

// Spec describes the source `http`.
func Spec() pipeline.Spec {
	return pipeline.SourceSpec(pipeline.Spec{
		Name:    "http",
		Summary: "reads the rows of a JSON API, page by page",
		Code:    code,
		Example: "http: {url: 'https://api.example.com/v1/tickets?status=open', headers: {Authorization: 'Bearer ${TOKEN}'}, rows: data, paging: {kind: cursor, next: meta.next_cursor, param: cursor}}",
	}, Default, func(c Config, env pipeline.Env) (pipeline.Source, error) {
		s, err := New(c, env)
		if err != nil {
			return nil, err
		}
		return s, nil
	})
}

// Config is the configuration of the source "http". A zero field means its default.
type Config struct {
	// URL is the address of the first page, with all parameters that each request has. Messages
	// show its server and, of its path, what are plain words or versions (`/v1/rows`); for
	// anything else, which may be a token, and for the values of its parameters, they say ***. A page that cannot be had is asked for again: after 429,
	// 5xx, an answer that was cut short or was late, six times at most, not before
	// Retry-After; 429 is no failure, and is waited out. Any other answer but 2xx ends the run,
	// and it goes on when it is run again: with the page in which the first row stood that
	// has not ended. If rows in front of that one were added or taken away meanwhile it
	// is refused; what changes in pages behind it is not noticed.
	URL string `yaml:"url" rowmill:"required"`
	// Headers are those of each request. They appear in no message, and may be others when a
	// run goes on; take what is secret from the environment: ${TOKEN}. They are sent to the
	// server of url, and where a next page is, to `hosts`; never where a redirect leads
	// elsewhere. Defaults to Accept: application/json.
	Headers map[string]pipeline.Secret `yaml:"headers"`
	// Rows is where the list of rows stands in an answer: `data.items`, or a JSON Pointer like
	// `/data/items`. A page without it ends the run; null is an empty list, and an element
	// that is no object becomes a dead letter. Defaults to the answer itself, which is a
	// list then.
	Rows string `yaml:"rows"`
	// Paging is how the pages follow each other.
	Paging Paging `yaml:"paging"`
	// Hosts are the other servers, as `name` or `name:port`, to which the address of a next
	// page or a redirect may lead; any other ends the run. Defaults to none.
	Hosts []string `yaml:"hosts" rowmill:"tuning"`
	// Timeout is how long a page may take. Defaults to 1m.
	Timeout pipeline.Duration `yaml:"timeout" rowmill:"tuning"`
	// MaxPage is the largest page, which is held in memory as a whole. A larger one ends the
	// run. Defaults to 64MiB.
	MaxPage pipeline.Size `yaml:"max_page" rowmill:"tuning"`
	// RateLimit says how much may be asked for in a minute.
	RateLimit RateLimit `yaml:"rate_limit" rowmill:"tuning"`
}

// Paging says how the pages follow each other. A page that is asked for a second time in a
// row, or comes a second time, ends the run.
type Paging struct {
	// Kind is what the next page is found by. `link`: an address in the answer, at `next`, or
	// without that in its header Link (rel=next). `cursor`: a value in the answer, at `next`,
	// which goes into the parameter `param`. `page` and `offset`: a number in `param`, that of
	// the page, or that of the rows in front of it; an empty page is the last, and
	// one of fewer than `size` rows behind one of so many. `none`: there is one page. `auto` goes
	// by the header Link, and refuses an answer without it that looks as if there were
	// more pages. Defaults to auto.
	Kind string `yaml:"kind" rowmill:"oneof=auto|link|cursor|page|offset|none"`
	// Next is the path, as of `rows`, of the address or the cursor of the next page; `-1` in it is
	// the last of a list, as in `data.-1.id`. Where there is none, or it is null, false or
	// empty, the page is the last. Required for cursor. Defaults to none.
	Next string `yaml:"next"`
	// Param is the parameter that says which page is wanted. Required for cursor. Defaults to
	// page and offset, for those.
	Param string `yaml:"param"`
	// Start is the number of the first page, or the offset of the first row. Defaults to 1 for
	// page and 0 for offset.
	Start *int `yaml:"start" rowmill:"min=0"`
	// Size is how many rows a full page has, for page and offset: with it no empty page has to
	// be asked for at the end. Defaults to not known.
	Size int `yaml:"size" rowmill:"min=1"`
	// SizeParam is the parameter in which `size` is sent. Defaults to none.
	SizeParam string `yaml:"size_param"`
	// More is the path of a value in the answer that is false on the last page, as in
	// `has_more`; an answer without it ends the run. Defaults to none.
	More string `yaml:"more"`
	// MaxPages ends the reading behind so many pages, whatever follows. Defaults to all pages.
	MaxPages int64 `yaml:"max_pages" rowmill:"min=1"`
}

// RateLimit says how much may be asked for in a minute.
type RateLimit struct {
	// RequestsPerMinute is a number; auto, which finds by what the server refuses how far
	// apart requests have to be; or off. Defaults to auto.
	RequestsPerMinute policy.Rate `yaml:"requests_per_minute" rowmill:"tuning"`
}

// The kinds of paging.
const (
	byAuto   = "auto"
	byLink   = "link"
	byCursor = "cursor"
	byPage   = "page"
	byOffset = "offset"
	onePage  = "none"
)

// Default returns a config with every default in its place.
func Default() Config {
	return Config{Paging: Paging{Kind: byAuto}, Timeout: pipeline.Duration(time.Minute), MaxPage: 64 << 20}
}

// Validate reports all that is wrong with the configuration by itself.
func (c Config) Validate() error {
	var problems pipeline.Problems
	exchange.CheckURL(&problems, c.URL, "https://api.example.com/v1/rows")
	exchange.CheckHeaders(&problems, c.Headers)
	for key, text := range map[string]string{"rows": c.Rows, "paging.next": c.Paging.Next, "paging.more": c.Paging.More} {
		if _, err := parsePath(text); err != nil {
			problems = append(problems, pipeline.Problem{Key: key, Err: err})
		}
	}
	for i, host := range c.Hosts {
		if u, err := url.Parse("https://" + host); err != nil || u.Host != host || host == "" {
			problems.Addf(fmt.Sprintf("hosts[%d]", i), "%q is no name of a server; write it without https:// and without a path", host)
		}
	}
	if c.MaxPage < 0 {
		problems.Addf("max_page", "a page cannot be smaller than nothing")
	}
	c.Paging.validate(&problems)
	return problems.Err()
}

// validate notes keys that the kind needs, and those that have no meaning with it.
func (p Paging) validate(problems *pipeline.Problems) {
	kind := p.kind()
	counts := kind == byPage || kind == byOffset
	for _, k := range []struct {
		name  string
		given bool
		of    []string
	}{
		{"next", p.Next != "", []string{byLink, byCursor}},
		{"param", p.Param != "", []string{byCursor, byPage, byOffset}},
		{"start", p.Start != nil, []string{byPage, byOffset}},
		{"size", p.Size != 0, []string{byPage, byOffset}},
		{"size_param", p.SizeParam != "", []string{byPage, byOffset}},
		{"more", p.More != "", []string{byLink, byCursor, byPage, byOffset}},
		{"max_pages", p.MaxPages != 0, []string{byAuto, byLink, byCursor, byPage, byOffset}},
	} {
		if k.given && !slices.Contains(k.of, kind) {
			problems.Addf("paging."+k.name, "is for the kind %s, and this is %s", strings.Join(k.of, ", "), kind)
		}
	}
	if kind == byCursor && p.Next == "" {
		problems.Addf("paging.next", "say where the cursor stands in an answer, like meta.next_cursor")
	}
	if kind == byCursor && p.Param == "" {
		problems.Addf("paging.param", "say in which parameter the cursor is sent, like cursor")
	}
	if counts && p.SizeParam != "" && p.Size == 0 {
		problems.Addf("paging.size_param", "say with `size` what is sent in it")
	}
	if p.Size < 0 {
		problems.Addf("paging.size", "a page has one row at least")
	}
	if p.MaxPages < 0 {
		problems.Addf("paging.max_pages", "one page is read at least")
	}
	if p.Start != nil && *p.Start < 0 {
		problems.Addf("paging.start", "is 0 at least")
	}
}

// kind is the kind that is meant.
func (p Paging) kind() string {
	if p.Kind == "" {
		return byAuto
	}
	return p.Kind
}

// Source is the source `http`.
type Source struct {
	config           Config
	base             *url.URL
	rows, next, more path
	hosts            map[string]bool
	secrets          secrets
	client           *http.Client
	policy           *policy.Stage
	log              *slog.Logger

	seek   *pipeline.Origin // of the row to begin with; nil for the first
	probed *page            // the first page, that Probe has read; nil if there is none

	done atomic.Int64 // rows
}

var (
	_ pipeline.Source     = (*Source)(nil)
	_ pipeline.Identifier = (*Source)(nil)
	_ pipeline.Seeker     = (*Source)(nil)
	_ pipeline.Prober     = (*Source)(nil)
	_ pipeline.Meter      = (*Source)(nil)
	_ pipeline.Closer     = (*Source)(nil)
)

// New returns the source. It asks nobody yet. The error is [pipeline.Problems].
func New(c Config, env pipeline.Env) (*Source, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	d := Default()
	if c.Timeout == 0 {
		c.Timeout = d.Timeout
	}
	if c.MaxPage == 0 {
		c.MaxPage = d.MaxPage
	}
	s := &Source{config: c, client: exchange.NewClient(), log: env.Log(), hosts: map[string]bool{}}
	s.base, _ = url.Parse(c.URL) // Validate has read it, and the paths
	s.base.Fragment = ""
	s.rows, _ = parsePath(c.Rows)
	s.next, _ = parsePath(c.Paging.Next)
	s.more, _ = parsePath(c.Paging.More)
	for _, host := range c.Hosts {
		s.hosts[host] = true
	}
	s.secrets = newSecrets(s.base, c.Headers)
	options := policy.Defaults(pipeline.StepOptions{Name: "source", Parallelism: 1, Timeout: time.Duration(c.Timeout)}, pipeline.Waits)
	s.policy = policy.New(policy.Settings{
		StepOptions: options, Logger: env.Logger,
		Limiter: policy.NewSerialLimiter(policy.RateLimit{RequestsPerMinute: c.RateLimit.RequestsPerMinute, TokensPerMinute: policy.Off}),
	})
	return s, nil
}

// kind is the kind of paging, of which auto is a link in a header.
func (s *Source) kind() string {
	if kind := s.config.Paging.kind(); kind != byAuto {
		return kind
	}
	return byLink
}

// counts reports whether pages are asked for by a number.
func (s *Source) counts() bool { return s.kind() == byPage || s.kind() == byOffset }

// param is the parameter that says which page is wanted.
func (s *Source) param() string {
	if s.config.Paging.Param == "" && s.counts() {
		return s.kind()
	}
	return s.config.Paging.Param
}

// start is the number of the first page, or the offset of the first row.
func (s *Source) start() int64 {
	switch {
	case s.config.Paging.Start != nil:
		return int64(*s.config.Paging.Start)
	case s.kind() == byPage:
		return 1
	default:
		return 0
	}
}

// Close closes the connections.
func (s *Source) Close() error {
	s.client.CloseIdleConnections()
	return nil
}

// Progress returns how many rows are read; how many there are is not known.
func (s *Source) Progress() (done, total int64) { return s.done.Load(), 0 }

// Identify says only that pages can be asked for again: what is behind an address is not
// known before it is read.
func (s *Source) Identify(context.Context) (string, error) { return "pages", nil }

// Compare takes what is there for the same. Whether it is turns out when the page is read
// with which a run goes on; see Seek.
func (s *Source) Compare(context.Context, string) (pipeline.Change, error) { return pipeline.Same, nil }

// Seek has the next Records begin with the page in which a row stood, and with that row.
// The rows in front of it, in that page, must take as many bytes as they did.
func (s *Source) Seek(_ context.Context, at pipeline.Origin) error {
	if _, err := s.parse(at.Path); err != nil {
		return pipeline.Fatal("source_changed", err)
	}
	s.seek = &at
	return nil
}

// Probe asks for the first page, once, and looks whether its rows and the next page are
// found. What may pass by itself is left to the run.
func (s *Source) Probe(ctx context.Context) error {
	p, err := s.get(ctx, s.first())
	if err == nil {
		_, _, err = s.following(p, nil)
	}
	if err == nil {
		s.probed = p
		return nil
	}
	switch class, code := pipeline.Classify(err); {
	case ctx.Err() != nil, class == pipeline.ClassRefused, code == "timeout", code == "cut_short", strings.HasPrefix(code, "http_5"):
		return nil
	default:
		return err
	}
}

// Records reads page after page. A page is asked for when the rows of the one before are
// gone.
func (s *Source) Records(ctx context.Context) iter.Seq2[*pipeline.Record, error] {
	return func(yield func(*pipeline.Record, error) bool) {
		if err := s.readAll(ctx, yield); err != nil && ctx.Err() == nil {
			yield(nil, err)
		}
	}
}
