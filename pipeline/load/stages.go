package load

import (
	"cmp"
	"errors"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/rowmill/rowmill/pipeline"
	"github.com/rowmill/rowmill/pipeline/engine"
	"github.com/rowmill/rowmill/pipeline/lang"
)

// stageNames returns the names of the stages of a list: the given ones, else the
// component's, with a number where that is taken; "" where there is none.
func (l *loader) stageNames(list *node) []string {
	names := make([]string, len(list.items))
	taken := map[string]bool{"source": true, "sink": true, "dead_letter": true}
	for i, item := range list.items {
		if n := item.get("name"); n != nil && n.kind == yaml.ScalarNode {
			names[i] = n.text
			taken[n.text] = true
		}
	}
	for i, item := range list.items {
		if item.get("name") != nil {
			continue
		}
		for _, e := range item.entries {
			if _, ok := l.o.Registry.Lookup(pipeline.KindStage, e.key.text); ok {
				names[i] = firstFree(e.key.text, taken)
				taken[names[i]] = true
				break
			}
		}
	}
	return names
}

func firstFree(name string, taken map[string]bool) string {
	for i, free := 2, name; ; i++ {
		if !taken[free] {
			return free
		}
		free = name + "-" + strconv.Itoa(i)
	}
}

// stages builds the stages and returns what the records look like behind them.
func (l *loader) stages(p *pipeline.Pipeline, entries []captured, list *node, shape pipeline.Shape) pipeline.Shape {
	if list == nil || list.kind != yaml.SequenceNode {
		return l.oneStage(p, entries, shape)
	}
	names := l.stageNames(list)
	first := map[string]int{}
	parts := make([]stagePart, len(entries))
	for i, c := range entries {
		if c.n == nil {
			shape = pipeline.Shape{}
			continue
		}
		l.checkStageName(c, names[i], first, i)
		parts[i], shape = l.stage(p, c, names[i], shape)
	}
	l.checkOrder(parts)
	return shape
}

// oneStage is for `stages` that is a single entry instead of a list.
func (l *loader) oneStage(p *pipeline.Pipeline, entries []captured, shape pipeline.Shape) pipeline.Shape {
	for _, c := range entries {
		_, shape = l.stage(p, c, "", shape)
	}
	return shape
}

func (l *loader) checkStageName(c captured, name string, first map[string]int, i int) {
	n := c.n.get("name")
	if n == nil || n.kind != yaml.ScalarNode || n.bad {
		return
	}
	at := join(c.path, "name")
	switch before, taken := first[name]; {
	case !goodName.MatchString(name):
		l.at(n.place, at, "%q cannot be a name: %s", shorten(name), nameRule)
	case slices.Contains([]string{"source", "sink", "dead_letter"}, name):
		l.at(n.place, at, "a stage cannot be called %q: the %[1]s is", name)
	case taken:
		l.at(n.place, at, "stages[%d] has the name %q already", before, name)
	default:
		first[name] = i
	}
}

// stagePart is a stage that was built, with its keys.
type stagePart struct {
	captured
	stage pipeline.Stage // nil if it could not be built
	keys  stageKeys
}

// stage builds one stage, adds it to p, and returns what the records look like
// behind it.
func (l *loader) stage(p *pipeline.Pipeline, c captured, name string, in pipeline.Shape) (stagePart, pipeline.Shape) {
	keys := stageKeys{Ordered: true}
	part := l.part(pipeline.KindStage, c, &keys)
	step := pipeline.Step{Component: part.spec.Name, Workload: part.spec.Workload, Costs: part.spec.Costs, StepOptions: keys.options()}
	step.Name = name
	l.checkRetry(keys, c)
	l.checkTimeout(keys.Timeout, c)
	if n := c.n.get("when"); n != nil && keys.When != "" {
		l.inside = part.spec.Name
		step.When = l.condition(keys.When, n, join(c.path, "when"), in)
	}
	built, ok := l.component(part, pipeline.Env{Name: name, Shape: in}).(pipeline.Stage)
	if !ok {
		in.Closed = false // what is known of the fields that are there still holds
		return stagePart{captured: c, keys: keys}, in
	}
	step.Stage = built
	p.Steps = append(p.Steps, step)
	l.checkSense(step, c)
	out := shapeBehind(built, in)
	if keys.When != "" {
		out = in.Or(out)
	}
	return stagePart{captured: c, keys: keys, stage: built}, out
}

// condition compiles the expression of a node; nil after noting why it is none.
func (l *loader) condition(src string, n *node, path string, in pipeline.Shape) pipeline.Condition {
	e, err := lang.CompileExpression(src, in)
	switch {
	case err != nil:
		l.problem(pipeline.Problem{Err: err}, n, path, n.place)
	case e.Type() == pipeline.StringType:
		l.at(n.place, path, "must be true or false for each record, and this is a text")
	case e.Type() == pipeline.NumberType:
		l.at(n.place, path, "must be true or false for each record, and this is a number")
	default:
		return e
	}
	return nil
}

