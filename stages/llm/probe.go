package llm

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	json "github.com/go-json-experiment/json"

	"github.com/rowmill/rowmill/pipeline"
)

const (
	// probeTimeout bounds the probe; a list of models comes at once or not at all.
	probeTimeout = 10 * time.Second
	// longestList bounds the list of models; OpenRouter's is the longest with 1 MB.
	longestList = 16 << 20
)

// Probe asks every endpoint for the list of its models, which costs nothing: the
// address, the key and the model's name are tried. What has no such list, or does not
// show it to this key, passes. One of several endpoints that does not work is logged;
// it is an error only if all do not.
func (s *Stage) Probe(ctx context.Context) error {
	errs := make([]error, len(s.endpoints))
	var all sync.WaitGroup
	for i, to := range s.endpoints {
		all.Go(func() { errs[i] = to.probe(ctx) })
	}
	all.Wait()
	if !slices.Contains(errs, nil) {
		return errors.Join(errs...)
	}
	for i, err := range errs {
		if err != nil {
			s.log.Warn("an endpoint does not work; the others are asked", "endpoint", s.endpoints[i].name, "error", err)
		}
	}
	return nil
}

func (to *endpoint) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	client, err := to.dial()
	if err != nil {
		return err
	}
	x := exchange{header: to.probeHeader(), limit: longestList}
	if _, err := client.ListModels(context.WithValue(ctx, exchangeKey{}, &x)); err != nil {
		if errors.Is(err, errTooLong) {
			return nil
		}
		return to.unreachable(err)
	}
	return to.judgeModels(&x)
}

// probeHeader returns the headers of the probe. Anthropic's list of models is not
// part of its OpenAI-compatible endpoint and wants the key in its own way.
func (to *endpoint) probeHeader() http.Header {
	if to.config.Provider != ProviderAnthropic {
		return to.header
	}
	h := to.header.Clone()
	if h.Get("Anthropic-Version") == "" {
		h.Set("Anthropic-Version", "2023-06-01")
	}
	if to.key.value != "" {
		h.Set("X-Api-Key", to.key.value)
		h["Authorization"] = nil // nothing is sent
	}
	return h
}

// unreachable is the error of a probe that got no answer.
func (to *endpoint) unreachable(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("no answer within %v", probeTimeout)
	}
	return pipeline.Fatal("unreachable",
		fmt.Errorf("cannot reach %s: %w; check base_url, and that a server runs there", to.baseURL, err))
}

func (to *endpoint) judgeModels(x *exchange) error {
	switch {
	case x.status == http.StatusUnauthorized, x.status == http.StatusForbidden:
		f := parseFailure(x.status, x.answer)
		if mayNotList(f.message) {
			return nil
		}
		return to.refuse(f, http.Header{})
	case x.status >= 300 && x.status < 400:
		return to.refuse(failure{status: x.status}, x.reply)
	case x.status != http.StatusOK, to.config.Provider != ProviderOpenAI && to.config.Provider != ProviderSimulator:
		// Azure lists models where deployments are asked for, Anthropic leaves out the
		// names that stand for the latest of a family.
		return nil
	}
	return to.checkModel(x.answer)
}

// mayNotList recognizes OpenAI's refusal of the list to a key that is restricted to
// asking models: "You have insufficient permissions for this operation. Missing
// scopes: api.model.read."
func mayNotList(message string) bool {
	return strings.Contains(message, "insufficient permissions") || strings.Contains(message, "Missing scopes")
}

// checkModel looks the model up in a list of models.
func (to *endpoint) checkModel(body []byte) error {
	var list struct {
		Data []struct {
			ID      string `json:"id"`
			OwnedBy string `json:"owned_by"`
		} `json:"data"`
		HasMore bool `json:"has_more"`
	}
	if err := json.Unmarshal(body, &list, to.lenient); err != nil || len(list.Data) == 0 || list.HasMore {
		return nil // a list in another form, or not the whole of it
	}
	names := make([]string, len(list.Data))
	for i, m := range list.Data {
		if takesAnyName(m.ID, m.OwnedBy) || sameModel(to.config.Model, m.ID) {
			return nil
		}
		names[i] = m.ID
	}
	return pipeline.Fatal("model_not_found", errors.New(to.hide(fmt.Sprintf("%s has no model %q%s", to.host, to.config.Model, suggest(to.config.Model, names)))))
}

// takesAnyName recognizes servers that answer for every model name: llama.cpp, and
// the simulator unless it was told which models it has.
func takesAnyName(id, owner string) bool {
	return owner == "llamacpp" || owner == "simulator" && id == "simulator"
}

// sameModel reports whether a name means the model of a list: the name itself,
// "stories" for stories:latest (Ollama), "gemini-2.5-pro" for
// models/gemini-2.5-pro (Gemini), "a/b:free" for a/b (OpenRouter).
func sameModel(name, listed string) bool {
	base, _, _ := strings.Cut(name, ":")
	return strings.EqualFold(name, listed) || listed == name+":latest" || listed == "models/"+name ||
		strings.Contains(name, "/") && base == listed
}

// suggest ends the message about a model that is not there: with the name that was
// probably meant, else with some of those that are there.
func suggest(name string, names []string) string {
	far := func(listed string) int { return distance(name, strings.TrimSuffix(listed, ":latest")) }
	slices.SortStableFunc(names, func(a, b string) int { return far(a) - far(b) })
	if far(names[0]) <= max(2, len(name)/3) {
		return fmt.Sprintf("; did you mean %q?", names[0])
	}
	const shown = 5
	if len(names) > shown {
		return fmt.Sprintf("; it has %s and %d more", strings.Join(names[:shown], ", "), len(names)-shown)
	}
	return "; it has " + strings.Join(names, ", ")
}

// distance is how many bytes must be changed, added or removed to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
