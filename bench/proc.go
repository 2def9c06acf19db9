//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of CPU times in /proc: USER_HZ, 100 on every architecture
// that Go runs on.
const tick = 10 * time.Millisecond

// stat is what /proc/PID/stat says of a process.
type stat struct {
	parent int
	cpu    time.Duration // utime + stime
}

// readStat reads one /proc/PID/stat: see proc_pid_stat(5). The name of the
// program, which may hold anything, ends at the last bracket.
func readStat(b []byte) (stat, error) {
	_, after, _ := strings.Cut(string(b[max(0, bytes.LastIndexByte(b, ')')):]), " ")
	f := strings.Fields(after)
	if len(f) < 13 {
		return stat{}, fmt.Errorf("not a process: %q", b)
	}
	var n [3]int
	for i, at := range [...]int{1, 11, 12} { // ppid, utime, stime
		v, err := strconv.Atoi(f[at])
		if err != nil {
			return stat{}, err
		}
		n[i] = v
	}
	return stat{n[0], time.Duration(n[1]+n[2]) * tick}, nil
}

// tree is a process and all its descendants, with their CPU times.
type tree map[int]time.Duration

// readTree reads the tree below a process.
func readTree(root int) (tree, error) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	all, children := map[int]stat{}, map[int][]int{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue // it has ended meanwhile
		}
		s, err := readStat(b)
		if err != nil {
			return nil, err
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		all[pid] = s
		children[s.parent] = append(children[s.parent], pid)
	}
	t := tree{}
	for todo := []int{root}; len(todo) > 0; {
		pid := todo[0]
		todo = append(todo[1:], children[pid]...)
		if s, ok := all[pid]; ok {
			t[pid] = s.cpu
		}
	}
	if len(t) == 0 {
		return nil, fmt.Errorf("process %d has ended", root)
	}
	return t, nil
}

// cpu returns the CPU time of the whole tree.
func (t tree) cpu() (sum time.Duration) {
	for _, d := range t {
		sum += d
	}
	return sum
}

// same reports whether both trees hold the same processes.
func (t tree) same(other tree) bool {
	for pid := range t {
		if _, ok := other[pid]; !ok {
			return false
		}
	}
	return len(t) == len(other)
}

// rss returns the resident memory of the tree in bytes. Pages that processes
// share count once for each.
func (t tree) rss() (sum int) {
	for pid := range t {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid)) // in pages: proc_pid_statm(5)
		if f := strings.Fields(string(b)); err == nil && len(f) > 1 {
			pages, _ := strconv.Atoi(f[1])
			sum += pages * os.Getpagesize()
		}
	}
	return sum
}

// resetPeak makes peak count from now on: proc_pid_clear_refs(5).
func (t tree) resetPeak() (err error) {
	for pid := range t {
		err = errors.Join(err, os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0))
	}
	return err
}

// peak returns the most resident memory in bytes that each process of the
// tree has had, added up.
func (t tree) peak() (sum int) {
	for pid := range t {
		kib, _ := strconv.Atoi(strings.TrimSuffix(field(fmt.Sprintf("/proc/%d/status", pid), "VmHWM"), " kB")) // 0: it has ended
		sum += kib << 10
	}
	return sum
}

// busy returns the CPU time that processes have taken on the whole machine
// since it started: user, nice and system of proc_stat(5), without the
// kernel's own interrupts, which on loopback carry our packets.
func busy() (time.Duration, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(b), "\n")
	f := strings.Fields(line)
	if len(f) < 4 || f[0] != "cpu" {
		return 0, fmt.Errorf("/proc/stat begins with %q", line)
	}
	var sum time.Duration
	for _, s := range f[1:4] {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return 0, err
		}
		sum += time.Duration(n) * tick
	}
	return sum, nil
}

// field returns the value of the first line "name : value" of a file of
// /proc, empty if there is none.
func field(file, name string) string {
	b, _ := os.ReadFile(file)
	lines := strings.Split(string(b), "\n")
	at := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, name) })
	if at < 0 {
		return ""
	}
	_, value, _ := strings.Cut(lines[at], ":")
	return strings.TrimSpace(value)
}
