package exchange

import (
	"net/url"
	"slices"
	"strings"

	"github.com/rowmill/rowmill/pipeline"
)

// Blank stands for a secret.
const Blank = "***"

// Plain reports whether an element of a path is a word or a version, as most are: `rows`,
// `Tickets`, `v1`, `list.json`. Any other may be a secret, as in the address of a webhook.
func Plain(element string) bool {
	if element == "" {
		return true
	}
	first, rest := element[0], element[1:]
	switch {
	case len(element) > longestWord:
		return false
	case (first == 'v' || first == 'V') && rest != "" && len(rest) <= 2 && strings.Trim(rest, "0123456789") == "":
		return true
	default:
		return letter(first|0x20) && strings.IndexFunc(rest, func(c rune) bool { return (c > 0x7f || !letter(byte(c))) && !strings.ContainsRune("._-", c) }) < 0
	}
}

func letter(c byte) bool { return 'a' <= c && c <= 'z' }

// longestWord is how long a word may be, in bytes. One token in a thousand that is as long
// as this and could have digits has none.
const longestWord = 20

// Address writes an address for messages: without its query and who asks, and with what is
// plain of its path.
func Address(u *url.URL) string {
	elements := strings.Split(u.EscapedPath(), "/")
	for i, e := range elements {
		if !Plain(e) {
			elements[i] = Blank
		}
	}
	return u.Scheme + "://" + u.Host + strings.Join(elements, "/")
}

// Secrets are texts that are not repeated, should the other end say them.
type Secrets struct{ texts []string }

// shortestSecret keeps words like `en` out of what is blanked out of a message.
const shortestSecret = 6

// NewSecrets returns those of an address and of headers: the values of its query, what is
// not plain of its path, its password, and the last word of each header.
func NewSecrets(base *url.URL, headers map[string]pipeline.Secret) Secrets {
	var s Secrets
	for part := range strings.SplitSeq(base.RawQuery, "&") {
		if _, value, ok := strings.Cut(part, "="); ok {
			s.note(value, url.QueryUnescape)
		}
	}
	for element := range strings.SplitSeq(base.EscapedPath(), "/") {
		if !Plain(element) {
			s.note(element, url.PathUnescape)
		}
	}
	if password, ok := base.User.Password(); ok {
		s.note(password, nil)
	}
	for _, value := range headers {
		s.note(LastWord(value), nil)
	}
	slices.SortFunc(s.texts, func(a, b string) int { return len(b) - len(a) }) // one may be within another
	return s
}

// LastWord is the secret part of a header's value, like `Bearer TOKEN`; "" of an empty one.
func LastWord(header pipeline.Secret) string {
	words := strings.Fields(header.Reveal())
	if len(words) == 0 {
		return ""
	}
	return words[len(words)-1]
}

// note adds a text, as it is written and as it is meant.
func (s *Secrets) note(text string, unescape func(string) (string, error)) {
	if len(text) < shortestSecret {
		return
	}
	s.texts = append(s.texts, text)
	if unescape == nil {
		return
	}
	if meant, err := unescape(text); err == nil && meant != text && len(meant) >= shortestSecret {
		s.texts = append(s.texts, meant)
	}
}

// Hide blanks the secrets out of a text.
func (s Secrets) Hide(text string) string {
	for _, secret := range s.texts {
		text = strings.ReplaceAll(text, secret, Blank)
	}
	return text
}
