package lang

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template/parse"

	"github.com/rowmill/rowmill/pipeline"
)

// templateChecker walks a template before the first row: which fields it reads,
// and whether there is everything that it names.
type templateChecker struct {
	shape     pipeline.Shape
	defined   map[string]*parse.Tree
	functions map[string]templateFunction
	fields    []string
	whole     bool
	variables []checkedVariable
	seen      map[seenTemplate]bool
	err       error
}

// checkedVariable is a variable and whether it holds the record.
type checkedVariable struct {
	name     string
	isRecord bool
}

// seenTemplate is a defined template, and whether it was called with the record.
type seenTemplate struct {
	name     string
	isRecord bool
}

func (c *templateChecker) fail(at parse.Pos, err error) {
	if c.err == nil {
		c.err = &SyntaxError{Offset: int(at), Err: err}
	}
}

// list checks nodes where dot is the record or something else.
func (c *templateChecker) list(list *parse.ListNode, dot bool) {
	if list == nil {
		return
	}
	for _, node := range list.Nodes {
		switch n := node.(type) {
		case *parse.ActionNode:
			if c.pipe(n.Pipe, dot) && len(n.Pipe.Decl) == 0 {
				c.whole = true
			}
		case *parse.IfNode:
			c.branch(&n.BranchNode, dot, func(bool) bool { return dot })
		case *parse.WithNode:
			c.branch(&n.BranchNode, dot, func(isRecord bool) bool { return isRecord })
		case *parse.RangeNode:
			c.branch(&n.BranchNode, dot, func(isRecord bool) bool { c.whole = c.whole || isRecord; return false })
		case *parse.TemplateNode:
			c.template(n, dot)
		}
	}
}

func (c *templateChecker) branch(n *parse.BranchNode, dot bool, inner func(isRecord bool) bool) {
	mark := len(c.variables)
	isRecord := c.pipe(n.Pipe, dot)
	if n.NodeType == parse.NodeRange {
		for i := mark; i < len(c.variables); i++ {
			c.variables[i].isRecord = false
		}
	}
	declared := len(c.variables)
	c.list(n.List, inner(isRecord))
	c.variables = c.variables[:declared]
	c.list(n.ElseList, dot)
	c.variables = c.variables[:mark]
}

func (c *templateChecker) template(n *parse.TemplateNode, dot bool) {
	isRecord := n.Pipe != nil && c.pipe(n.Pipe, dot)
	tree, ok := c.defined[n.Name]
	if !ok || n.Name == "" {
		c.fail(n.Pos, fmt.Errorf("there is no template %q: define it with {{define %[1]q}}…{{end}}", n.Name))
		return
	}
	if key := (seenTemplate{n.Name, isRecord}); !c.seen[key] {
		c.seen[key] = true
		saved := c.variables
		c.variables = []checkedVariable{{"$", isRecord}}
		c.list(tree.Root, isRecord)
		c.variables = saved
	}
}

// pipe checks a pipeline and reports whether its value is the record itself.
func (c *templateChecker) pipe(p *parse.PipeNode, dot bool) bool {
	isRecord := false
	for i, cmd := range p.Cmds {
		isRecord = c.command(cmd, dot, i > 0)
		if isRecord && len(p.Cmds) > 1 {
			c.whole, isRecord = true, false
		}
	}
	for _, v := range p.Decl {
		name := v.Ident[0]
		if p.IsAssign {
			c.whole = c.whole || isRecord // whatever it held before, it is no field from here on
		}
		c.variables = append(c.variables, checkedVariable{name, isRecord})
	}
	return isRecord
}

func (c *templateChecker) command(cmd *parse.CommandNode, dot, piped bool) bool {
	first := cmd.Args[0]
	if id, ok := first.(*parse.IdentifierNode); ok {
		c.call(id, cmd.Args[1:], dot, piped)
		return false
	}
	if len(cmd.Args) > 1 || piped {
		c.fail(first.Position(), notFunction(cmd, piped))
		return false
	}
	if _, ok := first.(*parse.NilNode); ok {
		c.fail(first.Position(), errors.New("nil is no value to write"))
	}
	return c.operand(first, dot)
}

// notFunction explains {{.Best Answer}}.
func notFunction(cmd *parse.CommandNode, piped bool) error {
	first := cmd.Args[0].String()
	if name, ok := strings.CutPrefix(cmd.String(), "."); ok && !piped {
		return fmt.Errorf("%s is no function, so it takes no arguments; a field whose name is no identifier is written {{field %q}}", first, name)
	}
	return fmt.Errorf("%s is no function, so it takes no arguments", first)
}

func (c *templateChecker) call(id *parse.IdentifierNode, args []parse.Node, dot, piped bool) {
	count := len(args)
	if piped {
		count++
	}
	fn, ok := c.functions[id.Ident]
	switch {
	case !ok:
		c.fail(id.Pos, c.errNoFunction(id.Ident))
	case count < fn.min || fn.max >= 0 && count > fn.max:
		c.fail(id.Pos, fmt.Errorf("%s takes %s, not %d", id.Ident, fn.counts(), count))
	case fn.names:
		c.named(id, args, count)
	}
	for _, arg := range args {
		if c.operand(arg, dot) {
			c.whole = true
		}
	}
}

