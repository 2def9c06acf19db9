package config

import "strconv"

// DidYouMean suggests the known word that was probably meant: `did you mean
// "x"?`, or nothing if none is near. It looks at a thousand words at most.
func DidYouMean(word string, known []string) string {
	const longest, most = 64, 1000
	if len(word) > longest {
		return ""
	}
	best := ""
	at := min(len(word), len(word)/3+2) // more than a third of it changed is another word
	for _, k := range known[:min(len(known), most)] {
		if len(k) >= len(word)+at || len(word) >= len(k)+at {
			continue
		}
		if n := distance(word, k); n < at {
			best, at = k, n
		}
	}
	if best == "" {
		return ""
	}
	return "did you mean " + strconv.Quote(best) + "?"
}

// distance counts the insertions, deletions, changes and swaps of neighbours
// that turn a into b; a change of case alone counts nothing.
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := 1
			if lower(a[i-1]) == lower(b[j-1]) {
				change = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+change)
			if i > 1 && j > 1 && lower(a[i-1]) == lower(b[j-2]) && lower(a[i-2]) == lower(b[j-1]) {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
