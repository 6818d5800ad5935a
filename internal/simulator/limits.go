package simulator

import (
	"net/http"
	"strconv"
	"sync"
	"time"
)

// bucket holds what may be had now of something limited a minute. It is refilled
// steadily, up to what a window holds.
type bucket struct {
	perMinute int // 0 is no limit
	capacity  float64
	level     float64 // below 0: a request larger than the capacity was let in
	at        time.Time
}

func newBucket(perMinute int, window time.Duration) bucket {
	capacity := max(1, float64(perMinute)*window.Minutes())
	return bucket{perMinute: perMinute, capacity: capacity, level: capacity, at: time.Now()}
}

func (b *bucket) refill(now time.Time) {
	b.level = min(b.capacity, b.level+now.Sub(b.at).Minutes()*float64(b.perMinute))
	b.at = now
}

// wait returns how long it takes until need may be had, 0 for now. What is more
// than a window holds is let in when the bucket is full, and paid back after.
func (b *bucket) wait(need int) time.Duration {
	missing := min(float64(need), b.capacity) - b.level
	if b.perMinute == 0 || missing <= 1e-9 { // 1e-9: who waited as told is let in
		return 0
	}
	return b.refilled(missing)
}

func (b *bucket) refilled(amount float64) time.Duration {
	return time.Duration(amount / float64(b.perMinute) * float64(time.Minute))
}

func (b *bucket) standing() standing {
	if b.perMinute == 0 {
		return standing{}
	}
	return standing{limit: b.perMinute, remaining: max(0, int(b.level)), reset: b.refilled(b.capacity - b.level)}
}

// standing is what the headers say about one limit.
type standing struct {
	limit     int // 0 is no limit
	remaining int // what may be had now
	reset     time.Duration
}

// limiter is the door: it lets requests in, or says how long to wait.
type limiter struct {
	mu               sync.Mutex
	requests, tokens bucket
}

func newLimiter(o Options) *limiter {
	window := time.Duration(o.LimitWindow)
	return &limiter{requests: newBucket(o.RequestsPerMinute, window), tokens: newBucket(o.TokensPerMinute, window)}
}

// verdict is what the door says to a request.
type verdict struct {
	requests, tokens standing
	// wait is 0 if the request is in.
	wait time.Duration
	// kind is what there is too little of: "requests" or "tokens".
	kind string
	// tooLarge: it needs more than a whole minute has, and will never be let in.
	tooLarge bool
}

// take lets a request in that needs so many tokens, or says why not. A request
// that is not let in takes nothing.
func (l *limiter) take(tokens int) verdict {
	if l.requests.perMinute == 0 && l.tokens.perMinute == 0 {
		return verdict{}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.requests.refill(now)
	l.tokens.refill(now)
	v := verdict{wait: l.requests.wait(1), kind: "requests"}
	if w := l.tokens.wait(tokens); w > v.wait {
		v.wait, v.kind = w, "tokens"
	}
	if l.tokens.perMinute > 0 && tokens > l.tokens.perMinute {
		v.wait, v.kind, v.tooLarge = time.Minute, "tokens", true
	}
	if v.wait == 0 {
		l.requests.level--
		l.tokens.level -= float64(tokens)
	}
	v.requests, v.tokens = l.requests.standing(), l.tokens.standing()
	return v
}

// setLimits writes where the limits stand into the headers of an answer, in the
// provider's format.
func (v verdict) setLimits(h http.Header, dialect string) {
	if v.requests.limit == 0 && v.tokens.limit == 0 {
		return
	}
	switch dialect {
	case DialectOpenAI:
		v.requests.setOpenAI(h, "Requests")
		v.tokens.setOpenAI(h, "Tokens")
	case DialectAzure:
		v.requests.setAzure(h, "Requests")
		v.tokens.setAzure(h, "Tokens")
	case DialectAnthropic:
		v.requests.setAnthropic(h, "Requests")
		v.tokens.setAnthropic(h, "Tokens")
	}
}

// setOpenAI writes reset as a duration as Go has it: "120ms", "1s", "6m0s".
func (s standing) setOpenAI(h http.Header, what string) {
	if s.limit == 0 {
		return
	}
	setXRateLimit(h, what, s.limit, s.remaining, roundUp(s.reset, time.Millisecond).String())
}

// setAzure writes reset in whole seconds, and -1 for a limit that is not known.
func (s standing) setAzure(h http.Header, what string) {
	if s.limit == 0 {
		setXRateLimit(h, what, -1, -1, "0")
		return
	}
	setXRateLimit(h, what, s.limit, s.remaining, strconv.Itoa(wholeSeconds(s.reset)))
}

func setXRateLimit(h http.Header, what string, limit, remaining int, reset string) {
	h["X-Ratelimit-Limit-"+what] = []string{strconv.Itoa(limit)}
	h["X-Ratelimit-Remaining-"+what] = []string{strconv.Itoa(remaining)}
	h["X-Ratelimit-Reset-"+what] = []string{reset}
}

// setAnthropic writes reset as a time.
func (s standing) setAnthropic(h http.Header, what string) {
	if s.limit == 0 {
		return
	}
	// Rounded up to the second, so that a client never comes too early.
	reset := time.Now().Add(s.reset + time.Second - 1).Truncate(time.Second).UTC().Format(time.RFC3339)
	h["Anthropic-Ratelimit-"+what+"-Limit"] = []string{strconv.Itoa(s.limit)}
	h["Anthropic-Ratelimit-"+what+"-Remaining"] = []string{strconv.Itoa(s.remaining)}
	h["Anthropic-Ratelimit-"+what+"-Reset"] = []string{reset}
}

func roundUp(d, unit time.Duration) time.Duration { return (d + unit - 1) / unit * unit }

func wholeSeconds(d time.Duration) int { return int(roundUp(d, time.Second) / time.Second) }
