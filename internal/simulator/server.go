package simulator

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	json "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// maxBody is the longest request that is read.
const maxBody = 64 << 20

// Server is a simulated provider. It is an [http.Handler], and can listen by
// itself.
type Server struct {
	options Options
	fates   []fate
	limits  *limiter
	books   *books
	readers sync.Pool // *reader
	replies sync.Pool // *[]byte: answers
	maxBody int64
	done    chan struct{}
	running sync.WaitGroup // what Close waits for

	mu     sync.Mutex
	closed bool
	http   *http.Server // nil until Start
}

var _ http.Handler = (*Server)(nil)

// New returns a Server with those Options, which must be valid; see
// [Options.Validate]. [Server.Close] it in the end.
func New(o Options) *Server {
	o = o.withDefaults()
	fates := slices.DeleteFunc(o.Faults.fates(), func(f fate) bool { return f.share == 0 })
	return &Server{
		options: o, fates: fates, limits: newLimiter(o), books: newBooks(o.Remember),
		maxBody: maxBody, done: make(chan struct{}),
	}
}

// Start listens on addr ("127.0.0.1:0" takes any free port) and returns the base
// URL for clients, which ends in /v1. It serves until [Server.Close]. It can be
// called once.
func (s *Server) Start(addr string) (baseURL string, err error) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return "", fmt.Errorf("simulator: %w", err)
	}
	if err := s.serve(listener); err != nil {
		return "", errors.Join(err, listener.Close())
	}
	at := listener.Addr().(*net.TCPAddr)
	if at.IP.IsUnspecified() {
		at = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: at.Port}
	}
	return "http://" + at.String() + "/v1", nil
}

func (s *Server) serve(listener net.Listener) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.http != nil {
		return errors.New("simulator: start: it was started or closed before")
	}
	s.http = &http.Server{
		Handler: s, ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: time.Minute,
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				s.books.connected()
			}
		},
	}
	s.running.Go(func() { _ = s.http.Serve(listener) }) // ErrServerClosed, or the listener's end: Close says nothing about it
	return nil
}

// Close ends everything at once: requests that hang or are being answered too.
// It returns when no request is being worked on any more, unless another
// [http.Server] serves them: that one has to be closed after.
func (s *Server) Close() error {
	s.mu.Lock()
	first, server := !s.closed, s.http
	s.closed = true
	s.mu.Unlock()
	if first {
		close(s.done)
	}
	if server == nil {
		return nil
	}
	err := server.Close()
	s.running.Wait()
	return err
}

// Ledger returns what has happened so far.
func (s *Server) Ledger() Ledger { return s.books.copy() }

// Prompts returns what happened to each prompt that is remembered.
func (s *Server) Prompts() map[Key]Prompt { return s.books.prompts() }

// enter reports whether there is still work to be done.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.running.Add(1)
	}
	return !s.closed
}

// ServeHTTP answers one request. It panics with [http.ErrAbortHandler] where the
// connection is to be broken off.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.enter() {
		s.fail(w, overloaded())
		return
	}
	defer s.running.Done()
	path := strings.TrimPrefix(r.URL.Path, "/v1")
	if strings.HasPrefix(path, "/openai/") {
		s.azure(w, r, strings.TrimPrefix(path, "/openai"))
		return
	}
	s.route(w, r, path)
}

// azure finds the paths of Azure, where the deployment is the model.
func (s *Server) azure(w http.ResponseWriter, r *http.Request, path string) {
	const behind = "/chat/completions"
	path = strings.TrimPrefix(path, "/v1")
	name, isDeployment := strings.CutPrefix(path, "/deployments/")
	name, isChat := strings.CutSuffix(name, behind)
	switch {
	case !isDeployment:
		s.route(w, r, path)
	case !isChat || name == "" || r.Method != http.MethodPost || r.URL.Query().Get("api-version") == "":
		e := noSuchPath(r.Method, r.URL.Path)
		e.message += " A deployment wants ?api-version=."
		s.fail(w, e)
	default:
		s.chat(w, r, name)
	}
}

func (s *Server) route(w http.ResponseWriter, r *http.Request, path string) {
	model, isModel := strings.CutPrefix(path, "/models/")
	switch {
	case path == "/chat/completions" && r.Method == http.MethodPost:
		s.chat(w, r, "")
	case r.Method != http.MethodGet:
		s.fail(w, noSuchPath(r.Method, r.URL.Path))
	case path == "/models":
		s.models(w, r)
	case isModel:
		s.model(w, r, model)
	case path == "/simulator/ledger":
		s.showLedger(w, r)
	case path == "/healthz":
		w.WriteHeader(http.StatusOK)
	default:
		s.fail(w, noSuchPath(r.Method, r.URL.Path))
	}
}

func (s *Server) models(w http.ResponseWriter, r *http.Request) {
	s.books.note(func(l *Ledger) { l.ModelRequests++ })
	if !s.allowed(r) {
		s.fail(w, wrongKey())
		return
	}
	b := []byte(`{"object":"list","data":[`)
	names := s.options.Models
	if len(names) == 0 {
		names = []string{"simulator"}
	}
	for i, name := range names {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendModel(b, name)
	}
	send(w, http.StatusOK, append(b, `]}`...))
}

func (s *Server) model(w http.ResponseWriter, r *http.Request, name string) {
	s.books.note(func(l *Ledger) { l.ModelRequests++ })
	switch {
	case !s.allowed(r):
		s.fail(w, wrongKey())
	case !s.has(name):
		s.fail(w, noSuchModel(name))
	default:
		send(w, http.StatusOK, appendModel(nil, name))
	}
}

func appendModel(b []byte, name string) []byte {
	b = appendText(append(b, `{"id":`...), name, false)
	return append(b, `,"object":"model","created":1735689600,"owned_by":"simulator"}`...)
}

func (s *Server) has(model string) bool {
	return len(s.options.Models) == 0 || slices.Contains(s.options.Models, model)
}

func (s *Server) allowed(r *http.Request) bool {
	want := s.options.APIKey.Reveal()
	if want == "" {
		return true
	}
	got := r.Header.Get("Api-Key")
	if got == "" {
		got = strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	}
	return subtle.ConstantTimeCompare([]byte(got), []byte(want)) == 1
}

func (s *Server) showLedger(w http.ResponseWriter, r *http.Request) {
	shown := struct {
		Ledger   `json:",inline"`
		ByPrompt map[Key]Prompt `json:"by_prompt,omitempty"`
	}{Ledger: s.Ledger()}
	if r.URL.Query().Get("prompts") == "1" {
		shown.ByPrompt = s.Prompts()
	}
	b, err := json.Marshal(shown, json.Deterministic(true), jsontext.Multiline(true))
	if err != nil {
		panic(fmt.Errorf("simulator: the ledger is no JSON: %w", err))
	}
	send(w, http.StatusOK, append(b, '\n'))
}

// fail sends an error, in the provider's dialect.
func (s *Server) fail(w http.ResponseWriter, e *apiError) {
	adapted := e.in(s.options.Dialect)
	adapted.setRetry(w.Header(), s.options.Dialect)
	send(w, adapted.status, adapted.appendJSON(nil, s.options.Dialect))
}

// send sends a JSON body. A client that is gone is noticed elsewhere.
func send(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h["Content-Type"] = []string{"application/json"}
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
