package llm

import "github.com/rowmill/rowmill/internal/simulator"

// SimulatorOptions are [Config.Simulator], for programs that build a Config in Go.
type SimulatorOptions = simulator.Options

// SimulatorFaults are the shares of requests that meet each kind of fault.
type SimulatorFaults = simulator.Faults
