// Package pipeline holds the words of Rowmill: what a record is, what a source,
// a stage and a sink are, how a pipeline is declared, and how errors are classed.
// It runs nothing; package engine does.
//
// The words, used the same in code, YAML, logs and documentation:
//
//   - A record is one row on its way through: a stable identity, ordered fields,
//     and where it came from.
//   - Source, stage and sink are the three kinds of component. A stage turns one
//     record into none (drop), one, or several (split).
//   - A pipeline is one source, then stages, then one sink; declared in YAML or
//     built in Go, both make the same [Pipeline] value.
//   - To settle: every leaf (a row that was read, or a child made of one) ends
//     exactly once: delivered, dropped, dead-lettered, absorbed, or unfinished
//     if the run was stopped.
//   - A dead letter is a record that failed for good, with stage, reason, class,
//     attempts and cost. It is data, and can be run again.
//   - A call is one record's (or batch's) work in a stage; a turn is one question
//     in it; an attempt is one request on the wire.
//   - To drain: stop reading, finish what is in flight, flush the sink.
//
// Whoever writes a component never touches a channel, a goroutine, a retry or a
// clock: a component is one small blocking interface, and the engine owns
// concurrency, order, batching, policies, settling and draining.
package pipeline
