package house_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// source is one Go file that is no test.
type source struct {
	path string // from the root of the module
	code []byte
	file *ast.File
	set  *token.FileSet
}

func (s source) at(n ast.Node) token.Position {
	p := s.set.Position(n.Pos())
	p.Filename = s.path
	return p
}

// sources returns the Go files of the module that are no tests.
func sources(t *testing.T) []source {
	t.Helper()
	const root = "../.."
	var all []source
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := d.Name(); d.IsDir() && path != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "out") {
			return filepath.SkipDir
		}
		if d.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		s := source{set: token.NewFileSet()}
		if s.path, err = filepath.Rel(root, path); err != nil {
			return err
		}
		if s.code, err = os.ReadFile(path); err != nil {
			return err
		}
		s.file, err = parser.ParseFile(s.set, path, s.code, parser.ParseComments|parser.SkipObjectResolution)
		all = append(all, s)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 20 {
		t.Fatalf("found %d files only", len(all))
	}
	return all
}

func TestFilesAreShort(t *testing.T) {
	t.Parallel()
	const most = 500
	for _, s := range sources(t) {
		if n := bytes.Count(s.code, []byte("\n")); n > most {
			t.Errorf("%s has %d lines, more than %d: it holds more than one thing", s.path, n, most)
		}
	}
}

func TestNoInit(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t) {
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s: func init: importing a package must do nothing", s.at(f))
			}
		}
	}
}

// TestNoMutableVariables: a variable of a package may be an error, a compiled
// pattern, an embedded file, a type, or a check of an interface. What could be
// changed at run time is a value that a program gives.
func TestNoMutableVariables(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t) {
		for _, d := range s.file.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.VAR {
				continue
			}
			for _, one := range g.Specs {
				spec, _ := one.(*ast.ValueSpec)
				if v := mutable(g, spec); v != "" {
					t.Errorf("%s: var %s is %s: a package keeps no state", s.at(spec), spec.Names[0].Name, v)
				}
			}
		}
	}
}

// mutable says in what way a variable may change, "" if in none.
func mutable(g *ast.GenDecl, spec *ast.ValueSpec) string {
	embedded := strings.Contains(comment(g.Doc)+comment(spec.Doc), "//go:embed ")
	blank := !slices.ContainsFunc(spec.Names, func(n *ast.Ident) bool { return n.Name != "_" })
	if embedded || blank {
		return ""
	}
	if len(spec.Values) == 0 {
		return "without a value"
	}
	for _, v := range spec.Values {
		if u, ok := v.(*ast.UnaryExpr); ok && u.Op == token.AND {
			return "a pointer"
		}
		if lit, ok := v.(*ast.CompositeLit); ok && isCollection(lit.Type) {
			return "a map or a list"
		}
		call, ok := v.(*ast.CallExpr)
		if !ok {
			continue
		}
		if name, ok := call.Fun.(*ast.Ident); ok && (name.Name == "make" || name.Name == "new") {
			return "made to be filled"
		}
	}
	return ""
}

// isCollection reports whether a type is a map or a slice; one of bytes is a text.
func isCollection(t ast.Expr) bool {
	if _, ok := t.(*ast.MapType); ok {
		return true
	}
	list, ok := t.(*ast.ArrayType)
	if !ok || list.Len != nil {
		return false
	}
	elem, _ := list.Elt.(*ast.Ident)
	return elem == nil || elem.Name != "byte"
}

// TestComponentsStartNothing: concurrency, waiting and time are the engine's.
func TestComponentsStartNothing(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t) {
		top, _, _ := strings.Cut(filepath.ToSlash(s.path), "/")
		if !slices.Contains([]string{"sources", "stages", "sinks"}, top) {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s: a component starts no goroutine: the engine runs it as often as it may", s.at(n))
			case *ast.CallExpr:
				if what := waits(n); what != "" {
					t.Errorf("%s: %s: a component makes no channel and waits for no clock; return an error of class transient, and the engine waits", s.at(n), what)
				}
			}
			return true
		})
	}
}

// waits returns the call if it makes a channel or waits for a time.
func waits(call *ast.CallExpr) string {
	switch f := call.Fun.(type) {
	case *ast.Ident:
		if f.Name == "make" && len(call.Args) > 0 {
			if _, channel := call.Args[0].(*ast.ChanType); channel {
				return "make(chan)"
			}
		}
	case *ast.SelectorExpr:
		pkg, _ := f.X.(*ast.Ident)
		if pkg != nil && pkg.Name == "time" && slices.Contains([]string{"Sleep", "After", "Tick", "NewTimer", "NewTicker"}, f.Sel.Name) {
			return "time." + f.Sel.Name
		}
	}
	return ""
}

// comment returns a comment as it stands, directives included.
func comment(g *ast.CommentGroup) string {
	if g == nil {
		return ""
	}
	var b strings.Builder
	for _, c := range g.List {
		b.WriteString(c.Text + "\n")
	}
	return b.String()
}

func TestPackagesHaveNamesAndComments(t *testing.T) {
	t.Parallel()
	documented := map[string]string{}
	for _, s := range sources(t) {
		dir := filepath.Dir(s.path)
		if slices.Contains([]string{"util", "utils", "common", "types", "helpers", "misc", "base"}, s.file.Name.Name) {
			t.Errorf("package %s in %s: a package is named for what it is about", s.file.Name.Name, dir)
		}
		if _, seen := documented[dir]; !seen {
			documented[dir] = ""
		}
		if s.file.Doc == nil {
			continue
		}
		if before := documented[dir]; before != "" {
			t.Errorf("%s and %s both have a package comment; one says it", before, s.path)
		}
		documented[dir] = s.path
	}
	for dir, by := range documented {
		if by == "" {
			t.Errorf("the package in %s has no package comment", dir)
		}
	}
}
