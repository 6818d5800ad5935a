package sources

import (
	"github.com/rowmill/rowmill/internal/several"
	"github.com/rowmill/rowmill/pipeline"
)

// Concat is one source after the other. A run that goes on begins where it was if each
// of them can begin in the middle; the last one may have grown meanwhile.
func Concat(of ...pipeline.Source) pipeline.Source { return several.Concat(of...) }

// Interleave takes turns: a row of each source, in their order, for as long as it has
// any. The order is always the same; a run that goes on reads all of them from the start
// and leaves out what had ended, and none may have changed.
func Interleave(of ...pipeline.Source) pipeline.Source { return several.Interleave(of...) }
