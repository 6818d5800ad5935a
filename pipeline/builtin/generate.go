package builtin

//go:generate sh -c "go run ../../cmd/rowmill components --format markdown >../../docs/reference.md"
//go:generate sh -c "go run ../../cmd/rowmill schema >../../docs/pipeline.schema.json"
