package s3

// Impatient has attempts follow each other quickly.
func (s *Source) Impatient() *Source {
	s.bucket.Impatient()
	return s
}
