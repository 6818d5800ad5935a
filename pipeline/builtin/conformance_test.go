package builtin_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/builtin"
)

// Every component runs the suite of its kind: the folder in which it stands has a
// test function called Test<Name>Conformance (whatever may follow; a component's
// name "my_file" is MyFile there, upper and lower case do not matter), in which
// pipelinetest.Source, Stage or Sink is called. A component is what has a Spec, and
// what an exported function of sources, stages or sinks returns as a
// pipeline.Source, Stage or Sink.

// component is something that must run a suite.
type component struct {
	kind   pipeline.Kind
	name   string
	folder string
}

// suite is the suite of a kind in package pipelinetest.
func suite(kind pipeline.Kind) string { return strings.ToUpper(string(kind[:1])) + string(kind[1:]) }

func TestEveryComponentRunsItsSuite(t *testing.T) {
	t.Parallel()
	files := goFiles(t)
	components := goComponents(files)
	if len(components) < 4 {
		t.Errorf("only %v are found among the components for Go programs", components)
	}
	for _, s := range builtin.Specs() {
		c := component{kind: s.Kind, name: s.Name}
		for path, f := range files {
			if f.code == s.Code {
				c.folder = filepath.Dir(path)
			}
		}
		components = append(components, c)
	}
	for _, c := range components {
		if !runsSuite(files, c) {
			t.Errorf("%s %s: no test Test%sConformance in %q calls pipelinetest.%s: give it one, and its laws are kept",
				c.kind, c.name, suite(pipeline.Kind(c.name)), c.folder, suite(c.kind))
		}
	}
}

// goFile is a file of a component's package.
type goFile struct {
	code string
	tree *ast.File
}

// goFiles returns the files of the folders in which components stand, by path.
func goFiles(t *testing.T) map[string]goFile {
	t.Helper()
	files := map[string]goFile{}
	for _, house := range []string{"sources", "stages", "sinks"} {
		err := filepath.WalkDir(filepath.Join("../..", house), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || filepath.Ext(path) != ".go" {
				return err
			}
			code, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			tree, err := parser.ParseFile(token.NewFileSet(), path, code, parser.SkipObjectResolution)
			files[path] = goFile{string(code), tree}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// goComponents returns the components that have no Spec: those for Go programs.
func goComponents(files map[string]goFile) (found []component) {
	for path, f := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		for _, d := range f.tree.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.IsExported() {
				if kind := returns(fn); kind != "" {
					found = append(found, component{kind, fn.Name.Name, filepath.Dir(path)})
				}
			}
		}
	}
	return found
}

// returns is the kind of component that a function returns, "" if it returns none.
func returns(fn *ast.FuncDecl) pipeline.Kind {
	if fn.Type.Results == nil || len(fn.Type.Results.List) == 0 {
		return ""
	}
	for _, kind := range []pipeline.Kind{pipeline.KindSource, pipeline.KindStage, pipeline.KindSink} {
		if isOf(fn.Type.Results.List[0].Type, "pipeline", suite(kind)) {
			return kind
		}
	}
	return ""
}

// isOf reports whether an expression is a name of a package.
func isOf(e ast.Expr, pkg, name string) bool {
	s, ok := e.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	from, ok := s.X.(*ast.Ident)
	return ok && from.Name == pkg && s.Sel.Name == name
}

// runsSuite reports whether a component's folder has its conformance test.
func runsSuite(files map[string]goFile, c component) bool {
	name := "test" + strings.ReplaceAll(strings.ToLower(c.name), "_", "") + "conformance"
	for path, f := range files {
		if filepath.Dir(path) != c.folder || !strings.HasSuffix(path, "_test.go") {
			continue
		}
		for _, d := range f.tree.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if ok && fn.Recv == nil && strings.HasPrefix(strings.ToLower(fn.Name.Name), name) && calls(fn, suite(c.kind)) {
				return true
			}
		}
	}
	return false
}

// calls reports whether a function of the package pipelinetest is called in fn.
func calls(fn *ast.FuncDecl, name string) (found bool) {
	ast.Inspect(fn, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		found = found || ok && isOf(call.Fun, "pipelinetest", name)
		return !found
	})
	return found
}

// TestASuiteThatIsMissingIsNoticed keeps the test above from passing for nothing.
func TestASuiteThatIsMissingIsNoticed(t *testing.T) {
	t.Parallel()
	const code = `package x
		func TestGoodConformance(t *testing.T) { t.Run("a", func(t *testing.T) { pipelinetest.Stage(t, c) }) }
		func TestMyFileConformanceOfX(t *testing.T) { pipelinetest.Stage(t, c) }
		func TestOtherKindConformance(t *testing.T) { pipelinetest.Sink(t, c) }
		func TestEmptyConformance(t *testing.T) { _ = pipelinetest.Stage }
		func TestMisnamed(t *testing.T) { pipelinetest.Stage(t, c) }
		func New(int) (pipeline.Stage, error) { return nil, nil }
		func (s S) Method() pipeline.Stage { return nil }
		func Helper() {}`
	tree, err := parser.ParseFile(token.NewFileSet(), "x_test.go", code, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]goFile{"x/x_test.go": {code, tree}, "y/y.go": {code, tree}}
	for name, want := range map[string]bool{"good": true, "my_file": true, "otherkind": false, "empty": false, "misnamed": false} {
		if got := runsSuite(files, component{pipeline.KindStage, name, "x"}); got != want {
			t.Errorf("%s: runs its suite is %v, want %v", name, got, want)
		}
	}
	if runsSuite(files, component{pipeline.KindStage, "good", "y"}) {
		t.Error("a suite in no test file counts")
	}
	if got := goComponents(files); len(got) != 1 || got[0] != (component{pipeline.KindStage, "New", "y"}) {
		t.Errorf("components for Go programs are %v, want New alone", got)
	}
}
