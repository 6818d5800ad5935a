package simulator

import (
	"bytes"
	"net"
	"net/http"
	"strconv"
	"time"
)

const htmlPage = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n" +
	"<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>simulator</center>\r\n</body>\r\n</html>\r\n"

// endless is how much of an endless answer is sent.
const endless = 1 << 30

// meet does what there is in place of an answer, or sends the answer.
func (x *exchange) meet() {
	switch x.fault {
	case faultReset:
		x.reset()
	case faultCutBody:
		x.cutBody()
	case faultHTML:
		x.endFault()
		x.begin(http.StatusBadGateway, "text/html", len(htmlPage))
		_, _ = x.w.Write([]byte(htmlPage))
	case faultTrickle:
		x.trickle()
	case faultEmptyChoices:
		x.endFault()
		x.reply.choices, x.reply.completion = nil, 0
		send(x.w, http.StatusOK, x.reply.appendJSON(nil))
	case faultInvalidJSON:
		x.endFault()
		whole := x.reply.appendJSON(nil)
		send(x.w, http.StatusOK, whole[:len(whole)/2])
	case faultError200:
		x.endFault()
		send(x.w, http.StatusOK, serverError().appendJSON(nil, x.s.options.Dialect))
	case faultEndlessBody:
		x.endlessBody()
	default:
		x.answer()
	}
}

// reset makes the client read "connection reset by peer".
func (x *exchange) reset() {
	x.breakOff()
	hijacker, ok := x.w.(http.Hijacker)
	if !ok {
		return
	}
	conn, _, err := hijacker.Hijack()
	if err != nil {
		return
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // what is left unsent is thrown away, and that is said with RST
	}
	_ = conn.Close()
	x.hangUp = false // it is done
}

// cutBody promises more than it sends.
func (x *exchange) cutBody() {
	x.breakOff()
	whole := x.reply.appendJSON(nil)
	x.begin(http.StatusOK, "application/json", len(whole))
	_, _ = x.w.Write(whole[:len(whole)/2])
	x.flush()
}

// trickle sends the answer a byte a second.
func (x *exchange) trickle() {
	whole := x.reply.appendJSON(nil)
	x.begin(http.StatusOK, "application/json", len(whole))
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for i := range whole {
		if _, err := x.w.Write(whole[i : i+1]); err != nil || x.over() {
			x.breakOff()
			return
		}
		x.flush()
		if i < len(whole)-1 {
			x.wait(tick.C)
		}
	}
	x.endFault()
}

// endlessBody sends an answer whose text does not end.
func (x *exchange) endlessBody() {
	defer x.breakOff()
	x.begin(http.StatusOK, "application/json", -1)
	head := append(x.reply.appendHead(nil), `{"index":0,"message":{"role":"assistant","content":"`...)
	if _, err := x.w.Write(head); err != nil {
		return
	}
	more := bytes.Repeat([]byte("and on "), 8<<10)
	for sent := 0; sent < endless; sent += len(more) {
		if _, err := x.w.Write(more); err != nil || x.over() {
			return
		}
	}
}

// begin sends the headers of an answer; the length is -1 where it is not told.
func (x *exchange) begin(status int, kind string, length int) {
	h := x.w.Header()
	h["Content-Type"] = []string{kind}
	if length >= 0 {
		h["Content-Length"] = []string{strconv.Itoa(length)}
	}
	x.w.WriteHeader(status)
}

func (x *exchange) flush() {
	if f, ok := x.w.(http.Flusher); ok {
		f.Flush()
	}
}
