package load

import (
	"fmt"
	"strings"

	"github.com/rowmill/rowmill/pipeline"
)

// ReferenceText returns the reference of the components of that name, of every
// kind, as plain text. The names "pipeline", "source", "stage" and "sink" are for
// the keys at the top of the YAML and beside each kind of component; the empty
// name is for the list of all of it.
func ReferenceText(reg *pipeline.Registry, name string) (string, error) {
	if name == "" {
		return listText(reg), nil
	}
	var b strings.Builder
	switch name {
	case "pipeline", "source", "stage", "sink":
		if err := engineText(&b, name); err != nil {
			return "", err
		}
	}
	for _, kind := range kindsOf(reg, name) {
		d, err := Reference(reg, kind, name)
		if err != nil {
			return "", err
		}
		if b.Len() > 0 {
			b.WriteString("\n")
		}
		d.text(&b)
	}
	if b.Len() == 0 {
		names := []string{"pipeline", "source", "stage", "sink"}
		for _, kind := range kinds() {
			names = append(names, reg.Names(kind)...)
		}
		return "", errUnknown("component", name, names)
	}
	return b.String(), nil
}

// listText lists the components, a line each.
func listText(reg *pipeline.Registry) string {
	var b strings.Builder
	for _, kind := range kinds() {
		fmt.Fprintf(&b, "%ss\n", kind)
		for _, name := range reg.Names(kind) {
			spec, _ := reg.Lookup(kind, name)
			fmt.Fprintf(&b, "  %-10s %s\n", name, spec.Summary)
		}
		b.WriteString("\n")
	}
	b.WriteString("keys of the engine\n")
	fmt.Fprintf(&b, "  %-10s %s\n", "pipeline", "at the top of the file")
	for _, kind := range kinds() {
		fmt.Fprintf(&b, "  %-10s beside the component of a %[1]s\n", kind)
	}
	return b.String()
}

func engineText(b *strings.Builder, name string) error {
	keys, err := PipelineKeys()
	title := "pipeline: the keys at the top of the file"
	if name != "pipeline" {
		keys, err = EngineKeys(pipeline.Kind(name))
		title = name + ": the keys beside the component of a " + name
	}
	if err != nil {
		return err
	}
	b.WriteString(title + "\n\n")
	keysText(b, keys, "  ")
	return nil
}

func (d Doc) text(b *strings.Builder) {
	fmt.Fprintf(b, "%s %s: %s\n", d.Kind, d.Name, d.Summary)
	if d.Kind == pipeline.KindStage {
		fmt.Fprintf(b, "  %s\n", parallelismOf(d.Workload))
	}
	b.WriteString("\n")
	if len(d.Keys) == 0 {
		b.WriteString("  it has no keys\n")
	}
	keysText(b, d.Keys, "  ")
	if d.Example != "" {
		b.WriteString("\n  Example:\n\n")
		for line := range strings.Lines(d.Example) {
			b.WriteString(strings.TrimRight("    "+line, "\n ") + "\n")
		}
	}
}

func keysText(b *strings.Builder, keys []KeyDoc, indent string) {
	for _, k := range keys {
		fmt.Fprintf(b, "%s%s  (%s)\n", indent, k.Name, k.Traits())
		for _, line := range wrap(k.Meaning, 88-len(indent)) {
			b.WriteString(indent + "    " + line + "\n")
		}
		keysText(b, k.Keys, indent+"    ")
	}
}

// Traits says in one line what the value is and how it is bounded: "whole number,
// default 100, at least 1".
func (k KeyDoc) Traits() string {
	parts := []string{k.Type}
	if len(k.OneOf) > 0 {
		parts = append(parts, "one of "+strings.Join(k.OneOf, ", "))
	}
	if k.Required {
		parts = append(parts, "required")
	}
	if k.Default != "" && !strings.Contains(k.Meaning, "Defaults to ") {
		parts = append(parts, "default "+k.Default)
	}
	if k.Min != "" {
		parts = append(parts, "at least "+k.Min)
	}
	if k.Max != "" {
		parts = append(parts, "at most "+k.Max)
	}
	return strings.Join(parts, ", ")
}

// wrap cuts a text into lines of at most width bytes where it can.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}

// ReferenceMarkdown returns the reference of all components and of the engine's
// keys as one Markdown page.
func ReferenceMarkdown(reg *pipeline.Registry) (string, error) {
	var b strings.Builder
	b.WriteString("# Reference\n\n## The pipeline\n\nThe keys at the top of the file.\n\n")
	keys, err := PipelineKeys()
	if err != nil {
		return "", err
	}
	keysMarkdown(&b, keys, "")
	for _, kind := range kinds() {
		title := strings.ToUpper(string(kind[:1])) + string(kind[1:])
		fmt.Fprintf(&b, "\n## %ss\n\nThe keys beside the component of a %s.\n\n", title, kind)
		if keys, err = EngineKeys(kind); err != nil {
			return "", err
		}
		keysMarkdown(&b, keys, "")
		for _, name := range reg.Names(kind) {
			d, err := Reference(reg, kind, name)
			if err != nil {
				return "", err
			}
			d.markdown(&b)
		}
	}
	return b.String(), nil
}

func (d Doc) markdown(b *strings.Builder) {
	fmt.Fprintf(b, "\n### `%s` (%s)\n\n%s\n\n", d.Name, d.Kind, d.Summary)
	if len(d.Keys) == 0 {
		b.WriteString("It has no keys.\n")
	}
	keysMarkdown(b, d.Keys, "")
	if d.Example != "" {
		fmt.Fprintf(b, "\n```yaml\n%s\n```\n", d.Example)
	}
}

func keysMarkdown(b *strings.Builder, keys []KeyDoc, indent string) {
	for _, k := range keys {
		fmt.Fprintf(b, "%s- **`%s`** (%s): %s\n", indent, k.Name, k.Traits(), k.Meaning)
		keysMarkdown(b, k.Keys, indent+"  ")
	}
}
