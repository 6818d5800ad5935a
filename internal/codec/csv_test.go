package codec

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/rowmill/rowmill/pipeline"
)

func TestReadCSV(t *testing.T) {
	t.Parallel()
	typed := ReadOptions{Types: map[string]ColumnType{"n": Number, "b": Bool, "j": AnyJSON, "s": String}}
	for name, c := range map[string]struct {
		path, text string
		o          ReadOptions
		want       []string
	}{
		"plain":           {"a.csv", "x,y\n1,a b\n,\n", ReadOptions{}, []string{`2@4 {"x":"1","y":"a b"}`, `3@10 {"x":"","y":""}`}},
		"header only":     {"a.csv", "x,y\n", ReadOptions{}, nil},
		"no last break":   {"a.csv", "x\n1", ReadOptions{}, []string{`2@2 {"x":"1"}`}},
		"BOM, CRLF":       {"a.csv", "\xef\xbb\xbfx,y\r\n1,\"2\"\r\n3,4\r\n", ReadOptions{}, []string{`2@8 {"x":"1","y":"2"}`, `3@15 {"x":"3","y":"4"}`}},
		"quoted BOM":      {"a.csv", "\xef\xbb\xbf\"x\"\n1\n", ReadOptions{}, []string{`2@7 {"x":"1"}`}},
		"quotes":          {"a.csv", "x,y\n\"a,\"\"b\"\"\n\nc\r\nd\",\"\"\n\"\"\"\",z\n", ReadOptions{}, []string{`2@4 {"x":"a,\"b\"\n\nc\r\nd","y":""}`, `6@23 {"x":"\"","y":"z"}`}},
		"empty lines":     {"a.csv", "\n\r\nx\n\n1\r\n\r\n\"\"\n2\n\n", ReadOptions{}, []string{`5@6 {"x":"1"}`, `7@11 {"x":""}`, `8@14 {"x":"2"}`}},
		"spaces stay":     {"a.csv", " x ,y\n a , \n", ReadOptions{}, []string{`2@6 {" x ":" a ","y":" "}`}},
		"tabs":            {"a.tsv", "x\ty\n1,2\t\"a\tb\"\n", ReadOptions{}, []string{`2@4 {"x":"1,2","y":"a\tb"}`}},
		"semicolons":      {"a.csv", "x;y\n1,2;3\n", ReadOptions{Delimiter: ";"}, []string{`2@4 {"x":"1,2","y":"3"}`}},
		"a long sign":     {"a.csv", "x¦y\n\"1\"¦\"¦\"\n", ReadOptions{Delimiter: "¦"}, []string{`2@5 {"x":"1","y":"¦"}`}},
		"a tab, written":  {"a.csv", "x\ty\n1\t2\n", ReadOptions{Delimiter: `\t`}, []string{`2@4 {"x":"1","y":"2"}`}},
		"carriage return": {"a.csv", "x,y\na\rb,c\r\r\nd,e\r", ReadOptions{}, []string{`2@4 {"x":"a\rb","y":"c\r"}`, `3@12 {"x":"d","y":"e"}`}},

		"empty":            {"a.csv", "", ReadOptions{}, []string{"error: a.csv: it is empty; the first line must name the columns"}},
		"no name":          {"a.csv", "x,,y\n1,2,3\n", ReadOptions{}, []string{"error: a.csv: column 2 has no name; the first line must name every column"}},
		"same name":        {"a.csv", "x,y,x\n1,2,3\n", ReadOptions{}, []string{`error: a.csv: columns 1 and 3 are both named "x"; rename one of them in the first line`}},
		"bad header":       {"a.csv", "x,\"y\n\"z\"\n", ReadOptions{}, []string{"error: a.csv: the header cannot be read: line 2: invalid CSV: the cell opened at byte 3 goes on behind its closing quote at byte 1 of line 2; double the quotes inside it"}},
		"old Mac":          {"a.csv", "x,y\r1,2\r3,4\r", ReadOptions{}, []string{`error: a.csv: its lines end in carriage returns alone; convert them, e.g. with tr '\r' '\n'`}},
		"latin header":     {"a.csv", "x,\xe9\n1,2\n", ReadOptions{}, []string{"error: a.csv: the header is not UTF-8 at byte 3 (0xe9); convert the file, e.g. with iconv -f WINDOWS-1252 -t UTF-8"}},
		"no such column":   {"a.csv", "x\n1\n", ReadOptions{Types: map[string]ColumnType{"y": Number}}, []string{"error: a.csv: `types:` names a column \"y\" that the header lacks"}},
		"no delimiter":     {"a.csv", "x\n", ReadOptions{Delimiter: "ab"}, []string{`error: "ab" cannot be a delimiter: it must be one character, no quote and no line break`}},
		"quoted CR header": {"a.csv", "\"x\r\ny\"\n1\n", ReadOptions{}, []string{`3@7 {"x\r\ny":"1"}`}},

		"number of cells": {"a.csv", "x,y\n1\n2,3\n4,5,6\n7,8\n", ReadOptions{}, []string{"2@4 !invalid_csv 1\n", `3@6 {"x":"2","y":"3"}`, "4@10 !invalid_csv 4,5,6\n", `5@16 {"x":"7","y":"8"}`}},
		"bare quote":      {"a.csv", "x,y\n5\" pipe,1\n\"a\"b,2\n3,4\n", ReadOptions{}, []string{`2@4 !invalid_csv 5" pipe,1`, `3@14 !invalid_csv "a"b,2`, `4@21 {"x":"3","y":"4"}`}},
		"latin cell":      {"a.csv", "x,y\n1,\xe9\n3,4\n", ReadOptions{}, []string{"2@4 !not_utf8 1,\xe9\n", `3@8 {"x":"3","y":"4"}`}},
		"a stray quote, never closed": {
			"a.csv", "x,y\n1,2\n3,\"4\n5,6\n7,8\n",
			ReadOptions{},
			[]string{`2@4 {"x":"1","y":"2"}`, `3@8 !invalid_csv 3,"4`, `4@13 {"x":"5","y":"6"}`, `5@17 {"x":"7","y":"8"}`},
		},
		"a stray quote, closed by a good cell": {
			"a.csv", "x,y\n3,\"4\n5,6\n7,\"8\"\n9,10\n",
			ReadOptions{},
			[]string{`2@4 !invalid_csv 3,"4`, `3@9 {"x":"5","y":"6"}`, `4@13 {"x":"7","y":"8"}`, `5@19 {"x":"9","y":"10"}`},
		},
		"quotes inside a cell of several lines": {
			"a.csv", "x,y\n1,\"one\ntwo\nthree \"four\" five\nsix\"\n3,4\n",
			ReadOptions{},
			[]string{"2@4 !invalid_csv 1,\"one\ntwo\nthree \"four\" five", `5@33 !invalid_csv six"`, `6@38 {"x":"3","y":"4"}`},
		},
		"one column, never closed": {
			"a.csv", "x\n1\n\"2\n3\n4\n",
			ReadOptions{},
			[]string{`2@2 {"x":"1"}`, "3@4 !invalid_csv \"2\n3\n4"},
		},
		"one column, closed by another": {
			"a.csv", "x\n\"2\n3\n\"4\"\n5\n",
			ReadOptions{},
			[]string{"2@2 !invalid_csv \"2\n3\n\"4\"", `5@11 {"x":"5"}`},
		},
		"too long": {
			"a.csv", "x,y\n1,2345\n1,23456\n\"1\n\",\"2\"\n1,\"2\n\"\r\n",
			ReadOptions{MaxRecord: 6},
			[]string{`2@4 {"x":"1","y":"2345"}`, `3@11 !too_long 1,2345`, "4@19 !too_long \"1\n\",\"", `6@28 {"x":"1","y":"2\n"}`},
		},
		"too long with a stray quote": {
			"a.csv", "x,y\n1,\"2\n3,4\n5,6\n7,8\n9,\"0\"\n",
			ReadOptions{MaxRecord: 8},
			[]string{`2@4 !invalid_csv 1,"2`, `3@9 {"x":"3","y":"4"}`, `4@13 {"x":"5","y":"6"}`, `5@17 {"x":"7","y":"8"}`, `6@21 {"x":"9","y":"0"}`},
		},
		"too long, one column": {
			"a.csv", "x\n\"1\n2\n3\"\"\n4\n5\"\n6\n",
			ReadOptions{MaxRecord: 6},
			[]string{"2@2 !too_long \"1\n2\n3", `7@16 {"x":"6"}`},
		},

		"types": {
			"a.csv", "n,b,j,s,t\n12,TRUE,\"[1, \"\"a\"\"]\",007,x\n, ,,,\n-0.0,no,1e400,1,1\n 1e5 ,1,null,,\n",
			typed,
			[]string{
				`2@10 {"n":12,"b":true,"j":[1, "a"],"s":"007","t":"x"}`, `3@37 {"n":null,"b":null,"j":null,"s":"","t":""}`,
				`4@43 {"n":-0.0,"b":false,"j":1e400,"s":"1","t":"1"}`, `5@61 {"n":1e5,"b":true,"j":null,"s":"","t":""}`,
			},
		},
		"types, wrong": {
			"a.csv", "n,b,j,s\nx,,,\n,maybe,,\n,,{,\n1,1,1,1\n",
			typed,
			[]string{"2@8 !wrong_type x,,,\n", "3@13 !wrong_type ,maybe,,\n", "4@22 !wrong_type ,,{,\n", `5@27 {"n":1,"b":true,"j":1,"s":"1"}`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(c.want, eachWay(t, c.text, c.path, c.o)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCSVErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, want string }{
		"cells":       {"x,y\n1\n", "invalid CSV: the row has 1 cell, the header 2"},
		"cells, long": {"x,y\n\"1\n2\"\n", "invalid CSV: the row has 1 cell, the header 2; the row is lines 2 to 3"},
		"bare":        {"x,y\n1,5\" a\n", "invalid CSV: a quote at byte 4 inside a cell without quotes; put the cell in quotes and double the ones inside"},
		"behind":      {"x,y\n\"1\" 2,3\n", "invalid CSV: the cell opened at byte 1 goes on behind its closing quote at byte 3; double the quotes inside it"},
		"open":        {"x,y\n1,\"2\n3,4\n", "invalid CSV: the quote at byte 3 is not closed"},
		"swallowed":   {"x\n1\n\"2\n3\n", ""},
		"type":        {"n,y\nabc,\n", `column "n": "abc" is no number`},
	} {
		o := ReadOptions{}
		if name == "type" {
			o.Types = map[string]ColumnType{"n": Number}
		}
		r, err := NewReader(Input{Path: "a.csv", Stream: strings.NewReader(c.text)}, o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Read(); c.want != "" && (err == nil || err.Error() != c.want) {
			t.Errorf("%s: got %v\nwant %s", name, err, c.want)
		}
		if name == "swallowed" {
			if _, err := r.Read(); err == nil || err.Error() != "invalid CSV: the quote at byte 1 is never closed; nothing of lines 3 to 4 was read" {
				t.Errorf("%s: got %v", name, err)
			}
		}
	}
}

// TestOneBadQuoteCostsOneRow breaks one row of a large file in several ways.
func TestOneBadQuoteCostsOneRow(t *testing.T) {
	t.Parallel()
	const rows = 50000
	for _, bad := range []string{"17,\"open,z", "17,a\"b,z", "17,\"a\"b,z", "\"17,x,z"} {
		var b strings.Builder
		b.WriteString("id,text,more\n")
		for i := range rows {
			switch {
			case i == 17:
				b.WriteString(bad)
			case i%1000 == 999:
				fmt.Fprintf(&b, "%d,\"quoted, \"\"%d\"\"\",z", i, i)
			default:
				fmt.Fprintf(&b, "%d,text %d,z", i, i)
			}
			b.WriteByte('\n')
		}
		got := show(t, strings.NewReader(b.String()), "a.csv", ReadOptions{})
		if len(got) != rows || !strings.HasPrefix(got[17], "19@") || !strings.Contains(got[17], "!invalid_csv "+bad) {
			t.Errorf("%s: %d rows, the bad one: %s", bad, len(got), got[17])
		}
	}
}

func TestJSONNumber(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"0": "0", "-0.0": "-0.0", "1e400": "1e400", "1E+5": "1E+5", "9007199254740993": "9007199254740993", "+1": "1", "007": "7", "-007.50": "-7.50", ".5": "0.5", "-.5e1": "-0.5e1",
		"5.": "5", "5.e2": "5e2", "00": "0",
		"": "", ".": "", "-": "", "+-5": "", "1,000": "", "1 2": "", "0x10": "", "NaN": "", "inf": "", "1_000": "", "1e": "", "1e5.5": "", "e5": "", "١": "", "true": "", "null": "", "1\t": "",
	} {
		if in == "" {
			continue
		}
		if got, ok := jsonNumber(in); ok != (want != "") || ok && got != want {
			t.Errorf("%q: got %q, %v, want %q", in, got, ok, want)
		}
	}
}

func record(t testing.TB, raw string) *pipeline.Record {
	t.Helper()
	r, err := pipeline.ParseRecord([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestWriteCSV(t *testing.T) {
	t.Parallel()
	closed := pipeline.Shape{Closed: true, Fields: []pipeline.ShapeField{{Name: "b"}, {Name: "a"}}}
	open := pipeline.Shape{Fields: []pipeline.ShapeField{{Name: "answer"}, {Name: "a"}}}
	for name, c := range map[string]struct {
		o       WriteOptions
		rows    []string
		want    string
		refused []int
	}{
		"columns, no rows":   {WriteOptions{Columns: []string{"a", "b"}}, nil, "a,b\n", nil},
		"closed, no rows":    {WriteOptions{Shape: closed}, nil, "b,a\n", nil},
		"open, no rows":      {WriteOptions{Shape: open}, nil, "", nil},
		"columns":            {WriteOptions{Columns: []string{"a", "b"}, Shape: closed}, []string{`{"b":1,"a":"x"}`, `{"a":null}`, `{}`}, "a,b\nx,1\n,\n,\n", nil},
		"closed":             {WriteOptions{Shape: closed}, []string{`{"a":1}`, `{"a":1,"b":2,"c":3}`, `{"b":2}`}, "b,a\n,1\n2,\n", []int{1}},
		"open":               {WriteOptions{Shape: open}, []string{`{"q":1,"a":2}`, `{"answer":"x"}`, `{"z":1}`}, "q,a,answer\n1,2,\n,,x\n", []int{2}},
		"first record":       {WriteOptions{}, []string{`{"q":1,"a":2}`, `{"a":1}`, `{"b":1}`}, "q,a\n1,2\n,1\n", []int{2}},
		"a first without":    {WriteOptions{}, []string{`{}`, `{"a":1}`}, "a\n1\n", []int{0}},
		"values":             {WriteOptions{}, []string{`{"a":[1, {"b":"c"}],"b":{},"c":1e400,"d":true,"e":"x\u00e9","a2":-0.0}`}, "a,b,c,d,e,a2\n\"[1, {\"\"b\"\":\"\"c\"\"}]\",{},1e400,true,xé,-0.0\n", nil},
		"repeated names":     {WriteOptions{}, []string{`{"a":1,"b":2,"a":3}`}, "a,b\n3,2\n", nil},
		"quotes":             {WriteOptions{}, []string{`{"a":"x\"y","b":"a,b"}`, `{"a":"l1\nl2","b":"\r"}`, `{"a":" x","b":"x "}`, `{"a":"\\.","b":"\ufeff"}`, `{"a":"","b":""}`}, "a,b\n\"x\"\"y\",\"a,b\"\n\"l1\nl2\",\"\r\"\n\" x\",\"x \"\n\"\\.\",\"\ufeff\"\n,\n", nil},
		"one empty column":   {WriteOptions{}, []string{`{"a":""}`, `{"a":null}`, `{"a":"x"}`, `{}`}, "a\n\"\"\n\"\"\nx\n\"\"\n", nil},
		"BOM in the header":  {WriteOptions{}, []string{`{"\ufeffa":1}`}, "\"\ufeffa\"\n1\n", nil},
		"tabs":               {WriteOptions{Format: TSV}, []string{`{"a":"x,y","b":"x\ty"}`}, "a\tb\nx,y\t\"x\ty\"\n", nil},
		"semicolons":         {WriteOptions{Delimiter: ";"}, []string{`{"a":"x;y","b":"x,y"}`}, "a;b\n\"x;y\";x,y\n", nil},
		"the header is once": {WriteOptions{Columns: []string{"a"}}, []string{`{"b":1}`, `{"a":1}`}, "a\n1\n", []int{0}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.o.Path = "a.csv"
			e, err := NewEncoder(c.o)
			if err != nil {
				t.Fatal(err)
			}
			out := e.Begin(nil)
			var refused []int
			for i, raw := range c.rows {
				before := len(out)
				if out, err = e.Append(out, record(t, raw)); err != nil {
					refused = append(refused, i)
					if len(out) != before {
						t.Errorf("a refused record left %q", out[before:])
					}
				}
			}
			if string(out) != c.want || !slices.Equal(refused, c.refused) {
				t.Errorf("got  %q, refused %v\nwant %q, refused %v", out, refused, c.want, c.refused)
			}
		})
	}
}

func TestARefusedColumnIsNamed(t *testing.T) {
	t.Parallel()
	e, err := NewEncoder(WriteOptions{Path: "a.csv", Columns: []string{"a", "b"}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = e.Append(nil, record(t, `{"a":1,"c":2}`))
	if err == nil || !strings.Contains(err.Error(), `field "c" is no column of the output (a, b)`) {
		t.Errorf("got %v", err)
	}
}

// FuzzCSV holds the reader to encoding/csv: what that reads, it reads the same; what
// that refuses, it refuses somewhere; and no byte is left out or read twice.
func FuzzCSV(f *testing.F) {
	for _, seed := range []string{
		"x,y\n1,2\n", "x,y\r\n\"a\"\"b\",\"c\r\nd\"\r\n", "x\n\"\"\n\n\"a\nb", "x,y\n1,\"2\n3,4\n5,\"6\"\n", "x,y\na\"b,c\n1\n", "\xef\xbb\xbfx,y\n\"a\"b,1\n2,\"3\"\r",
		"x,y,z\n\"1\n2\",\"3\"4,5\n6,7,8\n\"\n\"\",\n", "x,y\n\",\"\n\",\"\n", "\r\r\n",
	} {
		f.Add([]byte(seed), uint8(200))
	}
	f.Fuzz(func(t *testing.T, data []byte, chunk uint8) {
		body := bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
		if !utf8.Valid(data) || bytes.HasPrefix(body, []byte("\xef\xbb\xbf")) {
			return
		}
		r, err := NewReader(Input{Path: "a.csv", Stream: &chunkReader{string(data), int(chunk) + 1}}, ReadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		oracle := csv.NewReader(bytes.NewReader(body))
		header, oracleErr := oracle.Read()
		columns, err := r.(Header).Columns()
		if err != nil {
			if oracleErr == nil && !slices.Contains(header, "") && !strings.Contains(strings.Join(header, ""), "\r") && !repeats(header) {
				t.Fatalf("%q: the header was refused: %v", data, err)
			}
			return
		}
		if oracleErr != nil || !slices.Equal(withoutCR(columns), header) {
			t.Fatalf("%q: header %q, want %q, %v", data, columns, header, oracleErr)
		}
		want, wantErr := oracle.ReadAll()
		got, places, bad := readCells(t, r)
		if (wantErr == nil) != (bad == 0) {
			t.Fatalf("%q: %d rows unreadable, encoding/csv says %v", data, bad, wantErr)
		}
		if wantErr == nil {
			if diff := cmp.Diff(want, allWithoutCR(got)); diff != "" && len(want)+len(got) > 0 {
				t.Fatalf("%q: %s", data, diff)
			}
		}
		eachByteOnce(t, data, got, places)
	})
}

// readCells returns the cells of each row, nil for an unreadable one, the places
// where the rows begin, and how many are unreadable.
func readCells(t *testing.T, r Reader) (rows [][]string, places []int64, bad int) {
	for {
		rec, err := r.Read()
		switch {
		case errors.Is(err, io.EOF):
			return rows, places, bad
		case rec == nil:
			t.Fatal(err)
		case err != nil:
			bad++
			rows = append(rows, nil)
		default:
			var cells []string
			for _, f := range rec.Fields() {
				cells = append(cells, f.Value.Text())
			}
			rows = append(rows, cells)
		}
		places = append(places, rec.Origin.Offset)
	}
}

// eachByteOnce checks that the bytes from one row to the next are that row, and
// that nothing but empty lines is between.
func eachByteOnce(t *testing.T, data []byte, rows [][]string, places []int64) {
	for i, cells := range rows {
		end := int64(len(data))
		if i+1 < len(places) {
			end = places[i+1]
		}
		if end <= places[i] {
			t.Fatalf("%q: row %d begins at %d and ends at %d", data, i, places[i], end)
		}
		if cells == nil {
			continue
		}
		part := csv.NewReader(bytes.NewReader(data[places[i]:end]))
		again, err := part.ReadAll()
		if err != nil || len(again) != 1 || !slices.Equal(withoutCR(cells), again[0]) {
			t.Fatalf("%q: row %d is %q, its bytes %q say %q, %v", data, i, cells, data[places[i]:end], again, err)
		}
	}
}

// withoutCR does what encoding/csv does to line breaks inside quotes.
func withoutCR(cells []string) []string {
	out := make([]string, len(cells))
	for i, c := range cells {
		out[i] = strings.ReplaceAll(c, "\r\n", "\n")
	}
	return out
}

func allWithoutCR(rows [][]string) [][]string {
	out := make([][]string, len(rows))
	for i := range rows {
		out[i] = withoutCR(rows[i])
	}
	return out
}

func repeats(names []string) bool {
	sorted := slices.Sorted(slices.Values(names))
	return len(slices.Compact(sorted)) != len(names)
}

// FuzzRoundTripCSV writes cells and reads them again, with our reader and with
// encoding/csv.
func FuzzRoundTripCSV(f *testing.F) {
	for _, seed := range []string{"a\x00b\x00c\"d\x00\r\n\x00 x\x00\x00\x00\ufeff", "\r\x00\n\x00\"\x00,\x00;\x00\t", "\\.", "x\r"} {
		f.Add(seed, uint8(1), false)
		f.Add(seed, uint8(2), true)
	}
	f.Fuzz(func(t *testing.T, data string, width uint8, semicolon bool) {
		o := WriteOptions{Path: "a.csv"}
		if semicolon {
			o.Delimiter = ";"
		}
		for i := range int(width)%4 + 1 {
			o.Columns = append(o.Columns, fmt.Sprintf("c%d", i))
		}
		if !utf8.ValidString(data) {
			return
		}
		e, err := NewEncoder(o)
		if err != nil {
			t.Fatal(err)
		}
		want := [][]string{}
		out := e.Begin(nil)
		for cells := range slices.Chunk(strings.Split(data, "\x00"), len(o.Columns)) {
			r := pipeline.NewRecord()
			for i, cell := range cells {
				r.Set(o.Columns[i], pipeline.Text(cell))
			}
			for len(cells) < len(o.Columns) {
				cells = append(cells[:len(cells):len(cells)], "")
			}
			want = append(want, cells)
			if out, err = e.Append(out, r); err != nil {
				t.Fatal(err)
			}
		}
		r, err := NewReader(Input{Path: "a.csv", Stream: bytes.NewReader(out)}, ReadOptions{Delimiter: o.Delimiter})
		if err != nil {
			t.Fatal(err)
		}
		got, _, bad := readCells(t, r)
		if diff := cmp.Diff(want, got); diff != "" || bad != 0 {
			t.Fatalf("%q: %d unreadable, %s", out, bad, diff)
		}
		oracle := csv.NewReader(bytes.NewReader(out))
		if semicolon {
			oracle.Comma = ';'
		}
		again, err := oracle.ReadAll()
		if err != nil {
			t.Fatalf("%q: %v", out, err)
		}
		if diff := cmp.Diff(allWithoutCR(want), again[1:]); diff != "" {
			t.Fatalf("%q: encoding/csv: %s", out, diff)
		}
	})
}

func BenchmarkReadCSV(b *testing.B) {
	const header = "id,channel,subject,body,lang,score,created\n"
	const plain = "123456,email,Refund for order 8812,I ordered a lamp on Monday and it came broken. Could you send me a new one or pay me back? Thank you,en,0.87,2024-05-06T07:08:09Z\n"
	const quoted = "123456,email,\"Refund, order 8812\",\"Hello, I ordered a \"\"lamp\"\" on Monday\nand it came broken. Could you send me a new one, or pay me back?\",en,0.87,2024-05-06T07:08:09Z\n"
	for name, row := range map[string]string{"plain": plain, "quoted": quoted} {
		data := header + strings.Repeat(row, 10000)
		b.Run(name, func(b *testing.B) { benchmarkRead(b, "a.csv", data, 10000) })
		b.Run(name+"/encoding csv", func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				r := csv.NewReader(strings.NewReader(data))
				for {
					if _, err := r.Read(); err != nil {
						break
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/10000, "ns/row")
		})
	}
}
