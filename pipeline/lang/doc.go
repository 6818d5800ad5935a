// Package lang compiles the expressions and templates of a pipeline, once, and
// says which fields they read. It is the only package that imports
// github.com/expr-lang/expr.
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
