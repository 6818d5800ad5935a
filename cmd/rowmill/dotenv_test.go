package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseEnv(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		src  string
		want map[string]string
		line string // ":3:" of a mistake
	}{
		"plain":                              {src: "A=1\nB=two words\n", want: map[string]string{"A": "1", "B": "two words"}},
		"export":                             {src: "export A=1", want: map[string]string{"A": "1"}},
		"comments, empty lines":              {src: "# first\n\nA=1 # one\n", want: map[string]string{"A": "1"}},
		"quotes":                             {src: "A='a # b'\nB=\"x\\ny\"\n", want: map[string]string{"A": "a # b", "B": "x\ny"}},
		"several lines in quotes":            {src: "A=\"x\ny\"\nB=2", want: map[string]string{"A": "x\ny", "B": "2"}},
		"empty value":                        {src: "A=\nB=2", want: map[string]string{"A": "", "B": "2"}},
		"carriage returns":                   {src: "A=1\r\nB=2\r\n", want: map[string]string{"A": "1", "B": "2"}},
		"byte order mark":                    {src: "\ufeffA=1\n", want: map[string]string{"A": "1"}},
		"empty":                              {src: "", want: map[string]string{}},
		"one refers to another":              {src: "HOST=h\nURL=http://${HOST}/", want: map[string]string{"HOST": "h", "URL": "http://h/"}},
		"no equals sign":                     {src: "A=1\nsk-secret\nB=2\n", line: ":2:"},
		"no equals sign, at the end":         {src: "A=1\nsksecret", line: ":2:"},
		"a space in the name":                {src: "A=1\nB=2\nMY sksecret=3\n", line: ":3:"},
		"an open quote":                      {src: "A=1\n\nB=\"sksecret\nC=3\n", line: ":3:"},
		"an open quote behind several lines": {src: "A=\"x\ny\"\nB='sksecret", line: ":3:"},
		"not text at all":                    {src: "\x00\x01\x02sksecret", line: ":1:"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := parseEnv("dir/.env", []byte(c.src))
			if c.line == "" {
				if err != nil || !cmp.Equal(got, c.want) {
					t.Errorf("got %v, %v; want %v", got, err, c.want)
				}
				return
			}
			if err == nil || !strings.HasPrefix(err.Error(), "dir/.env"+c.line) {
				t.Fatalf("got %v, %v; want an error at %s", got, err, c.line)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("the error shows what may be a secret: %v", err)
			}
		})
	}
}

func TestReadEnvironment(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(path, content string) {
		t.Helper()
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("a/.env", "WHERE=a\nBOTH=file\nEMPTY=file\n")
	write("a/b/.env/pyvenv.cfg", "") // a Python virtual environment
	write("a/b/c/.env", "WHERE=c\n")
	write("other.env", "WHERE=other\n")
	process := func(name string) (string, bool) {
		value, set := map[string]string{"BOTH": "process", "EMPTY": ""}[name]
		return value, set
	}
	for name, c := range map[string]struct{ pipeline, named, variable, want string }{
		"beside":             {"a/b/c/x.yaml", "", "WHERE", "c"},
		"nearest above":      {"a/b/x.yaml", "", "WHERE", "a"},
		"named":              {"a/b/c/x.yaml", "other.env", "WHERE", "other"},
		"process wins":       {"a/x.yaml", "", "BOTH", "process"},
		"process wins empty": {"a/x.yaml", "", "EMPTY", ""},
		"nowhere":            {"a/x.yaml", "", "NONE", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.named != "" {
				c.named = filepath.Join(dir, c.named)
			}
			e, err := readEnvironment(process, filepath.Join(dir, c.pipeline), c.named)
			if err != nil {
				t.Fatal(err)
			}
			if got := e.Getenv(c.variable); got != c.want {
				t.Errorf("%s = %q, want %q (from %s)", c.variable, got, c.want, e.file)
			}
		})
	}
	if _, err := readEnvironment(process, "x.yaml", filepath.Join(dir, "missing.env")); err == nil {
		t.Error("a named file that is missing: got no error")
	}
}
