//go:build linux

package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
)

// result is all runs of a scenario.
type result struct {
	scenario
	rounds  int
	runs    [][]*figures // by peer, then by round; nil: refused
	refused []string
	notes   []string // what else was measured
	profile string
}

// refuse notes what counts in no figure, and why.
func (r *result) refuse(what string, err error) {
	r.refused = append(r.refused, what+": "+strings.ReplaceAll(err.Error(), "\n", "; "))
}

// values returns one figure of every run of a peer that counts and has it.
func (r *result) values(peer int, m measure) (all []float64) {
	for _, f := range r.runs[peer] {
		if f != nil && !math.IsNaN(m.of(f)) {
			all = append(all, m.of(f))
		}
	}
	return all
}

// ratios returns, for every round in which both count, the figure of one peer
// divided by that of the other.
func (r *result) ratios(peer, to int, m measure) (all []float64) {
	for round, f := range r.runs[peer] {
		if g := r.runs[to][round]; f != nil && g != nil && m.of(g) > 0 {
			all = append(all, m.of(f)/m.of(g))
		}
	}
	return all
}

// line returns some figures of a run in words.
func (f *figures) line(measures []measure) string {
	var parts []string
	for _, m := range measures {
		if v := m.of(f); !math.IsNaN(v) {
			parts = append(parts, fmt.Sprintf(m.format+" %s", v, m.name))
		}
	}
	return strings.Join(append(parts, fmt.Sprintf("elsewhere %.2f cores", f.elsewhere)), ", ")
}

func ratio(values []float64) string {
	if len(values) == 0 {
		return "–"
	}
	low, high := interval(values)
	return fmt.Sprintf("%.2f (%.2f–%.2f)", median(values), low, high)
}

// header and rows are the table: medians, and the first figure's ratio with
// its interval.
func (r *result) header() []string {
	all := []string{"", r.measures[0].name, "÷ " + r.peers[0].name + " (95%)"}
	for _, m := range r.measures[1:] {
		all = append(all, m.name)
	}
	return all
}

func (r *result) rows() (all [][]string) {
	for i, c := range r.peers {
		row := []string{c.name}
		for at, m := range r.measures {
			if values := r.values(i, m); len(values) > 0 {
				row = append(row, fmt.Sprintf(m.format, median(values)))
			} else {
				row = append(row, "–")
			}
			switch {
			case at == 0 && i == 0:
				row = append(row, "1")
			case at == 0:
				row = append(row, ratio(r.ratios(i, 0, m)))
			}
		}
		all = append(all, row)
	}
	return all
}

// remarks are the lines below the table: Warder beside each of the others
// that the table does not divide it by, noise, refused runs.
func (r *result) remarks() (all []string) {
	last := len(r.peers) - 1
	for i := 1; i < last; i++ {
		all = append(all, fmt.Sprintf("%s ÷ %s: %s", r.peers[last].name, r.peers[i].name, ratio(r.ratios(last, i, r.measures[0]))))
	}
	var noise []float64
	for i := range r.peers {
		noise = append(noise, r.values(i, elsewhere)...)
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
	if r.rounds < 5 {
		all = append(all, "fewer than five rounds: the intervals say little")
	}
	all = append(all, r.notes...)
	for _, s := range r.refused {
		all = append(all, "REFUSED "+s)
	}
	return all
}

// table returns the result for a terminal.
func (r *result) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n\n", r.name, r.about)
	plain(&b, r.header(), r.rows())
	fmt.Fprintln(&b)
	for _, s := range r.remarks() {
		fmt.Fprintln(&b, s)
	}
	if r.profile != "" {
		fmt.Fprintf(&b, "\n%s\n", r.profile)
	}
	return b.String()
}

// plain writes a table for a terminal.
func plain(w io.Writer, head []string, rows [][]string) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{head}, rows...) {
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	_ = t.Flush() // to memory, or to a terminal that may have gone
}

// targetRows are the targets of all results.
func targetRows(results []*result) (rows [][]string) {
	for _, r := range results {
		for _, v := range r.verdicts() {
			rows = append(rows, v.row())
		}
	}
	return rows
}

// writeReport writes the results as a page that is not there yet.
func writeReport(path string, r *rig, results []*result) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# Warder beside nginx and HAProxy: %s\n\n", r.report)
	fmt.Fprintf(&b, "How this was measured and how to read it: [the rig](../README.md).\n\n```\n%s\n```\n", strings.Join(r.machine, "\n"))
	if rows := targetRows(results); len(rows) > 0 {
		fmt.Fprint(&b, "\n## Targets\n\nWarder's figure, alone or divided by another's of the same round: the median, and its interval over the rounds. A target is met if the lower end of the interval is at or under the bound.\n\n")
		table(&b, verdictHeader, rows)
	}
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
	if r.profile != "" {
		fmt.Fprintf(w, "\nWhere the CPU time of Warder goes, by samples in a further run:\n\n```\n%s\n```\n", r.profile)
	}
	r.everyRun(w)
}

// everyRun writes a table of the single runs.
func (r *result) everyRun(w io.Writer) {
	var names []string
	for _, m := range r.measures[1:] {
		names = append(names, m.name)
	}
	fmt.Fprintf(w, "\nEvery run: %s (%s; cores taken elsewhere; connections opened to the backend; probes during the run):\n\n", r.measures[0].name, strings.Join(names, "; "))
	head := []string{"round"}
	for _, c := range r.peers {
		head = append(head, c.name)
	}
	var rows [][]string
	for round := range r.rounds {
		row := []string{fmt.Sprint(round + 1)}
		for i := range r.peers {
			f := r.runs[i][round]
			if f == nil {
				row = append(row, "refused")
				continue
			}
			var rest []string
			for _, m := range r.measures[1:] {
				if v := m.of(f); math.IsNaN(v) {
					rest = append(rest, "–")
				} else {
					rest = append(rest, fmt.Sprintf(m.format, v))
				}
			}
			first := fmt.Sprintf(r.measures[0].format, r.measures[0].of(f))
			row = append(row, fmt.Sprintf("%s (%s; %.2f; %d; %d)", first, strings.Join(rest, "; "), f.elsewhere, f.opened, f.probes))
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
