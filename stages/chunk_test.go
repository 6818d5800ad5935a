package stages

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestPieces(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		config ChunkConfig
		text   string
		want   []string
	}{
		"short":                    {ChunkConfig{Size: 8}, "short", []string{"short"}},
		"exactly":                  {ChunkConfig{Size: 8}, "exactly.", []string{"exactly."}},
		"empty":                    {ChunkConfig{Size: 8}, "", []string{""}},
		"paragraph":                {ChunkConfig{Size: 20}, "A b c. D e.\n\nF. G h i j k", []string{"A b c. D e.\n\n", "F. G h i j k"}},
		"paragraph of Windows":     {ChunkConfig{Size: 20}, "A b c. D e.\r\n\r\nF. G h i", []string{"A b c. D e.\r\n\r\n", "F. G h i"}},
		"too early a paragraph":    {ChunkConfig{Size: 20}, "A b.\n\nC d e f g. H i j k", []string{"A b.\n\nC d e f g. ", "H i j k"}},
		"sentence":                 {ChunkConfig{Size: 20}, "One is two? Three four five.", []string{"One is two? ", "Three four five."}},
		"quoted sentence":          {ChunkConfig{Size: 20}, `He said "no." Then he left.`, []string{`He said "no." `, "Then he left."}},
		"line":                     {ChunkConfig{Size: 20}, "- first item\n- second item", []string{"- first item\n", "- second item"}},
		"Chinese sentence":         {ChunkConfig{Size: 8}, "你好吗这里。我很好谢谢你", []string{"你好吗这里。", "我很好谢谢你"}},
		"word":                     {ChunkConfig{Size: 12}, "aaa bbb ccc ddd eee", []string{"aaa bbb ccc ", "ddd eee"}},
		"a decimal is no sentence": {ChunkConfig{Size: 12}, "only 3.14159 here", []string{"only ", "3.14159 here"}},
		"long word":                {ChunkConfig{Size: 8}, "aa bbbbbbbbbbbbbbbbbb cc", []string{"aa ", "bbbbbbbb", "bbbbbbbb", "bb cc"}},
		"bytes":                    {ChunkConfig{Size: 9, Unit: "bytes"}, "éééééééé", []string{"éééé", "éééé"}},
		"chars":                    {ChunkConfig{Size: 9, Unit: "chars"}, "éééééééé", []string{"éééééééé"}},
		"CR LF":                    {ChunkConfig{Size: 8}, "aaaaaaa\r\nbbb", []string{"aaaaaaa", "\r\nbbb"}},
		"a mark":                   {ChunkConfig{Size: 8}, "aaaaaaae\u0301bbb", []string{"aaaaaaa", "e\u0301bbb"}},
		"a family":                 {ChunkConfig{Size: 8}, "aaaaaa\U0001F468\u200d\U0001F469b", []string{"aaaaaa", "\U0001F468\u200d\U0001F469b"}},
		"overlap":                  {ChunkConfig{Size: 12, Overlap: 5}, "aaa bbb ccc ddd eee", []string{"aaa bbb ccc ", "ccc ddd eee"}},
		"more overlap":             {ChunkConfig{Size: 16, Overlap: 8}, "aaa bbb ccc ddd eee fff", []string{"aaa bbb ccc ddd ", "ccc ddd eee fff"}},
		"overlap in a word":        {ChunkConfig{Size: 8, Overlap: 2}, "abcdefghijklmn", []string{"abcdefgh", "ghijklmn"}},
		"overlap in bytes":         {ChunkConfig{Size: 10, Overlap: 3, Unit: "bytes"}, "ééééééééé", []string{"ééééé", "ééééé"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, p := range c.config.pieces(c.text) {
				got = append(got, c.text[p.overlap:p.end])
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// TestPiecesMakeUpTheText: the pieces, but for their overlaps, are the text; each is
// as large as it may be, and none ends within a character.
func TestPiecesMakeUpTheText(t *testing.T) {
	t.Parallel()
	parts := rapid.SampledFrom([]string{"a", "word ", "Stop. ", "\n\n", "\r\n", "\r", "é", "e\u0301", "你", "。", "\U0001F468\u200d\U0001F469", "  ", ".", "\t", "longerword", "\u00a0", "\xff", "\x80\x80\x80\x80\x80"})
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOfN(parts, 0, 60).Draw(t, "text"), "")
		c := ChunkConfig{Size: rapid.IntRange(8, 40).Draw(t, "size"), Unit: rapid.SampledFrom([]string{"", "chars", "bytes"}).Draw(t, "unit")}
		c.Overlap = rapid.IntRange(0, c.Size/2).Draw(t, "overlap")
		var whole strings.Builder
		for i, p := range c.pieces(text) {
			whole.WriteString(text[p.start:p.end])
			if size := c.measure(text[p.overlap:p.end]); size > c.Size {
				t.Fatalf("piece %d has %d units, more than %d", i, size, c.Size)
			}
			if n := c.measure(text[p.overlap:p.start]); n > c.Overlap {
				t.Fatalf("piece %d repeats %d units, more than %d", i, n, c.Overlap)
			}
			if p.start == p.end && text != "" {
				t.Fatalf("piece %d has nothing of its own", i)
			}
			for _, at := range []int{p.overlap, p.start, p.end} {
				if utf8.ValidString(text) && at < len(text) && !utf8.RuneStart(text[at]) {
					t.Fatalf("piece %d is cut within a rune at %d", i, at)
				}
				if at > 0 && at < len(text) && text[at-1] == '\r' && text[at] == '\n' {
					t.Fatalf("piece %d is cut within CR LF at %d", i, at)
				}
			}
		}
		if whole.String() != text {
			t.Fatalf("the pieces make up %q, not %q", whole.String(), text)
		}
	})
}

func BenchmarkPieces(b *testing.B) {
	text := strings.Repeat("Some words make a sentence. Another one follows it, and is longer.\n\n", 2000)
	c := ChunkConfig{Size: 1000, Overlap: 100}
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		c.pieces(text)
	}
}
