//go:build linux

package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
)

// result is all runs of a scenario.
type result struct {
	scenario
	options options
	runs    [][]*figures // by peer, then by round; nil: refused
	refused []string
}

// values returns one figure of every run of a peer that counts.
func (r *result) values(peer int, of func(*figures) float64) (all []float64) {
	for _, f := range r.runs[peer] {
		if f != nil {
			all = append(all, of(f))
		}
	}
	return all
}

// ratios returns, for every round in which both count, the CPU time of one
// peer divided by that of the other.
func (r *result) ratios(peer, to int) (all []float64) {
	for round, f := range r.runs[peer] {
		if g := r.runs[to][round]; f != nil && g != nil && g.cpu > 0 {
			all = append(all, f.cpu/g.cpu)
		}
	}
	return all
}

func ratio(values []float64) string {
	if len(values) == 0 {
		return "–"
	}
	low, high := interval(values)
	return fmt.Sprintf("%.2f (%.2f–%.2f)", median(values), low, high)
}

// header and rows are the table: medians, ratios with their interval.
func (r *result) header() []string {
	return []string{"", "CPU µs/request", "÷ " + r.peers[0].name + " (95%)", "requests/s", "p50 ms", "p99 ms", "RSS MiB"}
}

func (r *result) rows() (all [][]string) {
	for i, c := range r.peers {
		column := func(format string, of func(*figures) float64) string {
			values := r.values(i, of)
			if len(values) == 0 {
				return "–"
			}
			return fmt.Sprintf(format, median(values))
		}
		relative := "1"
		if i > 0 {
			relative = ratio(r.ratios(i, 0))
		}
		all = append(all, []string{
			c.name,
			column("%.1f", func(f *figures) float64 { return f.cpu }),
			relative,
			column("%.0f", func(f *figures) float64 { return f.rate }),
			column("%.2f", func(f *figures) float64 { return f.p50 }),
			column("%.2f", func(f *figures) float64 { return f.p99 }),
			column("%.0f", func(f *figures) float64 { return f.rss }),
		})
	}
	return all
}

// remarks are the lines below the table: Warder beside each of the others
// that the table does not divide it by, noise, refused runs.
func (r *result) remarks() (all []string) {
	last := len(r.peers) - 1
	for i := 1; i < last; i++ {
		all = append(all, fmt.Sprintf("warder ÷ %s: %s", r.peers[i].name, ratio(r.ratios(last, i))))
	}
	var noise []float64
	for i := range r.peers {
		noise = append(noise, r.values(i, func(f *figures) float64 { return f.elsewhere })...)
	}
	if len(noise) > 0 {
		worst := 0.0
		for _, v := range noise {
			worst = max(worst, v)
		}
		line := fmt.Sprintf("other programs took %.2f cores in the median run, %.2f in the worst", median(noise), worst)
		if worst > 0.2 {
			line += ": not a quiet machine, so trust no single figure and ratios only roughly"
		}
		all = append(all, line)
	}
	if r.options.rounds < 5 {
		all = append(all, "fewer than five rounds: the intervals say little")
	}
	for _, s := range r.refused {
		all = append(all, "REFUSED "+s)
	}
	return all
}

// table returns the result for a terminal.
func (r *result) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n\n", r.name, r.about)
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{r.header()}, r.rows()...) {
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	_ = t.Flush() // to memory
	fmt.Fprintln(&b)
	for _, s := range r.remarks() {
		fmt.Fprintln(&b, s)
	}
	return b.String()
}

// writeReport writes the results as a page that is not there yet.
func writeReport(path string, r *rig, results []*result) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# Warder beside nginx and HAProxy: %s\n\n", r.report)
	fmt.Fprintf(&b, "How this was measured and how to read it: [the rig](../README.md).\n\n```\n%s\n```\n", strings.Join(r.machine, "\n"))
	for _, res := range results {
		res.markdown(&b)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(b.String())
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}

func (r *result) markdown(w io.Writer) {
	fmt.Fprintf(w, "\n## %s\n\n%s.\n\n", r.name, strings.ToUpper(r.about[:1])+r.about[1:])
	for _, c := range r.peers {
		fmt.Fprintf(w, "- **%s** %s\n", c.name, c.does)
	}
	fmt.Fprintln(w)
	table(w, r.header(), r.rows())
	fmt.Fprintln(w)
	for _, s := range r.remarks() {
		fmt.Fprintf(w, "- %s\n", s)
	}
	fmt.Fprintf(w, "\nEvery run, CPU µs per request (requests/s; p99 ms; cores taken elsewhere; connections opened to the backend; probes during the run):\n\n")
	head := []string{"round"}
	for _, c := range r.peers {
		head = append(head, c.name)
	}
	var rows [][]string
	for round := range r.options.rounds {
		row := []string{fmt.Sprint(round + 1)}
		for i := range r.peers {
			if f := r.runs[i][round]; f == nil {
				row = append(row, "refused")
			} else {
				row = append(row, fmt.Sprintf("%.1f (%.0f; %.2f; %.2f; %d; %d)", f.cpu, f.rate, f.p99, f.elsewhere, f.opened, f.probes))
			}
		}
		rows = append(rows, row)
	}
	table(w, head, rows)
}

func table(w io.Writer, head []string, rows [][]string) {
	fmt.Fprintf(w, "| %s |\n|---%s\n", strings.Join(head, " | "), strings.Repeat("|---:", len(head)-1)+"|")
	for _, row := range rows {
		fmt.Fprintf(w, "| %s |\n", strings.Join(row, " | "))
	}
}
