// Package lang compiles the expressions and templates of a pipeline, once, and
// says which fields they read. It is the only package that imports
// github.com/expr-lang/expr. See package pipeline for the words.
//
// An [Expression] computes a value from a record: score > 3 && channel == "email".
// It is the language of https://expr-lang.org/docs/language-definition, with
// these rules of our own:
//
//   - A field is read by its name. A name that is no identifier, or that is a word
//     of the language, is read by field("Best Answer").
//   - A field that the row lacks is nil, as one that is null; has("x") tells them
//     apart. Computing with nil is the row's error, never silently 0: write
//     (score ?? 0) > 3.
//   - What an expression only passes on keeps its exact bytes, however big or
//     nested: x, a.b, items[0], ok ? x : y, x ?? y, {"kept": x}.
//   - A name that no row can have, as far as that is known, is a mistake found
//     before the first row, except in has("x").
//   - Integers are exact. Where a sum, difference or product does not fit 64 bits,
//     and where one computes with a number that neither int64 nor float64 holds
//     (1e400, 18446744073709551616), that is the row's error. Such numbers are
//     equal only to the same spelling.
//   - Texts are counted, indexed and cut in characters (runes), never within one.
//   - string(x) and toJSON(x) write what templates write.
//
// A [Template] is a text with fields in it: "Translate {{.text}}". It has the
// syntax of text/template, on records instead of Go values:
//
//   - {{.text}} is a field, {{.a.b}} one within an object, {{field "Best Answer"}}
//     one whose name is no identifier. A field that the row lacks is the row's
//     error, also within if and with; {{field "x" "none"}} has a fallback for
//     that (a null is not missing), {{has "x"}} asks. These two may name a field that
//     no row has; for any other that is a mistake found before the first row.
//   - A string is written as it is, a number as it is spelled in the source, null as
//     nothing, a list or an object as JSON.
//   - False, 0, "", null, and the empty list and object count as false.
//   - Numbers compare as numbers, strings as strings; comparing one with the other is
//     the row's error.
//   - {{range}} goes over lists, over objects in the order of the source, and over
//     a number's 0, 1, …, n-1.
//   - The functions are those of text/template (and, or, not, eq, ne, lt, le, gt, ge,
//     len, index, slice, print, printf, println, html, urlquery), and: json (a value as
//     JSON), trim, lower, upper, truncate (truncate 100 .text: the first 100
//     characters), replace (replace "from" "to" .text), join (join ", " .tags), and
//     default (default "none" .x: where x is empty or null).
//   - There are no methods and there is no call. A rendered text may have up to
//     64 MiB, templates may nest 100 deep, and loops may turn 1 million times.
package lang

// SyntaxError is a mistake in an expression or a template, found when it is
// compiled.
type SyntaxError struct {
	// Offset is where the mistake is, in bytes from the start of the source text.
	Offset int
	// Err is what is wrong and what to do about it.
	Err error
}

// Error says what is wrong.
func (e *SyntaxError) Error() string { return e.Err.Error() }

// Unwrap returns what is wrong.
func (e *SyntaxError) Unwrap() error { return e.Err }
