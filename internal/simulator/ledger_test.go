package simulator

import (
	"fmt"
	"strings"
	"testing"
)

func TestLedger(t *testing.T) {
	t.Parallel()
	s := New(Options{Faults: Faults{Length: 0.5}})
	for i := range 20 {
		post(s, ask("prompt "+string(rune('a'+i%10))))
	}
	l := balanced(t, s)
	if l.Requests != 20 || l.Answered+l.Faults[faultLength] != 20 || l.Prompts != 10 || l.Paid != 20 || l.PaidAgain != 10 || l.PromptTokens != 120 {
		t.Errorf("got %+v, want 20 requests with 10 prompts, each paid twice", l)
	}
	if l.Faults[faultLength] == 0 || l.CompletionTokens == 0 || l.PeakInFlight != 1 || l.InFlight != 0 || l.Forgotten != 0 {
		t.Errorf("got %+v", l)
	}
	key := KeyOf("m", Message{"user", "prompt c"})
	if got, want := s.Prompts()[key], (Prompt{Requests: 2, Paid: 2}); got != want {
		t.Errorf("got %+v for a prompt, want %+v", got, want)
	}
	shown := serve(s, "GET", "/simulator/ledger?prompts=1", "").Body.String()
	for _, want := range []string{`"paid_again": 10`, `"` + key.String() + `": {`, `"answered": `} {
		if !strings.Contains(shown, want) {
			t.Errorf("the shown ledger lacks %s:\n%s", want, shown)
		}
	}
}

func TestLedgerForgets(t *testing.T) {
	t.Parallel()
	s := New(Options{Remember: 100})
	for i := range 1000 {
		post(s, ask(fmt.Sprintf("prompt %d", i)))
		post(s, ask("the same")) // which is always among the latest
	}
	l := balanced(t, s)
	if n := len(s.Prompts()); n > 100 || n < 50 {
		t.Errorf("got %d prompts remembered, want 50 to 100", n)
	}
	if n := int64(len(s.Prompts())); l.Forgotten+n != l.Prompts {
		t.Errorf("got %d forgotten and %d remembered of %d prompts", l.Forgotten, n, l.Prompts)
	}
	if l.Prompts != 1001 || l.Forgotten < 900 || l.PaidAgain != 999 {
		t.Errorf("got %d prompts, %d forgotten, %d paid again; want 1001, at least 900, 999", l.Prompts, l.Forgotten, l.PaidAgain)
	}
}

// Whoever has an answer finds it in the ledger.
func TestLedgerIsThereBeforeTheAnswer(t *testing.T) {
	t.Parallel()
	s, base, client := started(t, Options{})
	for i := range 50 {
		resp, err := client.Post(base+"/chat/completions", "application/json", strings.NewReader(ask("a", `,"n":128`)))
		if err != nil {
			t.Fatal(err)
		}
		decode(t, resp.Body)
		if l := s.Ledger(); l.Answered != int64(i+1) || l.InFlight != 0 {
			t.Fatalf("after answer %d the ledger says %+v", i+1, l)
		}
		if err := resp.Body.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if l := balanced(t, s); l.Connections != 1 {
		t.Errorf("got %d connections, want 1", l.Connections)
	}
}
