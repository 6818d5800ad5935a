package pipeline_test

import (
	"math"
	"math/big"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/rowmill/rowmill/pipeline"
)

// Base and Audit are embedded: by value, and by pointer.
type (
	Base struct {
		ID   int64  `json:"id"`
		Kind string // no tag: its own name
	}
	Audit struct {
		By string     `json:"by"`
		At *time.Time `json:"at"`
	}
	Point struct {
		X float64 `json:"x"`
		Y float64 `json:"y,omitzero"`
	}
)

// order is a struct such as programs have.
type order struct {
	Base
	*Audit
	Where   Point             `json:"where"`
	Via     *Point            `json:"via"`
	Path    []Point           `json:"path"`
	Deep    map[string]*Point `json:"deep"`
	Placed  time.Time         `json:"placed"`
	Took    time.Duration     `json:"took"`
	Total   *big.Int          `json:"total"`
	From    netip.Addr        `json:"from"`
	Body    []byte            `json:"body"`
	Three   [3]bool           `json:"three"`
	Note    *string           `json:"note,omitempty"`
	Any     any               `json:"any"`
	Missing []string          `json:"missing"`
	Empty   []string          `json:"empty"`
	Handle  func()            `json:"-"`
	hidden  int
}

func fullOrder() order {
	at := time.Date(2026, 2, 28, 23, 59, 59, 123456789, time.FixedZone("", 5*3600+1800))
	total, _ := new(big.Int).SetString("123456789012345678901234567890", 10)
	note := "a \"note\"\n"
	return order{
		Base: Base{ID: math.MaxInt64, Kind: "express"}, Audit: &Audit{By: "Zoë", At: &at},
		Where: Point{X: 0.1}, Via: &Point{1e300, -2}, Path: []Point{{1, 2}, {}}, Deep: map[string]*Point{"a": {X: 1}, "none": nil},
		Placed: at, Took: 90*time.Second + 1, Total: total, From: netip.MustParseAddr("2001:db8::1"),
		Body: []byte{0, 255}, Three: [3]bool{true, false, true}, Note: &note, Any: map[string]any{"k": []any{"v", nil, 1.5}},
		Empty: []string{},
	}
}

func TestStructsComeBack(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]order{"full": fullOrder(), "zero": {Audit: &Audit{}}} {
		r, err := pipeline.Encode(want)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := pipeline.Decode[order](r)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(order{}), cmpopts.EquateComparable(netip.Addr{}), cmp.Comparer(equalNumbers)); diff != "" {
			t.Errorf("%s: it comes back with a difference (-want +got):\n%s", name, diff)
		}
	}
}

func equalNumbers(a, b *big.Int) bool {
	return a == nil && b == nil || a != nil && b != nil && a.Cmp(b) == 0
}

// TestTagsNameTheFields: what a prompt or an expression calls a field.
func TestTagsNameTheFields(t *testing.T) {
	t.Parallel()
	o := fullOrder()
	o.hidden, o.Handle, o.Note = 1, func() {}, nil
	r, err := pipeline.Encode(o)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range r.Fields() {
		names = append(names, f.Name)
	}
	want := strings.Fields("id Kind by at where via path deep placed took total from body three any missing empty")
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("the names of the fields (-want +got):\n%s", diff)
	}
	for field, want := range map[string]string{
		"id": "9223372036854775807", "took": "90000000001", "placed": `"2026-02-28T23:59:59.123456789+05:30"`,
		"where": `{"x":0.1}`, "total": "123456789012345678901234567890", "missing": "null", "empty": "[]",
	} {
		if v, _ := r.Lookup(field); v.JSON() != want {
			t.Errorf("%s is %s, want %s", field, v.JSON(), want)
		}
	}
}

type rowlike struct{}

func (rowlike) MarshalJSON() ([]byte, error) { return []byte(`{"of":"itself"}`), nil }

func TestCheckType(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		check func() error
		rows  bool
	}{
		"struct":                    {pipeline.CheckType[order], true},
		"pointer to a struct":       {pipeline.CheckType[**order], true},
		"map":                       {pipeline.CheckType[map[string]int], true},
		"any":                       {pipeline.CheckType[any], true},
		"record":                    {pipeline.CheckType[*pipeline.Record], true},
		"what marshals itself":      {pipeline.CheckType[rowlike], true},
		"a pointer to such a thing": {pipeline.CheckType[*rowlike], true},
		"time":                      {pipeline.CheckType[time.Time], true}, // it marshals itself: only a value can tell
		"number":                    {pipeline.CheckType[int], false},
		"text":                      {pipeline.CheckType[*string], false},
		"list":                      {pipeline.CheckType[[]order], false},
		"channel":                   {pipeline.CheckType[chan order], false},
		"what is a text":            {pipeline.CheckType[netip.Addr], false},
	} {
		if err := c.check(); (err == nil) != c.rows {
			t.Errorf("%s: got %v, want rows: %v", name, err, c.rows)
		}
	}
}
