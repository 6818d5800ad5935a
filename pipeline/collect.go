package pipeline

import "context"

// Collector is a stage that passes on nothing before everything has come: it groups rows
// by a key, or sorts them. The engine runs a pipeline that has one in two parts, one after
// the other: the source and the stages up to the Collector, into its [Collection]; then
// the rows of that through the stages behind it, into the sink. Each part keeps state of
// its own, so that both go on where they were after a kill. A row has ended ([Absorbed])
// when the Collection has it durably; what comes out are new rows, with dead letters of
// their own.
//
// It cannot be bound ([engine.Bind]), and takes every record (no When).
//
// [engine.Bind]: https://pkg.go.dev/github.com/rowmill/rowmill/pipeline/engine#Bind
type Collector interface {
	// Stage readies a record: what Process returns goes to the Collection, in the order of
	// the source. A record that cannot be collected fails here.
	Stage
	// Collection is where the records go; it is the same one each time.
	Collection() Collection
}

// Collection takes records until the input has ended, and then gives back what it has
// made of them. It is a sink whose output is cut back exactly ([Rewinder]) and lies in the
// folder that it is given ([Spooler]), or without one in a temporary folder of its own.
//
// Finish is called when all records are there. Records comes after Close, perhaps in
// another process, and yields the same rows in the same order whenever it is called; it
// yields an error if Finish was not called, or something is missing.
type Collection interface {
	Source
	Starter
	Spooler
	Rewinder
	Finisher
	// Discard removes what there is: nobody is going to read it again.
	Discard(ctx context.Context) error
}
