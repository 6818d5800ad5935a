package http

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/rowmill/rowmill/internal/exchange"
	"github.com/rowmill/rowmill/pipeline"
)

// place is which page.
type place struct {
	number int64 // counted from 1
	// token is what asks for it: the cursor, the number of the page, the offset, or the
	// address in full. "" is what the first page of links and cursors is asked for with.
	token string
}

// first is the page to begin with.
func (s *Source) first() place {
	p := place{number: 1}
	if s.counts() {
		p.token = strconv.FormatInt(s.start(), 10)
	}
	return p
}

// text is a place as it stands in a row's Origin: "page 3, cursor=abc". It holds no secret
// that the configuration holds.
func (s *Source) text(p place) string {
	text := "page " + strconv.FormatInt(p.number, 10)
	switch {
	case p.token == "":
		return text
	case s.kind() == byLink:
		return text + ", " + s.secrets.hideAddress(p.token)
	default:
		return text + ", " + s.param() + "=" + p.token
	}
}

// parse reads what text wrote.
func (s *Source) parse(text string) (place, error) {
	head, token, _ := strings.Cut(text, ", ")
	number, err := strconv.ParseInt(strings.TrimPrefix(head, "page "), 10, 64)
	if err != nil || number < 1 || !strings.HasPrefix(head, "page ") {
		return place{}, fmt.Errorf("%q is no page", text)
	}
	p := place{number: number}
	switch {
	case token == "":
	case s.kind() == byLink:
		p.token, err = s.secrets.showAddress(token)
	default:
		var ok bool
		if p.token, ok = strings.CutPrefix(token, s.param()+"="); !ok {
			return p, fmt.Errorf("%q is no page that is asked for with %s", text, s.param())
		}
	}
	return p, err
}

// address is where a page is.
func (s *Source) address(p place) (*url.URL, error) {
	if s.kind() == byLink && p.token != "" {
		return s.lead(s.base, p.token)
	}
	u := *s.base
	u.User = nil
	if p.token != "" {
		u.RawQuery = withParam(u.RawQuery, s.param(), p.token)
	}
	if g := s.config.Paging; s.counts() && g.SizeParam != "" {
		u.RawQuery = withParam(u.RawQuery, g.SizeParam, strconv.Itoa(g.Size))
	}
	return &u, nil
}

// lead returns where a link, a redirect for one, leads that stood in the answer from an
// address. It has to lead to the same server, or to one of the hosts.
func (s *Source) lead(from *url.URL, link string) (*url.URL, error) {
	u, err := from.Parse(strings.TrimSpace(link))
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, pipeline.Fatal("next", fmt.Errorf("the next page is at %q, which is no address", s.secrets.Hide(link)))
	}
	u.Fragment, u.User = "", nil
	if u.Scheme == "http" && s.base.Scheme == "https" && hostOf(u) == hostOf(s.base) {
		u.Scheme = "https" // what stands behind a proxy often does not know that it is asked so
	}
	switch {
	case s.home(u):
		return u, nil
	case u.Scheme == "http" && s.base.Scheme == "https":
		return nil, pipeline.Fatal("next", fmt.Errorf("it leads on to %s://%s, where nothing would be encrypted", u.Scheme, u.Host))
	case s.hosts[hostOf(u)], s.hosts[u.Host]:
		return u, nil
	default:
		return nil, pipeline.Fatal("next", fmt.Errorf("it leads on to another server, %s://%s; if that is meant, write `hosts: [%s]`", u.Scheme, u.Host, u.Host))
	}
}

// home reports whether an address is on the server of the configuration.
func (s *Source) home(u *url.URL) bool {
	return hostOf(u) == hostOf(s.base) && (u.Scheme == s.base.Scheme || u.Scheme == "https")
}

// hostOf is the server of an address, without a port that it would have anyway.
func hostOf(u *url.URL) string {
	port := ":" + map[string]string{"http": "80", "https": "443"}[u.Scheme]
	return strings.TrimSuffix(strings.ToLower(u.Host), port)
}

// withParam sets a parameter in a query, and leaves the others as they are written.
func withParam(query, name, value string) string {
	set := url.QueryEscape(name) + "=" + url.QueryEscape(value)
	var parts []string
	done := false
	for part := range strings.SplitSeq(query, "&") {
		switch {
		case part == "":
		case nameOf(part) != name:
			parts = append(parts, part)
		case !done:
			parts, done = append(parts, set), true
		}
	}
	if !done {
		parts = append(parts, set)
	}
	return strings.Join(parts, "&")
}

// nameOf and valueOf read a part of a query.
func nameOf(part string) string {
	name, _, _ := strings.Cut(part, "=")
	return unescape(name)
}

