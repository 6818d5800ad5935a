package load_test

import (
	"context"
	"fmt"
	"os"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/builtin"
	"github.com/rowmill/rowmill/pipeline/engine"
	"github.com/rowmill/rowmill/pipeline/load"
)

// A pipeline in YAML, run by a Go program. What the program has the components see, its
// environment and standard output, it says.
func ExampleBytes() {
	const text = `
name: cities
source: {values: {rows: [{city: Lisbon, size: 545}, {city: Kyoto, size: 1464}]}}
stages:
  - filter: {where: size > 1000}
  - map: {set: {known: '"yes"'}}
sink: {file: {path: '-', format: jsonl}}
`
	registry, err := builtin.Registry()
	if err != nil {
		fmt.Println(err)
		return
	}
	p, err := load.Bytes("cities.yaml", []byte(text), load.Options{Registry: registry, Env: pipeline.Env{Stdout: os.Stdout}})
	if err != nil {
		fmt.Println(err)
		return
	}
	s, err := engine.Run(context.Background(), p, engine.Options{Preflight: true})
	fmt.Println(s.Counts.Delivered, "of", s.Counts.Read, err)
	// Output:
	// {"city":"Kyoto","size":1464,"known":"yes"}
	// 1 of 2 <nil>
}

// All mistakes are found at once, each with its place.
func ExampleBytes_mistakes() {
	const text = `
source: {values: {rows: [{city: Lisbon}]}}
stages:
  - filter: {were: city != ""}
    paralelism: 4
sink: {discard: {}}
`
	registry, err := builtin.Registry()
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = load.Bytes("cities.yaml", []byte(text), load.Options{Registry: registry})
	fmt.Println(err)
	// Output:
	// cities.yaml:4:14: stages[0].filter.were: unknown key; did you mean "where"?
	// cities.yaml:5:5: stages[0].paralelism: unknown key; did you mean "parallelism"?
}
