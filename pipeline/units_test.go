package pipeline

import (
	"encoding"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestUnits(t *testing.T) {
	t.Parallel()
	type unit interface {
		encoding.TextUnmarshaler
		fmt.Stringer
	}
	size := func() unit { return new(Size) }
	duration := func() unit { return new(Duration) }
	share := func() unit { return new(Share) }
	for _, c := range []struct {
		unit func() unit
		text string
		want string // "" for an error
	}{
		{size, "16MiB", "16MiB"},
		{size, "1024", "1KiB"},
		{size, "64KB", "64000B"},
		{size, "1.5 KiB", "1536B"},
		{size, "2gib", "2GiB"},
		{size, "3 GB", "3000000000B"},
		{size, "0", "0B"},
		{size, "7B", "7B"},
		{size, "", ""},
		{size, "-1", ""},
		{size, "MiB", ""},
		{size, "1TB", ""},
		{size, "1MiBB", ""},
		{size, "inf", ""},
		{size, "NaN", ""},
		{size, "1e30", ""},
		{size, "0.3", ""},
		{size, "1 2", ""},
		{duration, "500ms", "500ms"},
		{duration, "90s", "1m30s"},
		{duration, "300s", "5m"},
		{duration, "1h0m0s", "1h"},
		{duration, "1h10m", "1h10m"},
		{duration, "0", "0s"},
		{duration, "5", ""},
		{duration, "-5s", ""},
		{duration, "5 s", ""},
		{duration, "", ""},
		{share, "5%", "5%"},
		{share, "0.05", "5%"},
		{share, "7 %", "7%"},
		{share, "100%", "100%"},
		{share, "250%", "250%"},
		{share, "0", "0%"},
		{share, "-1%", ""},
		{share, "5%%", ""},
		{share, "NaN", ""},
		{share, "Inf", ""},
		{share, "", ""},
	} {
		u := c.unit()
		err := u.UnmarshalText([]byte(c.text))
		switch {
		case c.want == "" && err == nil:
			t.Errorf("%T %q was read as %s", u, c.text, u)
		case c.want == "" && !strings.Contains(err.Error(), "write it"):
			t.Errorf("%T %q: the error gives no advice: %v", u, c.text, err)
		case c.want != "" && (err != nil || u.String() != c.want):
			t.Errorf("%T %q: got %s, %v, want %s", u, c.text, u, err, c.want)
		}
	}
}

func TestWhatAUnitPrintsCanBeRead(t *testing.T) {
	t.Parallel()
	for _, want := range []Size{0, 1, 1023, 1 << 20, 5 << 30, 1<<40 + 1} {
		var got Size
		if err := got.UnmarshalText([]byte(want.String())); err != nil || got != want {
			t.Errorf("%d was printed as %s and read as %d, %v", want, want, got, err)
		}
	}
	for _, want := range []time.Duration{0, 1, time.Second, 10 * time.Minute, time.Hour, 10*time.Hour + time.Second} {
		var got Duration
		if err := got.UnmarshalText([]byte(Duration(want).String())); err != nil || got != Duration(want) {
			t.Errorf("%s was printed as %s and read as %s, %v", want, Duration(want), got, err)
		}
	}
}

func TestASecretIsShownNowhere(t *testing.T) {
	t.Parallel()
	const hidden = "sk-hidden"
	secret := Secret(hidden)
	held := struct{ Key Secret }{secret}
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%10s"} {
		fmt.Fprintf(&out, verb+" "+verb+" "+verb+"\n", secret, held, &held)
	}
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "secret", secret, "held", held)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "secret", secret, "held", held)
	raw, err := json.Marshal(held)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(raw)
	v, err := ValueOf(held)
	if err != nil {
		t.Fatal(err)
	}
	out.WriteString(v.JSON())
	for _, shown := range []string{hidden, fmt.Sprintf("%x", hidden), fmt.Sprintf("%X", hidden)} {
		if strings.Contains(out.String(), shown) {
			t.Errorf("the secret is shown:\n%s", out.String())
		}
	}
	if !strings.Contains(out.String(), redacted) {
		t.Errorf("nothing says that a secret was left out:\n%s", out.String())
	}
	if secret.Reveal() != hidden || fmt.Sprint(Secret("")) != "" {
		t.Error("Reveal or the empty secret is wrong")
	}
	var s Secret
	if err := s.UnmarshalText([]byte(hidden + "\n")); err == nil || strings.Contains(err.Error(), hidden) {
		t.Errorf("a secret with a line break: %v", err)
	}
}
