package house_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// TestExportedNamesAreDocumented: whoever embeds Rowmill reads the package documentation
// and nothing else. Packages and everything exported have a comment that says
// something: types, functions, methods, constants and variables.
func TestExportedNamesAreDocumented(t *testing.T) {
	t.Parallel()
	packages := map[string]bool{} // by folder: whether it has a comment
	for _, s := range sources(t) {
		folder := filepath.Dir(s.path)
		packages[folder] = packages[folder] || s.file.Doc != nil
		if top, _, _ := strings.Cut(folder, string(filepath.Separator)); top == "cmd" || top == "examples" || top == "internal" {
			continue
		}
		for name, at := range undocumented(s.file) {
			t.Errorf("%s: %s has no comment, and is all that a user sees of it", s.at(at), name)
		}
	}
	for folder, documented := range packages {
		if !documented {
			t.Errorf("%s has no package comment", folder)
		}
	}
}

// undocumented returns the exported names of a file that have no comment.
func undocumented(file *ast.File) map[string]ast.Node {
	missing := map[string]ast.Node{}
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Name.IsExported() && d.Doc == nil && ofExported(d) {
				missing[d.Name.Name] = d
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				for _, name := range namesOf(spec, d) {
					missing[name.Name] = name
				}
			}
		}
	}
	return missing
}

// ofExported reports whether a function is no method, or one of an exported type that has
// no interface to speak for it: the methods of a component are documented there.
func ofExported(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	of := d.Recv.List[0].Type
	for {
		switch x := of.(type) {
		case *ast.StarExpr:
			of = x.X
		case *ast.IndexExpr:
			of = x.X
		case *ast.IndexListExpr:
			of = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return false
		}
	}
}

// namesOf returns the exported names of a declaration that have no comment, neither of
// their own nor, for constants and variables, of their group.
func namesOf(spec ast.Spec, d *ast.GenDecl) []*ast.Ident {
	var names []*ast.Ident
	switch spec := spec.(type) {
	case *ast.TypeSpec:
		if spec.Name.IsExported() && spec.Doc == nil && d.Doc == nil {
			names = append(names, spec.Name)
		}
		names = append(names, members(spec)...)
	case *ast.ValueSpec:
		for _, name := range spec.Names {
			if name.IsExported() && spec.Doc == nil && spec.Comment == nil && d.Doc == nil {
				names = append(names, name)
			}
		}
	}
	return names
}

// members returns the exported methods of an interface that have no comment.
func members(spec *ast.TypeSpec) (names []*ast.Ident) {
	i, ok := spec.Type.(*ast.InterfaceType)
	if !ok || !spec.Name.IsExported() || len(i.Methods.List) < 2 {
		return nil // the one method of an interface is what the interface's comment says
	}
	for _, m := range i.Methods.List {
		for _, name := range m.Names {
			if name.IsExported() && m.Doc == nil && m.Comment == nil {
				names = append(names, name)
			}
		}
	}
	return names
}

// TestUndocumentedNamesAreFound: the rule can fail.
func TestUndocumentedNamesAreFound(t *testing.T) {
	t.Parallel()
	const code = `package p
type Plain struct{}
// Doc is documented.
type Doc struct{}
func (Doc) Method() {}
func (d *Gen[T]) Star() {}
func (hidden) Method2() {}
func Free() {}
const Loose = 1
// A group.
const ( In = 1 )
// Two has two methods.
type Two interface { A(); B() }
// One says it.
type One interface { C() }
`
	file, err := parser.ParseFile(token.NewFileSet(), "p.go", code, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	got := undocumented(file)
	for _, name := range []string{"Plain", "Method", "Star", "Free", "Loose", "A", "B"} {
		if got[name] == nil {
			t.Errorf("%s was not found", name)
		}
		delete(got, name)
	}
	for name := range got {
		t.Errorf("%s was found", name)
	}
}
