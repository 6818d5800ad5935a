package pipeline

import (
	"cmp"
	"testing"
)

func TestRef(t *testing.T) {
	t.Parallel()
	row := Ref{Source: 0, Seq: 17}
	first, second := row.Child(0), row.Child(2)
	for got, want := range map[string]string{
		row.String():                 "0:17",
		first.String():               "0:17/0",
		second.String():              "0:17/2",
		second.Child(10).String():    "0:17/2/10",
		Ref{Source: 3}.String():      "3:0",
		Ref{Seq: 1<<64 - 1}.String(): "0:18446744073709551615",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if row.Path != "" {
		t.Errorf("Child changed its row: %v", row)
	}
}

func TestRefsInOrder(t *testing.T) {
	t.Parallel()
	ordered := []Ref{
		{},
		{Path: "/0"},
		{Path: "/0/0"},
		{Path: "/0/1"},
		{Path: "/2"},
		{Path: "/2/9"},
		{Path: "/2/10"},
		{Path: "/2/10/0"},
		{Path: "/10"},
		{Path: "/10/0"},
		{Path: "/11"},
		{Path: "/100"},
		{Seq: 1},
		{Seq: 2, Path: "/5"},
		{Seq: 10},
		{Seq: 1<<64 - 1},
		{Source: 1},
		{Source: 1, Seq: 3},
	}
	for i, a := range ordered {
		for j, b := range ordered {
			if got, want := a.Compare(b), cmp.Compare(i, j); got != want {
				t.Errorf("%v with %v: got %d, want %d", a, b, got, want)
			}
		}
	}
}

func TestOrigin(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		origin Origin
		want   string
	}{
		{Origin{}, ""},
		{Origin{Offset: -1}, ""},
		{Origin{Path: "a.txt"}, "a.txt"},
		{Origin{Path: "a.csv", Line: 12, Offset: 345}, "a.csv:12"},
		{Origin{Line: 3}, ":3"},
	} {
		if got := c.origin.String(); got != c.want {
			t.Errorf("%+v: got %q, want %q", c.origin, got, c.want)
		}
	}
}
