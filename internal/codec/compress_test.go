package codec

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"
)

// pack compresses each part by itself: members, frames.
func pack(t testing.TB, kind Compression, parts ...string) []byte {
	t.Helper()
	var out bytes.Buffer
	for _, part := range parts {
		c, err := NewCompressor(&out, "", kind)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, part); err != nil {
			t.Fatal(err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

func unpack(data []byte, path string, c Compression) (string, error) {
	d := Decompress(iotest.OneByteReader(bytes.NewReader(data)), path, c)
	out, err := io.ReadAll(d)
	return string(out), errors.Join(err, d.Close())
}

func TestDecompress(t *testing.T) {
	t.Parallel()
	skipped := append([]byte{0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3}, pack(t, Zstd, "text")...)
	for name, c := range map[string]struct {
		data []byte
		path string
		c    Compression
		want string
		fail string
	}{
		"plain":                     {[]byte("text"), "a.csv", AutoCompression, "text", ""},
		"plain, empty":              {nil, "a.csv", AutoCompression, "", ""},
		"plain, begins like gzip":   {[]byte{0x1f}, "a.csv", AutoCompression, "\x1f", ""},
		"plain, begins like zstd":   {[]byte("(\xb5/"), "a.csv", AutoCompression, "(\xb5/", ""},
		"plain, begins like a skip": {[]byte("P*M"), "a.csv", AutoCompression, "P*M", ""},
		"gzip by name":              {pack(t, Gzip, "text"), "a.csv.gz", AutoCompression, "text", ""},
		"gzip by magic":             {pack(t, Gzip, "text"), "a.csv", "", "text", ""},
		"gzip members":              {pack(t, Gzip, "one", "", "two"), "a.gz", Gzip, "onetwo", ""},
		"zstd by name":              {pack(t, Zstd, "text"), "a.csv.ZST", AutoCompression, "text", ""},
		"zstd by magic":             {pack(t, Zstd, "text"), "stdin", AutoCompression, "text", ""},
		"zstd frames":               {pack(t, Zstd, "one", "", "two"), "a.zst", Zstd, "onetwo", ""},
		"zstd behind a skip":        {skipped, "a", AutoCompression, "text", ""},
		"zstd named gz":             {pack(t, Zstd, "text"), "a.gz", AutoCompression, "text", ""},
		"gzip set, is zstd":         {pack(t, Zstd, "text"), "a", Gzip, "text", ""},
		"none":                      {pack(t, Gzip, "text"), "a.gz", None, string(pack(t, Gzip, "text")), ""},
		"named gz, is plain":        {[]byte("text"), "a.gz", AutoCompression, "", "the name says gzip, but the data does not begin like it"},
		"named zst, is empty":       {nil, "a.zst", AutoCompression, "", "the name says zstd"},
		"set, is plain":             {[]byte("text"), "a", Zstd, "", "`compression:` says zstd"},
		"rubbish behind gzip":       {append(pack(t, Gzip, "text"), "rubbish....."...), "a.gz", Gzip, "text", "the gzip data is damaged"},
		"rubbish behind zstd":       {append(pack(t, Zstd, "text"), "rubbish"...), "a.zst", Zstd, "text", "the zstd data is damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := unpack(c.data, c.path, c.c)
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if (err == nil) != (c.fail == "") || err != nil && !strings.Contains(err.Error(), c.fail) {
				t.Errorf("got error %v, want %q", err, c.fail)
			}
		})
	}
}

// TestEveryCutIsFound cuts compressed data at every place. Only a cut between two
// members or frames cannot be seen.
func TestEveryCutIsFound(t *testing.T) {
	t.Parallel()
	for _, kind := range []Compression{Gzip, Zstd} {
		first := pack(t, kind, strings.Repeat("one two three ", 50))
		data := append(bytes.Clone(first), pack(t, kind, "four five six")...)
		for n := 1; n <= len(data); n++ {
			_, err := unpack(data[:n], "", kind)
			if whole := n == len(first) || n == len(data); whole != (err == nil) {
				t.Errorf("%s cut at byte %d of %d: got %v", kind, n, len(data), err)
			}
			if err != nil && n > 4 && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%s cut at byte %d: the error does not say that it is cut: %v", kind, n, err)
			}
		}
	}
}

func TestACutRowIsNoRow(t *testing.T) {
	t.Parallel()
	for _, kind := range []Compression{Gzip, Zstd} {
		data := pack(t, kind, "one\ntwo\nthree\n")
		got := show(t, Decompress(bytes.NewReader(data[:len(data)-3]), "a.txt", kind), "a.txt", ReadOptions{})
		want := "error: a.txt: the " + string(kind) + " data is cut short: unexpected EOF"
		if len(got) == 0 || got[len(got)-1] != want {
			t.Errorf("%s: got %q, want the last to be %q", kind, got, want)
		}
	}
}

// TestFlushedRowsCanBeRead looks at a file that is still being written.
func TestFlushedRowsCanBeRead(t *testing.T) {
	t.Parallel()
	for _, kind := range []Compression{None, Gzip, Zstd} {
		var out bytes.Buffer
		c, err := NewCompressor(&out, "", kind)
		if err != nil {
			t.Fatal(err)
		}
		want := ""
		for _, rows := range []string{"one\n", "two\nthree\n", "", "four\n"} {
			if rows != "" {
				if _, err := io.WriteString(c, rows); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.Flush(); err != nil {
				t.Fatal(err)
			}
			size := out.Len()
			if want += rows; rows == "" && size != out.Len() {
				t.Errorf("%s: a flush of nothing wrote %d bytes", kind, out.Len()-size)
			}
			got, err := unpack(out.Bytes(), "", kind)
			if got != want || kind != Gzip && err != nil {
				t.Errorf("%s: after a flush %q can be read (%v), want %q", kind, got, err, want)
			}
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if got, err := unpack(out.Bytes(), "", kind); got != want || err != nil {
			t.Errorf("%s: at the end got %q, %v", kind, got, err)
		}
	}
}

func TestNothingIsAValidFile(t *testing.T) {
	t.Parallel()
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	data := pack(t, Zstd, "")
	if _, err := z.DecodeAll(data, nil); err != nil || len(data) == 0 {
		t.Errorf("zstd: %x, %v", data, err)
	}
	g, err := gzip.NewReader(bytes.NewReader(pack(t, Gzip, "")))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(g); err != nil {
		t.Error(err)
	}
	if _, err := NewCompressor(io.Discard, "", "lzma"); err == nil {
		t.Error("an unknown compression was taken")
	}
}

func TestDetectingWaitsForNoMoreThanItMust(t *testing.T) {
	t.Parallel()
	r, w := io.Pipe()
	go func() {
		_, _ = io.WriteString(w, "a\n")
		_ = w // the other end stays open
	}()
	reader, err := NewReader(Input{Path: "a.txt", Stream: Decompress(r, "a.txt", AutoCompression)}, ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if rec, err := reader.Read(); err != nil || string(rec.AppendJSON(nil)) != `{"text":"a"}` {
		t.Errorf("got %v, %v", rec, err)
	}
}
