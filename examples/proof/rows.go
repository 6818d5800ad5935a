package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
)

// row is one of the input, and with an answer one of the output.
type row struct {
	ID     *int   `json:"id"` // from 0
	Body   string `json:"body"`
	Answer string `json:"answer,omitempty"`
}

const question = "Which department is this for? "

func writeRows(path string, n int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	for i := range n {
		_, _ = fmt.Fprintf(w, `{"id":%d,"body":"My order %d has not arrived yet, and the tracking page says nothing."}`+"\n", i, i)
	}
	return errors.Join(w.Flush(), f.Close())
}

// join compares an output with the n rows of the input.
func join(path string, n int) (lost, doubled, torn int, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, 0, 0, err
	}
	defer func() { _ = f.Close() }()
	times := make([]int, n)
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var r row
		if json.Unmarshal(lines.Bytes(), &r) != nil || r.ID == nil || *r.ID < 0 || *r.ID >= n || r.Answer == "" {
			torn++
			continue
		}
		times[*r.ID]++
	}
	for _, t := range times {
		if t == 0 {
			lost++
		}
		doubled += max(0, t-1)
	}
	return lost, doubled, torn, lines.Err()
}
