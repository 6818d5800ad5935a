package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/joho/godotenv"
)

// environment is what a pipeline sees of the environment: that of the process,
// and below it a .env file.
type environment struct {
	lookup func(name string) (string, bool)
	file   string            // "" if there is none
	vars   map[string]string // of the file
}

// Getenv returns a variable, "" if it is not set. What the process has wins, even
// if it is empty.
func (e environment) Getenv(name string) string {
	if value, set := e.lookup(name); set {
		return value
	}
	return e.vars[name]
}

// readEnvironment reads the .env file of a pipeline: the named one if a name is
// given, else the one beside the pipeline's file or in the nearest folder above.
func readEnvironment(lookup func(string) (string, bool), pipelineFile, named string) (environment, error) {
	e := environment{lookup: lookup, file: named}
	if named == "" {
		found, err := findEnvFile(pipelineFile)
		if found == "" || err != nil {
			return e, err
		}
		e.file = found
	}
	src, err := os.ReadFile(e.file)
	if err != nil {
		return e, fmt.Errorf("environment file: %w", err)
	}
	e.vars, err = parseEnv(e.file, src)
	return e, err
}

// findEnvFile returns the nearest .env, "" if there is none. Folders of that name
// (Python's virtual environments) are none.
func findEnvFile(pipelineFile string) (string, error) {
	dir, err := filepath.Abs(filepath.Dir(pipelineFile))
	if err != nil {
		return "", fmt.Errorf("environment file: %w", err)
	}
	for {
		path := filepath.Join(dir, ".env")
		switch info, err := os.Stat(path); {
		case err == nil && info.Mode().IsRegular():
			return path, nil
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return "", fmt.Errorf("environment file: %w", err)
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", nil
		}
		dir = parent
	}
}

// mostEnv bounds the size of a .env file: what is longer was not meant to be one.
const mostEnv = 1 << 20

// parseEnv reads NAME=value lines. An error says in which line the mistake is, and
// nothing of what stands there: godotenv's own errors show the values.
func parseEnv(file string, src []byte) (map[string]string, error) {
	if len(src) > mostEnv {
		return nil, fmt.Errorf("%s: is longer than %d bytes; it cannot be an environment file", file, mostEnv)
	}
	src = bytes.TrimPrefix(src, []byte("\xef\xbb\xbf"))
	if vars, ok := tryEnv(string(src)); ok {
		return vars, nil
	}
	return nil, fmt.Errorf(`%s:%d: is not of the form NAME=value, or lacks a closing quote; a comment begins with "#"`, file, wrongLine(string(src)))
}

// tryEnv parses, and refuses what godotenv lets through: a line without "=", a name
// with spaces.
func tryEnv(src string) (map[string]string, bool) {
	vars, err := godotenv.Unmarshal(src)
	if err != nil {
		return nil, false
	}
	for name := range vars {
		if name == "" || strings.ContainsAny(name, " \t\v\f\r\u0085\u00a0") {
			return nil, false
		}
	}
	return vars, true
}

// mostLines is how many lines a quoted value may take (a key in PEM has up to 60)
// for a mistake behind it to be found.
const mostLines = 200

// wrongLine returns the number of the first line with which nothing begins that
// can be parsed. A quoted value may take several lines.
func wrongLine(src string) int {
	lines := strings.SplitAfter(src, "\n")
	for i := 0; i < len(lines); {
		taken := 0
		for n := 1; n <= min(mostLines, len(lines)-i) && taken == 0; n++ {
			if _, ok := tryEnv(strings.Join(lines[i:i+n], "")); ok {
				taken = n
			}
		}
		if taken == 0 {
			return i + 1
		}
		i += taken
	}
	return len(lines)
}
