package pipelinetest

import (
	"bytes"
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"strconv"
	"strings"

	"github.com/rowmill/rowmill/pipeline"
)

// everyOther is a Stateful without fault, in parts that can be replaced: it drops every
// second record.
type everyOther struct {
	*goodDouble
	passed  map[pipeline.Ref]bool // what became of each record
	unsaved []string

	save func(w io.Writer, text string) error
	load func(text string) error
	see  func(ref pipeline.Ref, passes bool)
}

func (*everyOther) Sequential() {}

func (s *everyOther) Save(w io.Writer) error {
	text := strings.Join(s.unsaved, "")
	s.unsaved = nil
	return s.save(w, text)
}

func (s *everyOther) Load(r io.Reader) error {
	text, _ := io.ReadAll(r)
	return s.load(string(text))
}

func newEveryOther(double *goodDouble) *everyOther {
	s := &everyOther{goodDouble: double, passed: map[pipeline.Ref]bool{}}
	s.shape = func(in pipeline.Shape) pipeline.Shape { return in }
	s.see = func(ref pipeline.Ref, passes bool) {
		s.passed[ref] = passes
		line := fmt.Sprintf("%d %v", ref.Seq, passes)
		s.unsaved = append(s.unsaved, fmt.Sprintf("%s %d\n", line, crc32.ChecksumIEEE([]byte(line))))
	}
	s.process = func(_ context.Context, r *pipeline.Record) ([]*pipeline.Record, error) {
		passes, known := s.passed[r.Ref]
		if !known {
			passes = len(s.passed)%2 == 0
			s.see(r.Ref, passes)
		}
		if passes {
			return []*pipeline.Record{r}, nil
		}
		return nil, nil
	}
	s.save = func(w io.Writer, text string) error { _, err := io.WriteString(w, text); return err }
	s.load = func(text string) error {
		for line := range strings.Lines(text) {
			body, sum, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "e ")
			body += "e"
			if want := strconv.FormatUint(uint64(crc32.ChecksumIEEE([]byte(body))), 10); sum != want || !strings.HasSuffix(line, "\n") {
				return errBroken
			}
			number, passes, _ := strings.Cut(body, " ")
			seq, _ := strconv.ParseUint(number, 10, 64)
			s.passed[pipeline.Ref{Seq: seq}] = passes == "true"
		}
		return nil
	}
	return s
}

func remembering(s *goodDouble) pipeline.Stage { return newEveryOther(s) }

func statefulProofs() []proof {
	brk := func(rule, name string, change func(*everyOther)) proof {
		return proof{name, goodStage(func(d *goodDouble) pipeline.Stage { return as(change, newEveryOther(d)) }).laws, rule}
	}
	return []proof{
		brk("goes on with what it saved", "forgets all", func(s *everyOther) { s.load = func(string) error { return nil } }),
		brk("goes on with what it saved", "cannot save", func(s *everyOther) {
			s.save = func(io.Writer, string) error { return errBroken }
		}),
		brk("goes on with what it saved", "the last alone", func(s *everyOther) {
			good := s.save
			s.save = func(w io.Writer, text string) error {
				return good(w, text[strings.LastIndexByte(strings.TrimSuffix(text, "\n"), '\n')+1:])
			}
		}),
		brk("goes on with what it saved", "counts what it is shown again", func(s *everyOther) {
			loaded := s.load
			s.load = func(text string) error {
				err := loaded(text)
				n := len(s.passed)
				clear(s.passed)
				for i := range n {
					s.passed[pipeline.Ref{Seq: uint64(1000 + i)}] = true
				}
				return err
			}
		}),
		brk("saves what is new", "all again", func(s *everyOther) {
			var all bytes.Buffer
			good := s.save
			s.save = func(w io.Writer, text string) error { all.WriteString(text); return good(w, all.String()) }
		}),
		brk("saves what is new", "what it has loaded", func(s *everyOther) {
			good := s.load
			s.load = func(text string) error { s.unsaved = []string{text}; return good(text) }
		}),
		brk("notices what is damaged", "takes anything", func(s *everyOther) {
			good := s.load
			s.load = func(text string) error { _ = good(text); return nil }
		}),
	}
}
