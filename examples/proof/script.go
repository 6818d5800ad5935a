package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"
)

// script is the job as it is usually done, line by line what this does in Python:
//
//	done = sum(1 for _ in open(out))            # go on where the file ends
//	todo = rows[done:]
//	limit = asyncio.Semaphore(n)
//	async def one(row):
//	    async with limit:
//	        for attempt in range(5):
//	            try:
//	                row["answer"] = await ask(row)
//	                out.write(json.dumps(row) + "\n")
//	                return
//	            except Exception:
//	                await asyncio.sleep(0.1 * 2**attempt)
//	await asyncio.gather(*map(one, todo))
//
// Answers come in any order, so that the number of lines does not tell which rows are
// done; the file is buffered (8 KiB, as in Python), so that a kill cuts a line; and a row
// that fails five times is left out in silence.
func script(ctx context.Context, j job) error {
	todo, err := remaining(j)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(j.Output, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	out := &shared{w: bufio.NewWriterSize(file, 8<<10)}
	client := &http.Client{Timeout: j.Timeout, Transport: &http.Transport{MaxIdleConnsPerHost: j.Parallelism}}
	limit := make(chan struct{}, j.Parallelism) // the semaphore
	var gather sync.WaitGroup
	for _, r := range todo {
		gather.Go(func() {
			limit <- struct{}{}
			defer func() { <-limit }()
			one(ctx, client, j.URL, r, out)
		})
	}
	gather.Wait()
	return errors.Join(out.w.Flush(), file.Close())
}

// remaining is the rows of the input, without as many as the output has lines.
func remaining(j job) ([]row, error) {
	done, err := readLines(j.Output)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	all, err := readLines(j.Input)
	if err != nil {
		return nil, err
	}
	var todo []row
	for _, line := range all[min(len(done), len(all)):] {
		var r row
		if err := json.Unmarshal(line, &r); err != nil {
			return nil, err
		}
		todo = append(todo, r)
	}
	return todo, nil
}

func readLines(path string) ([][]byte, error) {
	whole, err := os.ReadFile(path)
	if err != nil || len(whole) == 0 {
		return nil, err
	}
	return bytes.Split(bytes.TrimSuffix(whole, []byte("\n")), []byte("\n")), nil
}

// shared is a file to which many write.
type shared struct {
	mu sync.Mutex
	w  *bufio.Writer
}

func (s *shared) write(r row) {
	line, err := json.Marshal(r)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = s.w.Write(append(line, '\n'))
}

func one(ctx context.Context, client *http.Client, url string, r row, out *shared) {
	for attempt := range 5 {
		answer, err := ask(ctx, client, url, r.Body)
		if err == nil {
			r.Answer = answer
			out.write(r)
			return
		}
		time.Sleep(100 * time.Millisecond << attempt)
	}
}

func ask(ctx context.Context, client *http.Client, url, body string) (string, error) {
	type message struct {
		Role    string `json:"role,omitempty"`
		Content string `json:"content"`
	}
	sent, err := json.Marshal(map[string]any{"model": "simulated", "messages": []message{{"user", question + body}}})
	if err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/chat/completions", bytes.NewReader(sent))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = res.Body.Close() }()
	var a struct {
		Choices []struct {
			Message message `json:"message"`
		} `json:"choices"`
	}
	if err := json.NewDecoder(res.Body).Decode(&a); err != nil {
		return "", err
	}
	if res.StatusCode != http.StatusOK || len(a.Choices) == 0 {
		return "", fmt.Errorf("%s", res.Status)
	}
	return a.Choices[0].Message.Content, nil
}
