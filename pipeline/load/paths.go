package load

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
	"gopkg.in/yaml.v3"

	"github.com/rowmill/rowmill/pipeline"
)

// files are the files that a pipeline reads and writes.
type files struct{ inputs, outputs []file }

type file struct {
	path string
	at   string // the path of the key
	place
	standard bool // nobody wrote it: the default of the dead letters
}

// path returns the value of a part's key "path", which is a file's in every
// component that has one; "" if there is none.
func (p part) path() string {
	if p.config == nil {
		return ""
	}
	if n := p.config.get("path"); n != nil && n.kind == yaml.ScalarNode && !n.bad {
		return n.text
	}
	return ""
}

// name names a part for messages: "file out/tickets.jsonl".
func (p part) name() string {
	if p.config == nil {
		return ""
	}
	n := p.config.get("path")
	switch {
	case n == nil:
		return p.spec.Name
	case len(n.items) > 1:
		return p.spec.Name + " " + n.items[0].text + ", …"
	case len(n.items) == 1:
		n = n.items[0]
	}
	return strings.TrimSpace(p.spec.Name + " " + n.text)
}

func (f *files) addInputs(p part) {
	if p.config == nil || p.config.get("path") == nil {
		return
	}
	n, at := p.config.get("path"), join(p.at, "path")
	if n.kind == yaml.ScalarNode && !n.bad && n.text != "-" {
		f.inputs = append(f.inputs, file{path: n.text, at: at, place: n.place})
	}
	for i, one := range n.items {
		if one.kind == yaml.ScalarNode && !one.bad {
			f.inputs = append(f.inputs, file{path: one.text, at: at + "[" + strconv.Itoa(i) + "]", place: one.place})
		}
	}
}

func (f *files) addOutput(p part) {
	if path := p.path(); path != "" {
		n := p.config.get("path")
		f.outputs = append(f.outputs, file{path: path, at: join(p.at, "path"), place: n.place, standard: p.at == defaultDeadLetterPath})
	}
}

// checkFiles refuses a file that is read and written, or written twice.
func (l *loader) checkFiles(f files) {
	for i, out := range f.outputs {
		for _, in := range f.inputs {
			if !reads(in.path, out.path) {
				continue
			}
			if out.standard {
				l.at(in.place, in.at, "%s is where the dead letters would go by default; name another `dead_letter`", out.path)
			} else {
				l.at(out.place, out.at, "%s is read by the source too (%s)", out.path, in.path)
			}
		}
		for _, other := range f.outputs[:i] {
			if sameFile(other.path, out.path) {
				l.at(out.place, out.at, "%s is written by %s too", out.path, strings.TrimSuffix(other.at, ".path"))
			}
		}
	}
}

// reads reports whether the pattern of a source matches the file.
func reads(pattern, path string) bool {
	if sameFile(pattern, path) {
		return true
	}
	p, err := filepath.Abs(pattern)
	if err != nil {
		return false
	}
	a, err := filepath.Abs(path)
	matched, matchErr := doublestar.PathMatch(p, a)
	return err == nil && matchErr == nil && matched
}

func sameFile(a, b string) bool {
	if a == "-" || b == "-" {
		return a == b
	}
	absA, errA := filepath.Abs(a)
	absB, errB := filepath.Abs(b)
	if errA == nil && errB == nil && absA == absB {
		return true
	}
	infoA, errA := os.Stat(a)
	infoB, errB := os.Stat(b)
	return errA == nil && errB == nil && infoA.Mode().IsRegular() && os.SameFile(infoA, infoB)
}

// defaultDeadLetterPath is the path of the key for dead letters that nobody named.
const defaultDeadLetterPath = "dead_letter"

// defaultDeadLetter returns the sink for dead letters where none is named: a file
// beside the output, else beside the state of the run. Without a file sink there
// is none.
func (l *loader) defaultDeadLetter(name string, f *files) part {
	spec, ok := l.o.Registry.Lookup(pipeline.KindSink, "file")
	if !ok {
		return part{}
	}
	path := filepath.Join(".rowmill", name, "dead.jsonl")
	var at place
	if len(f.outputs) > 0 {
		at = f.outputs[0].place
		if out := f.outputs[0].path; out != "-" && !strings.Contains(out, "://") {
			path = withoutExtension(out) + ".dead.jsonl"
		}
	}
	return part{
		spec: spec, key: at, at: defaultDeadLetterPath, kind: pipeline.KindSink,
		config: &node{kind: yaml.MappingNode, tag: "!!map", place: at, entries: []entry{{
			key:   &node{kind: yaml.ScalarNode, tag: "!!str", text: "path", place: at},
			value: &node{kind: yaml.ScalarNode, tag: "!!str", text: path, place: at, style: yaml.DoubleQuotedStyle},
		}}},
	}
}

// withoutExtension removes what says how a file is compressed and what it holds.
func withoutExtension(path string) string {
	for _, known := range [][]string{
		{".gz", ".gzip", ".zst", ".zstd"},
		{".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".txt", ".text", ".md", ".parquet"},
	} {
		ext := filepath.Ext(path)
		if slices.Contains(known, strings.ToLower(ext)) && filepath.Base(path) != ext {
			path = strings.TrimSuffix(path, ext)
		}
	}
	return path
}
