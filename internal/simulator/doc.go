// Package simulator is a provider to run against without a key: a server that
// speaks OpenAI's chat completions, with the limits, headers and misfortunes of
// the real ones. It is for trying a pipeline out, and for a user's own CI. It is
// not a model: its answers are made up from the words of the prompt.
//
// # Answers
//
// The same seed, model and messages always get the same answer; [Answer] says
// which, so that a test can tell whether each row got its own. In order:
//
//   - response_format json_schema: an instance of the schema;
//   - response_format json_object: {"answer": "…"};
//   - a prompt that offers labels: one of them. Labels are a list behind a colon:
//     "one of: a, b or c", "one of the following labels: a | b", "choose from:",
//     "labels:", "categories:", "Answer with one word: yes, no", or the colon and
//     then a line with a dash for each;
//   - else a sentence with a few words of the last user message, and a number in
//     brackets that no other prompt has.
//
// max_tokens, max_completion_tokens, stop and n are honoured; a token is four
// bytes. Everything else that shapes a real model's answer is ignored.
//
// # Fate
//
// What happens to a request is drawn from the seed, the prompt and the number of
// the request among those for the same prompt, so that it does not depend on how
// requests happen to interleave. Only the limits and quota_after do.
//
// # Paths
//
//	POST /v1/chat/completions, /chat/completions, /openai/v1/chat/completions
//	POST /openai/deployments/{name}/chat/completions?api-version=…  (as Azure has it)
//	GET  /v1/models, /v1/models/{id}
//	GET  /healthz
//	GET  /simulator/ledger                  what has happened so far; ?prompts=1 for each prompt
package simulator
