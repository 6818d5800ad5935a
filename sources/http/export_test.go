package http

import "net/http"

// Over has a source ask what is no network.
func (s *Source) Over(network http.RoundTripper) { s.client.Transport = network }

// For tests of what is read and written.
var (
	NextLink  = nextLink
	WithParam = withParam
)

// FindIn returns what stands at a path of a valid JSON text.
func FindIn(text []byte, at string) (string, bool, error) {
	p, err := parsePath(at)
	if err != nil {
		return "", false, err
	}
	v, ok := p.find(text)
	return string(v), ok, nil
}

// Valid reports whether a text is JSON.
func Valid(text []byte) bool { return validate(text) == nil }

// HideAndShow writes an address without secrets, and reads that again.
func (s *Source) HideAndShow(address string) (hidden, shown string, err error) {
	hidden = s.secrets.hideAddress(address)
	shown, err = s.secrets.showAddress(hidden)
	return hidden, shown, err
}
