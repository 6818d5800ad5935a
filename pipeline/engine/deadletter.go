package engine

import (
	"errors"

	"github.com/rowmill/rowmill/pipeline"
)

// deadLetter is the record of a dead letter: what came into the stage, why it
// failed, and where the row stood.
func deadLetter(r *pipeline.Record, stage string, err error, attempts int) *pipeline.Record {
	class, code := pipeline.Classify(err)
	reason := pipeline.NewRecord(
		pipeline.Field{Name: "stage", Value: pipeline.Text(stage)},
		pipeline.Field{Name: "class", Value: pipeline.Text(class.String())},
		pipeline.Field{Name: "code", Value: pipeline.Text(code)},
		pipeline.Field{Name: "message", Value: pipeline.Text(err.Error())},
		pipeline.Field{Name: "attempts", Value: integer(int64(attempts))},
	)
	var known *pipeline.Error
	if errors.As(err, &known) && known.Answer != "" {
		reason.Set("answer", pipeline.Text(known.Answer))
	}
	var refusal *pipeline.Refusal
	if errors.As(err, &refusal) {
		reason.Set("sinks", texts(refusal.Sinks))
	}
	place := pipeline.NewRecord(
		pipeline.Field{Name: "path", Value: pipeline.Text(r.Origin.Path)},
		pipeline.Field{Name: "line", Value: integer(r.Origin.Line)},
		pipeline.Field{Name: "offset", Value: integer(r.Origin.Offset)},
		pipeline.Field{Name: "key", Value: pipeline.Text(r.Key())},
		pipeline.Field{Name: "child", Value: pipeline.Text(r.Ref.Path)},
	)
	body := pipeline.Field{Name: "record", Value: pipeline.RawJSON(string(r.AppendJSON(nil)))}
	if !r.Readable() {
		raw, _ := r.Raw()
		body = pipeline.Field{Name: "raw", Value: pipeline.Text(raw)}
	}
	d := pipeline.NewRecord(body,
		pipeline.Field{Name: "error", Value: object(reason)},
		pipeline.Field{Name: "source", Value: object(place)})
	d.Ref, d.Origin = r.Ref, r.Origin
	d.SetKey(r.Key())
	d.SetTicket(r.Ticket())
	r.SetTicket(nil)
	return d
}

func object(r *pipeline.Record) pipeline.Value {
	return pipeline.RawJSON(string(r.AppendJSON(nil)))
}

func texts(all []string) pipeline.Value {
	v, _ := pipeline.ValueOf(all) // texts have no error
	return v
}

func integer(n int64) pipeline.Value {
	v, _ := pipeline.ValueOf(n) // an int64 has no error
	return v
}
