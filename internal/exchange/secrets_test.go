package exchange_test

import (
	"net/url"
	"testing"

	"github.com/rowmill/rowmill/internal/exchange"
	"github.com/rowmill/rowmill/pipeline"
)

func parsed(t *testing.T, address string) *url.URL {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// TestAddress: a message shows of an address what is no secret.
func TestAddress(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"https://api.example.com":  "https://api.example.com",
		"https://api.example.com/": "https://api.example.com/",
		"https://me:password1@api.example.com:8443/v1/Tickets.json?token=x#y":        "https://api.example.com:8443/v1/Tickets.json",
		"https://hooks.slack.com/services/T000/B000/XXXX":                            "https://hooks.slack.com/services/***/***/***",
		"https://api.telegram.org/bot123:AAF-x/sendMessage":                          "https://api.telegram.org/***/***",
		"https://discord.com/api/webhooks/12345/aBcDeF":                              "https://discord.com/api/webhooks/***/***",
		"https://hook.example.com/abcdefghijklmnopqrstuvwxyz":                        "https://hook.example.com/***",
		"https://hook.example.com/v123/v1a/-/a%2Fb/0f8fad5b-d9cb-469f-a165-70867728": "https://hook.example.com/***/***/***/***/***",
		"https://hook.example.com/é":                                                 "https://hook.example.com/***",
	} {
		if got := exchange.Address(parsed(t, address)); got != want {
			t.Errorf("%s: got %s, want %s", address, got, want)
		}
	}
}

func TestSecretsAreHidden(t *testing.T) {
	t.Parallel()
	s := exchange.NewSecrets(parsed(t, "https://me:password1@x.example/services/T000AA/to%2Fken1?key=a%2Fbcdef&n=5&long=token12"),
		map[string]pipeline.Secret{"Authorization": "Bearer token123"})
	const said = "services T000AA to/ken1 to%2Fken1 a/bcdef a%2Fbcdef 5 password1 token123 token12 Bearer"
	const want = "services *** *** *** *** *** 5 *** *** *** Bearer"
	if got := s.Hide(said); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
