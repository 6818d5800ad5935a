package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"
)

// Class says what an error does.
type Class uint8

const (
	// ClassRecord: this record has failed for good; it becomes a dead letter and the
	// run goes on. An error of no known kind is of this class.
	ClassRecord Class = iota
	// ClassTransient: another attempt may succeed. It costs an attempt.
	ClassTransient
	// ClassRefused: the other end was too busy to try (429, 529). Another attempt is
	// made when it allows; none is spent.
	ClassRefused
	// ClassFatal: no row can succeed (a wrong key, a spent quota, a full disk). It
	// stops the run.
	ClassFatal
	// ClassConfig: the pipeline is wrong. Found before the first row.
	ClassConfig
)

// String returns the class as it stands in dead letters and logs.
func (c Class) String() string {
	switch c {
	case ClassTransient:
		return "transient"
	case ClassRefused:
		return "refused"
	case ClassFatal:
		return "fatal"
	case ClassConfig:
		return "config"
	default:
		return "record"
	}
}

// Error is an error of a known class.
type Error struct {
	Class Class
	// Code is the short machine name: "context_length_exceeded", "http_500", "timeout".
	Code string
	// Err is the reason.
	Err error
	// RetryAfter is the least time until another attempt, as the other end asked
	// for; 0 if it did not.
	RetryAfter time.Duration
	// ForAll says that RetryAfter holds for every request to the other end, as with a
	// 503, and not only for this one. That of a refusal always does.
	ForAll bool
	// Answer is what came back, where something did that is worth keeping.
	Answer string
}

// Error returns the reason alone; class and code are data.
func (e *Error) Error() string {
	if e.Err == nil {
		return e.Code
	}
	return e.Err.Error()
}

// Unwrap returns the reason.
func (e *Error) Unwrap() error { return e.Err }

// Transient marks an error as one after which another attempt may succeed.
func Transient(code string, err error) error {
	return &Error{Class: ClassTransient, Code: code, Err: err}
}

// Fatal marks an error as one that stops the run.
func Fatal(code string, err error) error { return &Error{Class: ClassFatal, Code: code, Err: err} }

// Permanent marks an error as this record's: no attempt on it can succeed.
func Permanent(code string, err error) error {
	return &Error{Class: ClassRecord, Code: code, Err: err}
}

// Classify returns the class and code of an error: those of the [Error] in its
// chain, else what the standard library's errors say (a reset connection, a
// body cut short or a time-out is transient), else ClassRecord and "error".
func Classify(err error) (Class, string) {
	var known *Error
	var timeout net.Error
	var dns *net.DNSError
	switch {
	case errors.As(err, &known):
		return known.Class, known.Code
	case errors.As(err, &dns) && dns.IsNotFound:
		return ClassTransient, "dns"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return ClassTransient, "timeout"
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return ClassTransient, "cut_short"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, net.ErrClosed):
		return ClassTransient, "connection_reset"
	case errors.Is(err, syscall.ECONNREFUSED):
		return ClassTransient, "connection_refused"
	case errors.As(err, new(*net.OpError)):
		return ClassTransient, "network"
	default:
		return ClassRecord, "error"
	}
}

// ErrEnough is returned by a stage, beside its records, to say that it wants no
// more input: the source stops, what still arrives is dropped.
var ErrEnough = errors.New("enough")

// ErrStopped is what a wait returns when the run was asked to stop: the record
// is unfinished, not failed.
var ErrStopped = errors.New("the run was stopped")

// Problem is one mistake in a component's configuration.
type Problem struct {
	// Key is the path of the key within the component's configuration:
	// "rate_limit.requests_per_minute", "messages[2].content". Empty for the
	// component as a whole.
	Key string
	// Offset is the place inside a string value, in bytes from its start; 0 for
	// the value as a whole.
	Offset int
	// Err is what is wrong and what to do about it.
	Err error
}

// Problems is the error of a configuration with mistakes: all of them at once.
type Problems []Problem

// Error lists the mistakes, one a line.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, one := range p {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// Err returns p as an error, nil if there are no mistakes.
func (p Problems) Err() error {
	if len(p) == 0 {
		return nil
	}
	return p
}

// Addf notes a mistake at a key.
func (p *Problems) Addf(key, format string, args ...any) {
	*p = append(*p, Problem{Key: key, Err: fmt.Errorf(format, args...)})
}

// Error returns "key: what is wrong".
func (p Problem) Error() string {
	if p.Key == "" {
		return p.Err.Error()
	}
	return p.Key + ": " + p.Err.Error()
}

// Unwrap returns what is wrong.
func (p Problem) Unwrap() error { return p.Err }
