package s3

// Impatient has attempts follow each other quickly.
func (s *Sink) Impatient() *Sink {
	s.bucket.Impatient()
	return s
}