func (c *templateChecker) errNoFunction(name string) error {
	_, isField := c.shape.Lookup(name)
	near, like := nearest(name, slices.Sorted(maps.Keys(c.functions)))
	switch {
	case isField || !like:
		return fmt.Errorf("there is no function %q; the field is written {{.%[1]s}}", name)
	default:
		return fmt.Errorf("there is no function %q; did you mean %q? A field is written {{.%[1]s}}", name, near)
	}
}

// named notes the field that field or has names.
func (c *templateChecker) named(id *parse.IdentifierNode, args []parse.Node, count int) {
	var name *parse.StringNode
	if len(args) > 0 {
		name, _ = args[0].(*parse.StringNode)
	}
	if name == nil {
		c.fail(id.Pos, fmt.Errorf(`%s takes the name of a field in quotes: {{%[1]s "Best Answer"}}`, id.Ident))
		return
	}
	optional := id.Ident == "has" || count > 1
	c.field(name.Pos, name.Text, optional)
}

func (c *templateChecker) field(at parse.Pos, name string, optional bool) {
	if !optional && !c.shape.MayHave(name) {
		c.fail(at, errNoField(name, c.shape, inTemplate))
		return
	}
	if !slices.Contains(c.fields, name) {
		c.fields = append(c.fields, name)
	}
}

// operand checks one operand and reports whether it is the record itself.
func (c *templateChecker) operand(node parse.Node, dot bool) bool {
	switch n := node.(type) {
	case *parse.DotNode:
		return dot
	case *parse.FieldNode:
		if dot {
			c.field(n.Pos, n.Ident[0], false)
		}
	case *parse.VariableNode:
		return c.variable(n)
	case *parse.ChainNode:
		if c.operand(n.Node, dot) {
			c.field(n.Pos, n.Field[0], false)
		}
	case *parse.PipeNode:
		return c.pipe(n, dot)
	case *parse.IdentifierNode:
		c.call(n, nil, dot, false)
	case *parse.NumberNode:
		if _, ok := number(n); !ok {
			c.fail(n.Pos, fmt.Errorf("%s is no number that a row can hold", n.Text))
		}
	}
	return false
}

func (c *templateChecker) variable(n *parse.VariableNode) bool {
	isRecord := n.Ident[0] == "$"
	for i := len(c.variables) - 1; i >= 0; i-- {
		if c.variables[i].name == n.Ident[0] {
			isRecord = c.variables[i].isRecord
			break
		}
	}
	if isRecord && len(n.Ident) > 1 {
		c.field(n.Pos, n.Ident[1], false)
		return false
	}
	return isRecord
}

// explainTemplate turns an error of the parser, which names only a line, into one
// with a place and a hint.
func explainTemplate(src string, err error) error {
	parts := regexp.MustCompile(`(?s)^template: :(\d+): (.*)$`).FindStringSubmatch(err.Error())
	if parts == nil {
		return &SyntaxError{Err: err}
	}
	line, _ := strconv.Atoi(parts[1])
	message := strings.ReplaceAll(parts[2], " in action started at :", " in the action that begins in line ")
	offset, action := findAction(src, line)
	if name, ok := fieldMeant(action); ok {
		message = fmt.Sprintf("%s; a field whose name is no identifier is written {{field %q}}", message, name)
	}
	return &SyntaxError{Offset: offset, Err: errors.New(message)}
}

// findAction returns the first action that is wrong by itself among those that
// touch a line, else the first of them, else the line.
func findAction(src string, line int) (offset int, action string) {
	from := lineStart(src, line)
	to := lineStart(src, line+1)
	first := -1
	for i := 0; i < to; {
		begin := strings.Index(src[i:], "{{")
		if begin < 0 || i+begin >= to {
			break
		}
		begin += i
		end := len(src)
		if n := strings.Index(src[begin:], "}}"); n >= 0 {
			end = begin + n + 2
		}
		i = end
		if end <= from {
			continue
		}
		if first < 0 {
			first = begin
		}
		if wrongAlone(src[begin:end]) {
			return begin, src[begin:end]
		}
	}
	if first >= 0 {
		return first, ""
	}
	return from, ""
}

func lineStart(src string, line int) int {
	at := 0
	for ; line > 1; line-- {
		n := strings.IndexByte(src[at:], '\n')
		if n < 0 {
			return len(src)
		}
		at += n + 1
	}
	return at
}

// wrongAlone reports whether an action is wrong whatever stands around it.
func wrongAlone(action string) bool {
	tree := parse.New("")
	tree.Mode = parse.SkipFuncCheck
	_, err := tree.Parse(action, "", "", map[string]*parse.Tree{})
	if err == nil {
		return false
	}
	for _, about := range []string{"unexpected EOF", "unexpected {{end}}", "unexpected {{else", "undefined variable", "outside {{range}}"} {
		if strings.Contains(err.Error(), about) {
			return false
		}
	}
	return true
}

// fieldMeant returns the name in an action like {{.best-answer}}.
func fieldMeant(action string) (string, bool) {
	parts := regexp.MustCompile("^\\{\\{(?:-\\s)?\\s*\\.([^\"`|()$]*?[^\"`|()$\\s])(?:\\s+-)?\\s*\\}\\}$").FindStringSubmatch(action)
	if parts == nil {
		return "", false
	}
	return parts[1], true
}
