// Proof runs a model over 20,000 rows twice: with Rowmill, and with a script of the kind
// that every team writes. The provider refuses 5 % of the requests (429), leaves 1 %
// hanging, allows 500 a second, and half way the process gets a kill -9 and is started
// again. A table says what became of the rows:
//
//	go run ./examples/proof
//
// lost, doubled and torn come from the output file alone, by a join with the input;
// repaid, requests, refused and quota from the provider's own ledger; memory from
// the operating system. Nothing is taken from what the two say of themselves.
//
// The provider is the simulator, in a process of its own. So is each of the two.
//
// ci: with -rows 600 -quick
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"
)

// roleVariable is set in the processes that this program starts of itself.
const roleVariable = "ROWMILL_PROOF_ROLE"

// conditions are the same for both.
type conditions struct {
	Rows        int           `json:"rows"`
	Parallelism int           `json:"parallelism"` // requests in flight
	Timeout     time.Duration `json:"timeout"`     // of a request
	Latency     time.Duration `json:"latency"`     // of an answer, on average
	PerSecond   int           `json:"per_second"`  // the quota
}

// job is what a child is told to do.
type job struct {
	conditions
	URL    string `json:"url"`
	Input  string `json:"input"`
	Output string `json:"output"`
	State  string `json:"state"`
}

func main() {
	err := run(context.Background())
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "proof:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	if role := os.Getenv(roleVariable); role != "" {
		return play(ctx, role)
	}
	c := conditions{Parallelism: 128, Timeout: 5 * time.Second, Latency: 100 * time.Millisecond, PerSecond: 500}
	flags := flag.NewFlagSet("proof", flag.ContinueOnError)
	flags.IntVar(&c.Rows, "rows", 20_000, "how many rows")
	quick := flags.Bool("quick", false, "give up a request after one second, not five")
	if err := flags.Parse(os.Args[1:]); err != nil {
		return err
	}
	if c.Rows < 100 {
		return errors.New("-rows: want at least 100, so that there is a half way")
	}
	if *quick {
		c.Timeout = time.Second
	}
	return prove(ctx, c)
}

// prove has both do the job, prints the table, and fails if Rowmill breaks a promise.
func prove(ctx context.Context, c conditions) error {
	folder, err := os.MkdirTemp("", "rowmill-proof-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	input := filepath.Join(folder, "in.jsonl")
	if err := writeRows(input, c.Rows); err != nil {
		return err
	}
	fmt.Printf("%d rows, %d in flight, %d requests/s allowed, 5%% refused, 1%% hang, kill -9 half way\n\n", c.Rows, c.Parallelism, c.PerSecond)
	var results []result
	for _, role := range []string{roleScript, roleRowmill} {
		r, err := contest(ctx, role, c, input, filepath.Join(folder, role))
		if err != nil {
			return fmt.Errorf("%s: %w", role, err)
		}
		results = append(results, r)
	}
	if err := table(results); err != nil {
		return err
	}
	return verdict(results[1], c)
}

func table(results []result) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(w, "\tlost\tdoubled\ttorn\trepaid\trequests\trefused\ttime\tquota used\tpeak memory\t")
	for _, r := range results {
		_, _ = fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%.1fs\t%.0f%%\t%.0f MiB\t\n", r.role, r.lost, r.doubled, r.torn,
			r.ledger.PaidAgain, r.ledger.Requests, r.ledger.refused(), r.elapsed.Seconds(), 100*r.quota, float64(r.memory)/(1<<20))
	}
	return w.Flush()
}

// verdict is an error if Rowmill has not kept what it promises: a row paid again may only
// be one that was on the wire when the process was killed.
func verdict(r result, c conditions) error {
	if r.lost+r.doubled+r.torn > 0 || r.ledger.PaidAgain > int64(c.Parallelism) {
		return fmt.Errorf("rowmill broke a promise: %d rows lost, %d doubled, %d torn, %d paid again with %d in flight",
			r.lost, r.doubled, r.torn, r.ledger.PaidAgain, c.Parallelism)
	}
	_, err := fmt.Println("\nrowmill: no row lost, none doubled, paid again at most what was on the wire at the kill")
	return err
}
