package sources_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/sources"
)

// TestStandardInputThatStaysOpen: no stop waits for it.
func TestStandardInputThatStaysOpen(t *testing.T) {
	t.Parallel()
	in, out := io.Pipe()
	t.Cleanup(func() { _ = out.Close() }) // which ends the read that is left behind
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	f := newFile(t, sources.FileConfig{Path: []string{"-"}}, pipeline.Env{Stdin: in})
	ended := make(chan int)
	go func() {
		n := 0
		for range f.Records(ctx) {
			n++
			time.AfterFunc(time.Millisecond, cancel) // while the next one is waited for
		}
		ended <- n
	}()
	if _, err := io.WriteString(out, "{\"n\":1}\n"); err != nil {
		t.Fatal(err)
	}
	select {
	case n := <-ended:
		if n != 1 {
			t.Errorf("%d rows, want 1", n)
		}
	case <-time.After(time.Minute):
		t.Error("it waits for a row that does not come")
	}
}

// TestStandardInput reads what comes in pieces of any size, to its end or until it fails.
func TestStandardInput(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	var want []string
	for n := range 20_000 { // more than is asked for at once
		row := fmt.Sprintf(`{"n":%d}`, n)
		want = append(want, row)
		text.WriteString(row + "\n")
	}
	for name, in := range map[string]io.Reader{
		"at once":        strings.NewReader(text.String()),
		"byte by byte":   iotest.OneByteReader(strings.NewReader(text.String())),
		"end with bytes": iotest.DataErrReader(strings.NewReader(text.String())),
	} {
		f := newFile(t, sources.FileConfig{Path: []string{"-"}}, pipeline.Env{Stdin: in})
		if got := rows(t.Context(), f, ""); !slices.Equal(got, want) {
			t.Errorf("%s: %d rows, want %d", name, len(got), len(want))
		}
	}
	for want, in := range map[string]io.Reader{"broken pipe": iotest.ErrReader(errors.New("broken pipe")), "panic: a bug": buggy{}} {
		f := newFile(t, sources.FileConfig{Path: []string{"-"}}, pipeline.Env{Stdin: io.MultiReader(strings.NewReader("{}\n"), in)})
		var last error
		for _, last = range f.Records(t.Context()) {
			continue
		}
		if last == nil || !strings.Contains(last.Error(), want) {
			t.Errorf("got %v, want %s", last, want)
		}
	}
}

type buggy struct{}

func (buggy) Read([]byte) (int, error) { panic("a bug") }
