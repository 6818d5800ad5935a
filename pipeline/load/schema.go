package load

import (
	"reflect"
	"strconv"

	json "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/rowmill/rowmill/pipeline"
)

// object is a JSON object of the schema.
type object = map[string]any

// Schema returns the JSON Schema (draft 7) of the YAML of a pipeline, for editors.
// It knows keys, types, bounds and choices; expressions, templates and what keys
// mean together only loading knows.
func Schema(reg *pipeline.Registry) ([]byte, error) {
	top, err := PipelineKeys()
	if err != nil {
		return nil, err
	}
	s := schemaOf(reflect.TypeFor[pipelineKeys](), top)
	s["$schema"] = "http://json-schema.org/draft-07/schema#"
	s["title"] = "A Rowmill pipeline"
	properties, _ := s["properties"].(object)
	for _, key := range top {
		kind, depth := entryKind(key.Name)
		if kind == "" {
			continue
		}
		entry, err := entrySchema(reg, kind, key.Name)
		if err != nil {
			return nil, err
		}
		if depth == 2 {
			entry = object{"type": []string{"array", "null"}, "items": entry}
		}
		entry["description"] = key.Meaning
		properties[key.Name] = entry
	}
	s["allOf"] = []object{either("source", "sources"), either("sink", "sinks")}
	return json.Marshal(s, json.Deterministic(true), jsontext.WithIndent("  "))
}

// either is the schema of a mapping that has one of two keys.
func either(one, other string) object {
	return object{"oneOf": []object{{"required": []string{one}}, {"required": []string{other}}}}
}

// entrySchema is the schema of an entry at a top-level key: one component, and
// the engine's keys beside it.
func entrySchema(reg *pipeline.Registry, kind pipeline.Kind, key string) (object, error) {
	s := object{"type": "object", "additionalProperties": false, "properties": object{}}
	if key != "dead_letter" {
		keys, err := EngineKeys(kind)
		if err != nil {
			return nil, err
		}
		s = schemaOf(reflect.TypeOf(map[pipeline.Kind]any{
			pipeline.KindSource: sourceKeys{}, pipeline.KindStage: stageKeys{}, pipeline.KindSink: sinkKeys{},
		}[kind]), keys)
	}
	properties, _ := s["properties"].(object)
	var choices []object
	for _, name := range reg.Names(kind) {
		d, err := Reference(reg, kind, name)
		if err != nil {
			return nil, err
		}
		spec, _ := reg.Lookup(kind, name)
		component := schemaOf(reflect.TypeOf(newConfig(spec)).Elem(), d.Keys)
		if component["required"] == nil && component["type"] == "object" {
			component["type"] = []string{"object", "null"}
		}
		component["description"] = d.Summary
		properties[name] = component
		choices = append(choices, object{"required": []string{name}})
	}
	if len(choices) > 0 {
		s["oneOf"] = choices
	}
	return s, nil
}

// schemaOf is the schema of a struct.
func schemaOf(t reflect.Type, docs []KeyDoc) object {
	if t.Kind() != reflect.Struct {
		return object{}
	}
	properties := object{}
	var required []string
	for i, f := range fieldsOf(t) {
		p := valueSchema(f.typ, f.flags, docs[i].Keys)
		p["description"] = docs[i].Meaning
		properties[f.name] = p
		if f.required {
			required = append(required, f.name)
		}
	}
	s := object{"type": "object", "additionalProperties": false, "properties": properties}
	if required != nil {
		s["required"] = required
	}
	return s
}

// substituted is the schema of a value that comes from the environment.
func substituted() object { return object{"type": "string", "pattern": `\$\{`} }

// valueSchema is the schema of a value of type t.
func valueSchema(t reflect.Type, f flags, docs []KeyDoc) object {
	switch {
	case t.Kind() == reflect.Pointer:
		return object{"anyOf": []object{valueSchema(t.Elem(), f, docs), {"type": "null"}}}
	case is[pipeline.Value](t), t.Kind() == reflect.Interface, is[captured](t):
		return object{}
	case is[pipeline.Pairs](t):
		return object{"type": "object", "additionalProperties": valueSchema(reflect.TypeFor[string](), f, nil)}
	case is[timeoutKeys](t) && len(docs) > 0:
		return object{"anyOf": []object{schemaOf(t, docs), {"type": []string{"string", "number", "boolean"}}}}
	case t.Kind() == reflect.Struct && isText(t) && len(docs) > 0:
		return object{"anyOf": []object{schemaOf(t, docs), {"enum": []any{"off", false}}, substituted()}}
	case isText(t):
		return object{"type": []string{"string", "number", "boolean"}}
	}
	switch t.Kind() {
	case reflect.Struct:
		return schemaOf(t, docs)
	case reflect.Slice:
		item := valueSchema(t.Elem(), f, docs)
		list := object{"type": "array", "items": item}
		if structIn(t) != nil || is[pipeline.Value](t.Elem()) {
			return list
		}
		return object{"anyOf": []object{list, item}}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": valueSchema(t.Elem(), f, docs)}
	default:
		return scalarSchema(t, f)
	}
}

func scalarSchema(t reflect.Type, f flags) object {
	switch t.Kind() {
	case reflect.String:
		if len(f.oneOf) > 0 {
			return object{"anyOf": []object{{"enum": f.oneOf}, substituted()}}
		}
		if f.expr {
			return object{"type": []string{"string", "number", "boolean"}}
		}
		return object{"type": "string"}
	case reflect.Bool:
		return object{"anyOf": []object{{"type": "boolean"}, substituted()}}
	}
	number := object{"type": "number"}
	if t.Kind() != reflect.Float32 && t.Kind() != reflect.Float64 {
		number["type"] = "integer"
	}
	for name, text := range map[string]string{"minimum": f.min, "maximum": f.max} {
		if bound, err := strconv.ParseFloat(text, 64); err == nil {
			number[name] = bound
		}
	}
	return object{"anyOf": []object{number, substituted()}}
}
