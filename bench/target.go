//go:build linux

package main

import (
	"fmt"
	"math"
)

// figures are what one run of one proxy measured; NaN: it does not apply.
type figures struct {
	cpu       float64 // microseconds per request
	perGB     float64 // CPU milliseconds per GB (10⁹ bytes) of large bodies
	rate      float64 // requests per second
	p50, p99  float64 // milliseconds
	ready     float64 // milliseconds from its start to its first answer
	rss       float64 // MiB, at the end
	growth    float64 // MiB from before the run to its peak
	perConn   float64 // KiB of RSS for each idle connection
	heap      float64 // KiB of Go's heap and stacks for each idle connection
	allocs    float64 // of Go's heap per request
	elsewhere float64 // cores that neither proxy nor load nor backend took
	opened    int     // connections to the backend
	probes    int     // pairs of questions asked during the run
}

// measure is one figure with its name and form.
type measure struct {
	name   string
	format string
	of     func(*figures) float64
}

var (
	cpu           = measure{"CPU µs/request", "%.1f", func(f *figures) float64 { return f.cpu }}
	perGB         = measure{"CPU ms/GB", "%.0f", func(f *figures) float64 { return f.perGB }}
	rate          = measure{"requests/s", "%.0f", func(f *figures) float64 { return f.rate }}
	middle        = measure{"p50 ms", "%.2f", func(f *figures) float64 { return f.p50 }}
	slow          = measure{"p99 ms", "%.2f", func(f *figures) float64 { return f.p99 }}
	ready         = measure{"ready ms", "%.0f", func(f *figures) float64 { return f.ready }}
	memory        = measure{"RSS MiB", "%.0f", func(f *figures) float64 { return f.rss }}
	growth        = measure{"growth MiB", "%.1f", func(f *figures) float64 { return f.growth }}
	perConnection = measure{"KiB/connection", "%.1f", func(f *figures) float64 { return f.perConn }}
	heap          = measure{"Go heap + stacks KiB/connection", "%.1f", func(f *figures) float64 { return f.heap }}
	elsewhere     = measure{"cores elsewhere", "%.2f", func(f *figures) float64 { return f.elsewhere }}
	allocations   = measure{"allocs/request", "%.2f", func(f *figures) float64 { return f.allocs }}

	usual   = []measure{cpu, rate, middle, slow, memory, allocations}
	ofLarge = []measure{perGB, rate, growth, memory}
	ofIdle  = []measure{perConnection, heap, memory, cpu}
)

// target is what Warder's figure is to be at most, alone or divided by that of
// another contender of the same round.
type target struct {
	what  string
	of    measure
	to    string  // name of the contender; empty: the figure alone
	bound float64 // 0: none, the figure is only shown
}

// verdict is a target beside what was measured.
type verdict struct {
	target
	values []float64 // by round
}

// verdicts judges the last contender.
func (r *result) verdicts() (all []verdict) {
	last := len(r.peers) - 1
	for _, t := range r.targets {
		v := verdict{target: t}
		if t.to == "" {
			v.values = r.values(last, t.of)
		} else {
			for i, c := range r.peers {
				if c.name == t.to {
					v.values = r.ratios(last, i, t.of)
				}
			}
		}
		all = append(all, v)
	}
	return all
}

// row returns target, figure, interval, bound, whether it was met, and of how
// many rounds.
func (v verdict) row() []string {
	bound, met := "–", "–"
	low, high := interval(v.values)
	if v.bound > 0 {
		bound = fmt.Sprintf("≤ %g", v.bound)
		switch {
		case math.IsNaN(low):
			met = "not measured"
		case low <= v.bound:
			met = "yes"
		default:
			met = "**no**"
		}
	}
	if len(v.values) == 0 {
		return []string{v.what, "–", "–", bound, met, "0"}
	}
	return []string{v.what, fmt.Sprintf("%.2f", median(v.values)), fmt.Sprintf("%.2f–%.2f", low, high), bound, met, fmt.Sprint(len(v.values))}
}

var verdictHeader = []string{"target", "figure", "interval (95%)", "bound", "met?", "rounds"}
