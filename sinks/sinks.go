// Package sinks holds the sinks that need nothing but the standard library and a
// compressor: file, text and discard for YAML; Func and Channel for Go programs.
// See package pipeline for the words.
package sinks

import "github.com/rowmill/rowmill/pipeline"

// asSink keeps a nil pointer from becoming a sink.
func asSink[S pipeline.Sink](s S, err error) (pipeline.Sink, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}
