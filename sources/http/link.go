package http

import "strings"

// nextLink returns where the header fields Link (RFC 8288) say that the next page is; ""
// if they do not.
func nextLink(fields []string) string {
	for _, field := range fields {
		for rest := field; ; {
			from := strings.IndexByte(rest, '<')
			if from < 0 {
				break
			}
			target, after, ok := strings.Cut(rest[from+1:], ">")
			if !ok {
				break
			}
			var next bool
			if next, rest = relatesNext(after); next {
				return strings.TrimSpace(target)
			}
		}
	}
	return ""
}

// relatesNext reads the parameters of a link up to the comma in front of another link, and
// reports whether its relation is next. Of several `rel` the first counts.
func relatesNext(text string) (next bool, rest string) {
	said := false
	for {
		text = strings.TrimLeft(text, " \t")
		if text == "" || text[0] == ',' {
			return next, strings.TrimPrefix(text, ",")
		}
		text = strings.TrimLeft(strings.TrimPrefix(text, ";"), " \t")
		end := strings.IndexAny(text, "=;,")
		if end < 0 {
			return next, ""
		}
		name := strings.TrimSpace(text[:end])
		if text = text[end:]; text[0] != '=' {
			continue // a parameter without a value
		}
		var value string
		value, text = paramValue(strings.TrimLeft(text[1:], " \t"))
		if strings.EqualFold(name, "rel") && !said {
			said, next = true, isNext(value)
		}
	}
}

// paramValue takes a value, quoted or not, off the front of a text.
func paramValue(text string) (value, rest string) {
	if !strings.HasPrefix(text, `"`) {
		end := strings.IndexAny(text, ";,")
		if end < 0 {
			end = len(text)
		}
		return strings.TrimSpace(text[:end]), text[end:]
	}
	var b strings.Builder
	for i := 1; i < len(text); i++ {
		switch {
		case text[i] == '"':
			return b.String(), text[i+1:]
		case text[i] == '\\' && i+1 < len(text):
			i++
			b.WriteByte(text[i])
		default:
			b.WriteByte(text[i])
		}
	}
	return b.String(), ""
}

// isNext reports whether one of several relations is next.
func isNext(relations string) bool {
	for _, relation := range strings.Fields(relations) {
		if strings.EqualFold(relation, "next") {
			return true
		}
	}
	return false
}
