package llm

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"

	"github.com/rowmill/rowmill/pipeline"
)

// lost makes the error of an exchange that brought no whole answer.
func (to *endpoint) lost(ctx context.Context, x *exchange, err error) error {
	certificate, record := new(tls.CertificateVerificationError), tls.RecordHeaderError{}
	cut := whyCut(ctx)
	switch {
	case cut != nil:
		return fmt.Errorf("ask %s: %w", to.host, cut)
	case errors.Is(err, errTooLong):
		return to.tooLong(x)
	case ctx.Err() != nil:
		return fmt.Errorf("ask %s: %w", to.host, err)
	case errors.As(err, &certificate):
		return pipeline.Fatal("tls", fmt.Errorf("ask %s: %w", to.host, err))
	case errors.As(err, &record) && string(record.RecordHeader[:]) == "HTTP/":
		return pipeline.Fatal("tls", fmt.Errorf("ask %s: %w; write http:// in base_url", to.host, err))
	}
	err = fmt.Errorf("ask %s: %w", to.host, err)
	if class, _ := pipeline.Classify(err); class == pipeline.ClassRecord {
		// Whatever else happens between here and there is not the row's fault.
		return pipeline.Transient("network", err)
	}
	return err
}

// tooLong is the error of an answer above max_answer: a server that runs amok, which
// another attempt may find in order. That of an error page is what its status says.
func (to *endpoint) tooLong(x *exchange) error {
	if x.status < 200 || x.status > 299 {
		return to.refuse(failure{status: x.status}, x.reply)
	}
	return pipeline.Transient("answer_too_long",
		fmt.Errorf("%s sent an answer of more than %v, which max_answer allows", to.host, to.config.MaxAnswer))
}