func valueOf(part string) string {
	_, value, _ := strings.Cut(part, "=")
	return unescape(value)
}

// unescape returns s as it is where it is not escaped as it should be.
func unescape(s string) string {
	if plain, err := url.QueryUnescape(s); err == nil {
		return plain
	}
	return s
}

// secrets are what of the configuration appears in no message and no place: the values of
// the query, what is not plain of the path, and the values of the headers.
type secrets struct {
	exchange.Secrets
	base    *url.URL
	query   map[string]string // by parameter
	headers map[string]string // by header: the last word
}

func newSecrets(base *url.URL, headers map[string]pipeline.Secret) secrets {
	s := secrets{Secrets: exchange.NewSecrets(base, headers), base: base, query: map[string]string{}, headers: map[string]string{}}
	for part := range strings.SplitSeq(base.RawQuery, "&") {
		if value := valueOf(part); value != "" {
			s.query[nameOf(part)] = value
		}
	}
	for name, value := range headers {
		if word := exchange.LastWord(value); word != "" {
			s.headers[name] = word
		}
	}
	return s
}

// blank stands for a value of the configuration.
const blank = exchange.Blank

// hideAddress writes an address without what the configuration holds: the server, what is
// not plain of the path, and the values of parameters. A server that is asked with a key
// writes it into its links.
func (s secrets) hideAddress(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return blank
	}
	text := s.hidePath("/" + strings.TrimPrefix(u.EscapedPath(), "/"))
	if u.Scheme != s.base.Scheme || u.Host != s.base.Host {
		text = u.Scheme + "://" + u.Host + text
	}
	if u.RawQuery == "" {
		return text
	}
	parts := strings.Split(u.RawQuery, "&")
	for i, part := range parts {
		if of, hidden := s.holds(part); hidden {
			parts[i] = part[:strings.IndexByte(part, '=')+1] + blank + of
		} else {
			parts[i] = strings.Replace(part, "="+blank, "=%2A**", 1) // it is theirs
		}
	}
	return text + "?" + strings.Join(parts, "&")
}

// hidePath hides the elements of a path that stand in that of the configuration too, at
// the same place, and are not plain.
func (s secrets) hidePath(path string) string {
	own, elements := strings.Split(s.base.EscapedPath(), "/"), strings.Split(path, "/")
	for i, e := range elements {
		switch {
		case i < len(own) && e == own[i] && !exchange.Plain(e):
			elements[i] = blank
		case e == blank: // it is theirs
			elements[i] = "%2A**"
		}
	}
	return strings.Join(elements, "/")
}

// showPath reads what hidePath wrote, behind the name of a server or without that.
func (s secrets) showPath(text string) (string, error) {
	server := ""
	if scheme, rest, ok := strings.Cut(text, "://"); ok {
		host, _, _ := strings.Cut(rest, "/")
		server = scheme + "://" + host
	}
	own, elements := strings.Split(s.base.EscapedPath(), "/"), strings.Split(strings.TrimPrefix(text, server), "/")
	for i, e := range elements {
		if e != blank {
			continue
		}
		if i >= len(own) {
			return "", fmt.Errorf("the page was asked for at %q, of which url does not hold all any more; --fresh starts over", text)
		}
		elements[i] = own[i]
	}
	return server + strings.Join(elements, "/"), nil
}

// holds reports whether a part of a query has a value of the configuration, and from which
// header; "" for the query.
func (s secrets) holds(part string) (header string, ok bool) {
	value := valueOf(part)
	if value == "" {
		return "", false
	}
	if s.query[nameOf(part)] == value {
		return "", true
	}
	for name, secret := range s.headers {
		if secret == value {
			return name, true
		}
	}
	return "", false
}

// showAddress reads what hideAddress wrote.
func (s secrets) showAddress(text string) (string, error) {
	path, query, _ := strings.Cut(text, "?")
	parts := strings.Split(query, "&")
	for i, part := range parts {
		of, hidden := strings.CutPrefix(part[strings.IndexByte(part, '=')+1:], blank)
		if !hidden {
			continue
		}
		value, ok := s.query[nameOf(part)]
		if of != "" {
			value, ok = s.headers[of]
		}
		if !ok {
			return "", fmt.Errorf("the page was asked for with %q, which url and headers do not hold any more; --fresh starts over", nameOf(part))
		}
		parts[i] = part[:strings.IndexByte(part, '=')+1] + url.QueryEscape(value)
	}
	path, err := s.showPath(path)
	if err != nil {
		return "", err
	}
	u, err := s.base.Parse(path)
	if err != nil {
		return "", fmt.Errorf("%q is no address of a page", text)
	}
	u.RawQuery, u.User = strings.Join(parts, "&"), nil
	return u.String(), nil
}
