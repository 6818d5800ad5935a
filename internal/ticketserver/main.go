// Command ticketserver is an API for trying pipelines/http.yaml: it gives tickets, page by
// page, and takes what teams they are for. It behaves as such servers do on a bad day: it
// refuses a page now and then, and takes rows without saying so. What it has taken it writes
// to a file, so that each row can be counted.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "ticketserver:", err)
		os.Exit(1)
	}
}

func run() error {
	address := flag.String("address", "127.0.0.1:8765", "where to listen; the address is printed")
	tickets := flag.Int("tickets", 1500, "how many there are")
	token := flag.String("token", "none", "what is wanted in the header Authorization, behind Bearer")
	taken := flag.String("taken", "", "the file to which the number of each ticket that was taken is added")
	broken := flag.String("broken", "", "while there is a file of that name nothing is taken: 500")
	flag.Parse()
	out, err := os.OpenFile(*taken, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", *address)
	if err != nil {
		return err
	}
	fmt.Printf("http://%s\n", listener.Addr())
	a := &api{tickets: *tickets, token: *token, taken: out, broken: *broken, keys: map[string]bool{}}
	server := &http.Server{Handler: a.handler(), ReadHeaderTimeout: time.Minute}
	return server.Serve(listener)
}

// api gives tickets and takes teams.
type api struct {
	tickets int
	token   string
	broken  string

	mu    sync.Mutex
	taken io.Writer
	keys  map[string]bool // of requests that were taken
	pages int
	posts int
}

func (a *api) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/tickets", a.give)
	mux.HandleFunc("POST /v1/triage", a.take)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+a.token {
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// ticket is a row that is given, and one that is taken.
type ticket struct {
	ID      int    `json:"id"`
	Subject string `json:"subject"`
	Team    string `json:"team,omitempty"`
}

// subject is what a ticket is about.
func subject(id int) string {
	return fmt.Sprintf("%s of order %d", []string{"a refund", "the delivery", "the password"}[id%3], id)
}

const (
	pageSize = 50
	// refuses and forgets are of how many pages one is refused, and of how many requests
	// with rows one is taken and answered as if it had not been.
	refuses, forgets = 9, 97
)

// give answers with a page.
func (a *api) give(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	a.pages++
	refused := a.pages%refuses == 3
	a.mu.Unlock()
	if refused {
		w.Header().Set("Retry-After", "0.1")
		http.Error(w, "too many requests", http.StatusTooManyRequests)
		return
	}
	from, err := strconv.Atoi(r.URL.Query().Get("cursor"))
	if err != nil {
		from = 0
	}
	page := struct {
		Items []ticket `json:"items"`
		Next  *string  `json:"next_cursor"`
	}{Items: []ticket{}}
	to := min(from+pageSize, a.tickets)
	for id := from + 1; id <= to; id++ {
		page.Items = append(page.Items, ticket{ID: id, Subject: subject(id)})
	}
	if to < a.tickets {
		next := strconv.Itoa(to)
		page.Next = &next
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(page) // nobody may read it any more
}

// take takes rows, those of a request that comes again only once.
func (a *api) take(w http.ResponseWriter, r *http.Request) {
	rows, err := read(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, err := os.Stat(a.broken); err == nil {
		http.Error(w, "the database is away", http.StatusInternalServerError)
		return
	}
	if key := r.Header.Get("Idempotency-Key"); !a.keys[key] {
		for _, row := range rows {
			_, _ = fmt.Fprintln(a.taken, row.ID) // it is missed when they are counted
		}
		a.keys[key] = true
	}
	if a.posts++; a.posts%forgets == 5 {
		http.Error(w, "no answer from behind", http.StatusBadGateway)
	}
}

// read reads the rows of a request, one or a list, each of which has to be right.
func read(body io.Reader) ([]ticket, error) {
	text, err := io.ReadAll(io.LimitReader(body, 1<<20))
	if err != nil {
		return nil, err
	}
	var rows []ticket
	if json.Unmarshal(text, &rows) != nil {
		rows = make([]ticket, 1)
		if err := json.Unmarshal(text, &rows[0]); err != nil {
			return nil, err
		}
	}
	for _, row := range rows {
		switch {
		case row.Subject != subject(row.ID):
			return nil, fmt.Errorf("ticket %d is not about %q", row.ID, row.Subject)
		case row.Team == "":
			return nil, errors.New("there is no team")
		}
	}
	return rows, nil
}
