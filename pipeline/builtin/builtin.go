// Package builtin is the one list of the components that come with Rowmill. See
// package pipeline for the words.
package builtin

import (
	"fmt"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver of sql for PostgreSQL
	_ "modernc.org/sqlite"             // and for SQLite

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/sinks"
	httpsink "github.com/rowmill/rowmill/sinks/http"
	parquetsink "github.com/rowmill/rowmill/sinks/parquet"
	sinks3 "github.com/rowmill/rowmill/sinks/s3"
	sqlsink "github.com/rowmill/rowmill/sinks/sql"
	"github.com/rowmill/rowmill/sources"
	httpsource "github.com/rowmill/rowmill/sources/http"
	parquetsource "github.com/rowmill/rowmill/sources/parquet"
	sources3 "github.com/rowmill/rowmill/sources/s3"
	sqlsource "github.com/rowmill/rowmill/sources/sql"
	"github.com/rowmill/rowmill/stages"
	"github.com/rowmill/rowmill/stages/llm"
	sqlstage "github.com/rowmill/rowmill/stages/sql"
)

// Specs returns the built-in components: sources, stages, sinks.
func Specs() []pipeline.Spec {
	return []pipeline.Spec{
		sources.FileSpec(),
		httpsource.Spec(),
		parquetsource.Spec(),
		sources.RangeSpec(),
		sources3.Spec(),
		sqlsource.Spec(),
		sources.ValuesSpec(),

		stages.DedupeSpec(),
		stages.ExecSpec(),
		stages.FilterSpec(),
		stages.GroupSpec(),
		stages.LimitSpec(),
		llm.Spec(),
		stages.LookupSpec(),
		stages.MapSpec(),
		stages.ReduceSpec(),
		stages.SampleSpec(),
		stages.SplitSpec(),
		sqlstage.Spec(),
		stages.UngroupSpec(),
		stages.WindowSpec(),

		sinks.DiscardSpec(),
		sinks.FileSpec(),
		parquetsink.Spec(),
		sinks3.Spec(),
		httpsink.Spec(),
		sqlsink.Spec(),
		sinks.TextSpec(),
	}
}

// Registry returns a registry of the built-in components, to which a program may
// add its own. It is a new one each time. The error is two components of one name.
func Registry() (*pipeline.Registry, error) {
	r := new(pipeline.Registry)
	if err := r.Register(Specs()...); err != nil {
		return nil, fmt.Errorf("built-in components: %w", err)
	}
	return r, nil
}
