package main

import (
	"context"
	"math"
)

// Part is a part of a document.
type Part struct {
	Path   string    `json:"path"`
	Number int       `json:"number"`
	Text   string    `json:"text"`
	Vector []float64 `json:"vector"`
}

// Index holds parts in memory; in its place stands your vector database.
type Index struct{ parts []Part }

// Store takes a batch: what it has returned nil for is delivered. The engine calls it one
// batch at a time.
func (x *Index) Store(_ context.Context, batch []Part) error {
	x.parts = append(x.parts, batch...)
	return nil
}

// Nearest returns the part whose vector is nearest, and how near: 1 is the same direction.
func (x *Index) Nearest(vector []float64) (best Part, score float64) {
	score = -1
	for _, p := range x.parts {
		if s := cosine(p.Vector, vector); s > score {
			best, score = p, s
		}
	}
	return best, score
}

func cosine(a, b []float64) float64 {
	if len(a) != len(b) {
		return -1
	}
	var ab, aa, bb float64
	for i := range a {
		ab += a[i] * b[i]
		aa += a[i] * a[i]
		bb += b[i] * b[i]
	}
	return ab / max(math.Sqrt(aa*bb), 1e-12)
}
