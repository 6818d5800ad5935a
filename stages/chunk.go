package stages

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// piece is a part of a text: text[start:end] belongs to it alone, and
// text[overlap:start] repeats the end of the piece before.
type piece struct{ overlap, start, end int }

// pieces cuts a text. Every piece but that of an empty text has something of its own.
func (c ChunkConfig) pieces(text string) []piece {
	pieces := []piece{{end: c.cut(text, 0, c.Size)}}
	for {
		last := pieces[len(pieces)-1]
		if last.end == len(text) {
			return pieces
		}
		next := piece{start: last.end}
		next.overlap = c.overlap(text, last)
		next.end = c.cut(text, next.start, c.Size-c.measure(text[next.overlap:next.start]))
		pieces = append(pieces, next)
	}
}

// measure counts the units of a text.
func (c ChunkConfig) measure(text string) int {
	if c.Unit == unitBytes {
		return len(text)
	}
	return utf8.RuneCountInString(text)
}

// advance returns the index behind at most n units of text from start on, between
// two runes.
func (c ChunkConfig) advance(text string, start, n int) int {
	if c.Unit == unitBytes {
		end := min(start+n, len(text))
		for at := end - 1; at > start && at > end-utf8.UTFMax && end < len(text); at-- {
			if _, size := utf8.DecodeRuneInString(text[at:]); at+size > end {
				return at
			}
		}
		return end
	}
	end := start
	for ; n > 0 && end < len(text); n-- {
		_, size := utf8.DecodeRuneInString(text[end:])
		end += size
	}
	return end
}

// cut returns where a piece of at most n units ends that begins at start.
func (c ChunkConfig) cut(text string, start, n int) int {
	limit := c.advance(text, start, n)
	if limit == len(text) {
		return limit
	}
	half := c.advance(text, start, (n+1)/2)
	for _, ends := range []func(string, int) bool{endsParagraph, endsSentence} {
		if at := lastEnd(text, half, limit, ends); at > 0 {
			return at
		}
	}
	if at := lastEnd(text, start+1, limit, endsWord); at > 0 {
		return at
	}
	return c.within(text, start, limit)
}

// lastEnd returns the last place in text[from:to+1] where something ends, or 0.
func lastEnd(text string, from, to int, ends func(string, int) bool) int {
	for at := to; at >= from && at > 0; at-- {
		if ends(text, at) {
			return at
		}
	}
	return 0
}

// endsWord reports whether white space ends at that place, and what follows is none.
func endsWord(text string, at int) bool {
	before, _ := utf8.DecodeLastRuneInString(text[:at])
	after, _ := utf8.DecodeRuneInString(text[at:])
	return unicode.IsSpace(before) && !unicode.IsSpace(after) && !joined(text, at)
}

// endsSentence reports whether a sentence or a line ends at that place, with the
// white space behind it.
func endsSentence(text string, at int) bool {
	if !endsWord(text, at) {
		before, _ := utf8.DecodeLastRuneInString(text[:at])
		return strings.ContainsRune("。！？", before) && !joined(text, at)
	}
	body := strings.TrimRightFunc(text[:at], unicode.IsSpace)
	if strings.ContainsRune(text[len(body):at], '\n') {
		return true
	}
	body = strings.TrimRight(body, `"')]}”’»`)
	last, _ := utf8.DecodeLastRuneInString(body)
	return strings.ContainsRune(".!?…。！？", last)
}

// endsParagraph reports whether an empty line ends at that place.
func endsParagraph(text string, at int) bool {
	if !endsWord(text, at) {
		return false
	}
	space := text[len(strings.TrimRightFunc(text[:at], unicode.IsSpace)):at]
	return strings.Count(space, "\n") >= 2
}

// within returns a place at or before limit where a word can be cut: not before a
// mark that belongs to the character in front of it, nor within CR LF.
func (c ChunkConfig) within(text string, start, limit int) int {
	for at := limit; at > start; {
		if !joined(text, at) {
			return at
		}
		_, size := utf8.DecodeLastRuneInString(text[start:at])
		at -= size
	}
	return limit
}

// joined reports whether the runes on both sides of a place are one character.
func joined(text string, at int) bool {
	before, _ := utf8.DecodeLastRuneInString(text[:at])
	after, _ := utf8.DecodeRuneInString(text[at:])
	const joiner = '\u200d'
	return before == '\r' && after == '\n' || before == joiner || after == joiner ||
		unicode.In(after, unicode.Mn, unicode.Me, unicode.Mc) || '\U0001F3FB' <= after && after <= '\U0001F3FF'
}

// overlap returns where the repeated end of a piece begins: at a word, if one begins
// in the last so many units of it; between two characters otherwise.
func (c ChunkConfig) overlap(text string, last piece) int {
	if c.Overlap == 0 {
		return last.end
	}
	from := last.end
	for n := c.Overlap; from > last.overlap; {
		_, size := utf8.DecodeLastRuneInString(text[:from])
		if n -= c.measure(text[from-size : from]); n < 0 {
			break
		}
		from -= size
	}
	for at := from; at < last.end; at++ {
		if at == 0 || endsWord(text, at) {
			return at
		}
	}
	for from < last.end && joined(text, from) {
		_, size := utf8.DecodeRuneInString(text[from:])
		from += size
	}
	return from
}
