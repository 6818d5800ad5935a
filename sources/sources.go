// Package sources holds the sources that need nothing but the standard library and
// a compressor: file, values and range for YAML; Seq, Slice and Channel for Go
// programs. See package pipeline for the words.
package sources

import "github.com/rowmill/rowmill/pipeline"

// asSource keeps a nil pointer from becoming a source.
func asSource[S pipeline.Source](s S, err error) (pipeline.Source, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}
