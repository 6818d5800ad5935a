// Package http is the sink `http`: rows in requests to an address, a batch each. It needs
// nothing but net/http. See package pipeline for the words.
package http

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/rowmill/rowmill/internal/exchange"
	"github.com/rowmill/rowmill/pipeline"
)

//go:embed http.go
var code string

// Spec describes the sink `http`.
func Spec() pipeline.Spec {
	return pipeline.SinkSpec(pipeline.Spec{
		Name:    "http",
		Summary: "posts rows as JSON to an address, a batch in each request",
		Code:    code,
		Example: "http: {url: 'https://api.example.com/v1/labels', headers: {Authorization: 'Bearer ${TOKEN}'}, batch: 50}",
	}, Default, func(c Config, env pipeline.Env) (pipeline.Sink, error) {
		s, err := New(c, env)
		if err != nil {
			return nil, err
		}
		return s, nil
	})
}

// Config is the configuration of the sink "http". A zero field means its default.
type Config struct {
	// Where the rows go. Each request has an Idempotency-Key, which is the same when the request
	// is made again, so that a server that heeds it takes no row twice. After a kill, rows
	// of the last moments are sent again in other requests: they arrive at least once. An
	// answer of 2xx takes the rows of the request. 429 and 5xx have it made again, not before
	// Retry-After; 401, 403, 404, 405 and redirects end the run. After any other the
	// rows are sent in halves, until the ones to blame are found, which are dead letters.
	//
	// Messages show the server and, of the path, what are plain words or versions (`/v1/rows`);
	// for anything else, which may be a token as in the address of a webhook, and for the
	// values of parameters, they say ***.
	URL string `yaml:"url" rowmill:"required"`
	// The method of the requests. Defaults to POST.
	Method string `yaml:"method" rowmill:"oneof=POST|PUT|PATCH"`
	// Headers of each request. They appear in no message; take what is secret from the
	// environment: ${TOKEN}. Defaults to a Content-Type that fits the body.
	Headers map[string]pipeline.Secret `yaml:"headers"`
	// How rows stand in a request: `array` is a JSON list, `jsonl` a line each, `object` a
	// request for every row. With `object` the Idempotency-Key is the row's own: after a kill
	// too it comes again with the same one, so that a server that heeds it takes each row
	// exactly once, as long as it remembers its keys; with the others rows of the
	// last moments may come again among others, under another key. A server that does not
	// heed it gets at least once whatever is sent. Defaults to array.
	Body string `yaml:"body" rowmill:"oneof=array|jsonl|object"`
	// How many rows a request has at most. Defaults to 100.
	Batch int `yaml:"batch" rowmill:"tuning,min=1"`
	// How long a request may take. One that takes longer is made again. Defaults to 1m.
	Timeout pipeline.Duration `yaml:"timeout" rowmill:"tuning"`
}

// The choices of Config.Body.
const (
	array  = "array"
	jsonl  = "jsonl"
	object = "object"
)

// Default returns a config with every default in its place.
func Default() Config {
	return Config{Method: http.MethodPost, Body: array, Batch: 100, Timeout: pipeline.Duration(time.Minute)}
}

// Validate reports all that is wrong with the configuration by itself.
func (c Config) Validate() error {
	var problems pipeline.Problems
	exchange.CheckURL(&problems, c.URL, "https://api.example.com/rows")
	exchange.CheckHeaders(&problems, c.Headers)
	if c.Batch < 0 {
		problems.Addf("batch", "a request has one row at least")
	}
	return problems.Err()
}

// Sink is the sink `http`.
type Sink struct {
	config  Config
	where   string // in messages
	secrets exchange.Secrets
	client  *http.Client
	taken   map[string]bool // requests of a Write that failed later: it is repeated
}

var (
	_ pipeline.Sink      = (*Sink)(nil)
	_ pipeline.Deliverer = (*Sink)(nil)
	_ pipeline.Portioned = (*Sink)(nil)
)

// New makes a Sink. The error is [pipeline.Problems].
func New(c Config, _ pipeline.Env) (*Sink, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	d := Default()
	if c.Method == "" {
		c.Method = d.Method
	}
	if c.Body == "" {
		c.Body = d.Body
	}
	if c.Batch == 0 {
		c.Batch = d.Batch
	}
	if c.Timeout == 0 {
		c.Timeout = d.Timeout
	}
	if c.Body == object {
		c.Batch = 1
	}
	u, err := url.Parse(c.URL)
	if err != nil {
		return nil, pipeline.Problems{{Key: "url", Err: errors.New("is no address")}} // Validate has said so
	}
	client := exchange.NewClient()
	client.Timeout = time.Duration(c.Timeout)
	return &Sink{config: c, where: exchange.Address(u), secrets: exchange.NewSecrets(u, c.Headers), taken: map[string]bool{}, client: client}, nil
}

