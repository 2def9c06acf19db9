//go:build linux

package main

import (
	"math"
	"math/rand/v2"
	"slices"
)

// median returns the middle of the values, NaN if there are none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(values))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// interval returns the 95% bootstrap interval of the median by percentiles:
// of many samples drawn from the values with repetition, 95% have their
// median in it. The draws are the same each time. With fewer than five values
// it is as good as their smallest and largest, and says little.
func interval(values []float64) (low, high float64) {
	const draws = 10_000
	if len(values) == 0 {
		return math.NaN(), math.NaN()
	}
	random := rand.New(rand.NewPCG(1, 2))
	medians, sample := make([]float64, draws), make([]float64, len(values))
	for i := range medians {
		for j := range sample {
			sample[j] = values[random.IntN(len(values))]
		}
		medians[i] = median(sample)
	}
	slices.Sort(medians)
	return medians[draws*25/1000], medians[draws*975/1000-1]
}
