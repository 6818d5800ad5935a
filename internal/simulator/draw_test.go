package simulator

import (
	"math"
	"strings"
	"testing"
	"time"
)

// Keys and draws are written down in other people's tests: they may not change.
func TestKeysAndDrawsStay(t *testing.T) {
	t.Parallel()
	key := KeyOf("m", Message{"user", "Tell me a fact about number 7"})
	if got, want := key.String(), "c69797ec12ab2f27"; got != want {
		t.Errorf("got key %s, want %s", got, want)
	}
	d := newDice(1, key, forAnswer, 0)
	if got, want := Key(d.next()).String(), "6cf71bce385dfdde"; got != want {
		t.Errorf("got draw %s, want %s", got, want)
	}
}

func TestKeyTellsPromptsApart(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 100)
	seen := map[Key]string{}
	for name, messages := range map[string][]Message{
		"none":               nil,
		"empty":              {{}},
		"two empty":          {{}, {}},
		"a":                  {{"user", "a"}},
		"role":               {{"system", "a"}},
		"zero byte":          {{"user", "a\x00"}},
		"eight bytes":        {{"user", "aaaaaaaa"}},
		"nine bytes":         {{"user", "aaaaaaaaa"}},
		"long":               {{"user", long}},
		"long, other end":    {{"user", long[1:] + "y"}},
		"long, other start":  {{"user", "y" + long[1:]}},
		"two messages":       {{"user", "a"}, {"user", "b"}},
		"turned around":      {{"user", "b"}, {"user", "a"}},
		"run together":       {{"user", "ab"}},
		"moved to the role":  {{"usera", ""}},
		"moved over a frame": {{"user", "a"}, {"userb", ""}},
	} {
		key := KeyOf("m", messages...)
		if other, taken := seen[key]; taken {
			t.Errorf("%q and %q have the same key", name, other)
		}
		seen[key] = name
	}
	if KeyOf("m", Message{"user", "a"}) == KeyOf("n", Message{"user", "a"}) {
		t.Error("two models have the same key")
	}
}

func TestKeyText(t *testing.T) {
	t.Parallel()
	for _, k := range []Key{0, 1, math.MaxUint64} {
		text, _ := k.MarshalText()
		var back Key
		if err := back.UnmarshalText(text); err != nil || back != k || len(text) != 16 {
			t.Errorf("%d became %s and then %d, %v", uint64(k), text, uint64(back), err)
		}
	}
}

func TestFaultsComeAtTheirShare(t *testing.T) {
	t.Parallel()
	const n = 100_000
	fates := Transient(0.03).fates()
	got := map[string]int{}
	for i := range n {
		// Keys that lie close together, as the worst case.
		got[draw(fates, newDice(1, Key(i/2), forFate, uint64(i%2)))]++
	}
	for _, f := range fates {
		if share := float64(got[f.name]) / n; math.Abs(share-float64(f.share)) > 0.003 {
			t.Errorf("%s: got a share of %.4f, want %v", f.name, share, f.share)
		}
	}
}

func TestLatencyHasItsMean(t *testing.T) {
	t.Parallel()
	const n = 200_000
	for _, sigma := range []float64{0, 0.5, 1} {
		var sum, longest time.Duration
		for i := range n {
			d := newDice(1, Key(i), forLatency, 1)
			l := d.latency(100*time.Millisecond, sigma)
			sum += l
			longest = max(longest, l)
		}
		if mean := sum / n; mean < 98*time.Millisecond || mean > 102*time.Millisecond {
			t.Errorf("sigma %v: got a mean of %v, want 100ms", sigma, mean)
		}
		if spread := longest > 101*time.Millisecond; spread != (sigma > 0) {
			t.Errorf("sigma %v: the longest is %v", sigma, longest)
		}
	}
}