// Delivery is [pipeline.AtLeastOnce].
func (s *Sink) Delivery() pipeline.Delivery { return pipeline.AtLeastOnce }

// Portion is how many rows a request has.
func (s *Sink) Portion() int { return s.config.Batch }

// Write sends a batch, in one request or several.
func (s *Sink) Write(ctx context.Context, batch []*pipeline.Record) error {
	refused := map[int]error{}
	for from := 0; from < len(batch); from += s.config.Batch {
		if err := s.put(ctx, batch, from, min(from+s.config.Batch, len(batch)), refused); err != nil {
			return err
		}
	}
	clear(s.taken)
	if len(refused) > 0 {
		return &pipeline.BatchError{Refused: refused}
	}
	return ctx.Err()
}

// Commit does nothing: what Write sent was taken. The position is empty.
func (s *Sink) Commit(context.Context) (pipeline.Position, error) { return "", nil }

// Close closes the connections.
func (s *Sink) Close(context.Context) error {
	s.client.CloseIdleConnections()
	return nil
}

// put sends some rows of a batch, in halves if they are refused. Those refused by
// themselves are added to refused.
func (s *Sink) put(ctx context.Context, batch []*pipeline.Record, from, to int, refused map[int]error) error {
	body, key := s.render(batch[from:to])
	if s.taken[key] {
		return nil
	}
	err := s.send(ctx, body, key)
	class, _ := pipeline.Classify(err)
	switch {
	case err == nil:
		s.taken[key] = true
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case class != pipeline.ClassRecord:
		return err
	case to-from == 1:
		refused[from] = err
		return nil
	}
	half := (from + to) / 2
	if err := s.put(ctx, batch, from, half, refused); err != nil {
		return err
	}
	return s.put(ctx, batch, half, to, refused)
}

// render writes the body of a request, and the key that names it: the rows, and which
// rows of the run they are.
func (s *Sink) render(rows []*pipeline.Record) (body []byte, key string) {
	hash := sha256.New()
	if s.config.Body == array {
		body = append(body, '[')
	}
	for i, r := range rows {
		if i > 0 && s.config.Body == array {
			body = append(body, ',')
		}
		body = r.AppendJSON(body)
		if s.config.Body == jsonl {
			body = append(body, '\n')
		}
		_, _ = fmt.Fprintln(hash, r.Ref)
	}
	if s.config.Body == array {
		body = append(body, ']')
	}
	_, _ = hash.Write(body)
	return body, hex.EncodeToString(hash.Sum(nil)[:16])
}

// send makes one request.
func (s *Sink) send(ctx context.Context, body []byte, key string) error {
	request, err := http.NewRequestWithContext(ctx, s.config.Method, s.config.URL, bytes.NewReader(body))
	if err != nil {
		return pipeline.Fatal("url", errors.New("the url is no address"))
	}
	request.Header.Set("Content-Type", map[string]string{jsonl: "application/x-ndjson"}[s.config.Body])
	if s.config.Body != jsonl {
		request.Header.Set("Content-Type", "application/json")
	}
	request.Header.Set("Idempotency-Key", key)
	for name, value := range s.config.Headers {
		request.Header.Set(name, value.Reveal())
	}
	response, err := s.client.Do(request)
	if err != nil {
		return exchange.Lost(s.where, err)
	}
	defer func() { _ = response.Body.Close() }()
	said, err := io.ReadAll(io.LimitReader(response.Body, exchange.MostSaid))
	if response.StatusCode/100 == 2 {
		return nil // whatever it says
	}
	if err != nil {
		return exchange.Lost(s.where, err)
	}
	return judge(exchange.Refused(s.where, response, s.secrets.Hide(strings.TrimSpace(string(said)))), response.StatusCode)
}

// judge says what an answer means that does not take the rows: what is true of any rows
// ends the run.
func judge(e *pipeline.Error, status int) error {
	switch {
	case e.Class != pipeline.ClassRecord:
	case status < 400, status == http.StatusUnauthorized, status == http.StatusForbidden, status == http.StatusNotFound,
		status == http.StatusMethodNotAllowed, status == http.StatusProxyAuthRequired, status == http.StatusUnsupportedMediaType:
		e.Class = pipeline.ClassFatal
	default:
		e.RetryAfter = 0
	}
	return e
}