func (l *loader) checkRetry(keys stageKeys, c captured) {
	if r := keys.Retry; r.MaxBackoff > 0 && r.MaxBackoff < max(r.Backoff, pipeline.Duration(time.Millisecond)) {
		n := c.n.get("retry").get("max_backoff")
		l.at(n.place, join(join(c.path, "retry"), "max_backoff"), "must be at least the backoff, %v, not %v", r.Backoff, r.MaxBackoff)
	}
}

// checkTimeout refuses bounds of a part that the bound of the whole leaves no room for.
func (l *loader) checkTimeout(k timeoutKeys, c captured) {
	total := cmp.Or(k.Total, pipeline.Duration(time.Minute))
	for _, part := range []struct {
		key   string
		bound pipeline.Duration
	}{{"connect", k.Connect}, {"first_byte", k.FirstByte}, {"idle", k.Idle}} {
		if part.bound > total {
			n := c.n.get("timeout").get(part.key)
			l.at(n.place, join(join(c.path, "timeout"), part.key), "must be at most the bound of the whole, total: %v, not %v", total, part.bound)
		}
	}
}

// checkSense warns of keys that do nothing for this stage, or nothing good.
func (l *loader) checkSense(step pipeline.Step, c captured) {
	_, turner := step.Stage.(pipeline.Turner)
	_, sequential := step.Stage.(pipeline.Sequential)
	if pipeline.Together(step.Stage) && step.When != nil {
		n := c.n.get("when")
		l.at(n.place, join(c.path, "when"), "%s takes every record, as those that pass by would tear its batches apart; put a filter in front of it", step.Component)
	}
	if _, collects := step.Stage.(pipeline.Collector); collects && step.When != nil {
		n := c.n.get("when")
		l.at(n.place, join(c.path, "when"), "%s takes every record, as what passes by could not go on before the others; put a filter in front of it", step.Component)
	}
	if _, ok := step.Stage.(pipeline.Deadliner); !ok && step.Deadlines != (pipeline.Deadlines{}) {
		n := c.n.get("timeout")
		l.at(n.place, join(c.path, "timeout"), "%s knows of no parts of an attempt; give one duration, like timeout: 30s", step.Component)
	}
	if !turner && step.Hedge != (pipeline.Hedge{}) {
		n := c.n.get("hedge")
		l.at(n.place, join(c.path, "hedge"), "is for stages that ask a model, and %s is none", step.Component)
	}
	cores := runtime.GOMAXPROCS(0)
	warn := func(key, format string, args ...any) {
		if n := c.n.get(key); n != nil {
			l.warn(n.place, join(c.path, key), format, args...)
		}
	}
	switch {
	case sequential && step.Parallelism > 1:
		warn("parallelism", "has no effect: the stage works on one record at a time")
	case step.Workload == pipeline.Computes && !turner && step.Parallelism > cores:
		warn("parallelism", "%d is more than the %d processors there are, and the stage computes: it gets slower, not faster", step.Parallelism, cores)
	case !step.Unordered && step.ReorderWindow > 0 && step.ReorderWindow < step.Parallelism:
		warn("reorder_window", "%d is less than the parallelism: never more than %[1]d records are in the stage", step.ReorderWindow)
	}
	if step.Workload == pipeline.Waits || turner {
		return
	}
	const useless = "makes little sense here: the stage computes and asks nobody, so another attempt ends like the first"
	if step.Retry != (pipeline.Retry{}) {
		warn("retry", useless)
	}
	if b := step.Breaker; !b.Off && b != (pipeline.Breaker{}) {
		warn("breaker", useless)
	}
	if step.Timeout > 0 {
		warn("timeout", "makes little sense here: the stage computes and asks nobody")
	}
}

// checkOrder warns of keys about the order that have no effect.
func (l *loader) checkOrder(parts []stagePart) {
	for i, p := range parts {
		if p.stage == nil || p.keys.Ordered {
			continue
		}
		later := slices.IndexFunc(parts[i:], func(p stagePart) bool { return p.stage != nil && engine.NeedsOrder(p.stage) })
		key, reason := "reorder_window", "has no effect with ordered: false"
		if later >= 0 {
			key, reason = "ordered", "false has no effect: "+parts[i+later].path+" depends on the order"
		}
		if n := p.n.get(key); n != nil {
			l.warn(n.place, join(p.path, key), "%s", reason)
		}
	}
}

// problem notes a component's complaint about the value n at a path; whole is the
// place if the key is not there.
func (l *loader) problem(p pipeline.Problem, n *node, path string, whole place) {
	offset := p.Offset
	var syntax *lang.SyntaxError
	if offset == 0 && errors.As(p.Err, &syntax) {
		offset = syntax.Offset
	}
	if n == nil {
		l.at(whole, path, "%v", p.Err)
		return
	}
	l.at(l.placeIn(n, offset), path, "%v", p.Err)
}

// keysOf returns the keys that stand beside a component.
func keysOf(keys any) []field { return fieldsOf(reflect.TypeOf(keys).Elem()) }
