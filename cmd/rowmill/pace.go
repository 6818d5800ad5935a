package main

import "time"

// paceWindow is the time over which the speed is measured.
const paceWindow = 10 * time.Second

// pace measures how many rows a second get done, of late.
type pace struct{ marks []mark }

type mark struct {
	at   time.Duration // since the beginning
	done int64
}

// at notes how far the run is and returns the rows a second over about the last
// ten seconds.
func (p *pace) at(elapsed time.Duration, done int64) float64 {
	if p.marks == nil {
		p.marks = []mark{{}}
	}
	for len(p.marks) > 1 && p.marks[1].at <= elapsed-paceWindow {
		p.marks = p.marks[1:]
	}
	first := p.marks[0]
	p.marks = append(p.marks, mark{elapsed, done})
	if elapsed <= first.at {
		return 0
	}
	return float64(done-first.done) / (elapsed - first.at).Seconds()
}
