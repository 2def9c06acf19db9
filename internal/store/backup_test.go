package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/secret"
	"github.com/warder-gateway/warder/internal/store"
	"github.com/warder-gateway/warder/internal/store/storetest"
)

func sample(t testing.TB, s *store.Store, expires time.Time) {
	t.Helper()
	commit(t, s, store.Put(key("gone", "", "")))
	commit(t, s, store.Delete("key", "gone", 0))
	for i := range 5 {
		r := key(fmt.Sprintf("\xff%d", i), fmt.Sprintf("\x00%d", i), strings.Repeat("\x00x", i))
		r.Expires = expires
		commit(t, s, store.Put(r), store.Put(store.Record{Kind: "plan", ID: fmt.Sprint(i)}))
	}
}

func TestABackupOfOneEngineRestoresIntoTheOther(t *testing.T) {
	onBoth(t, func(t *testing.T, p place) {
		other := p
		other.folder = t.TempDir()
		if p.address == store.DefaultAddress {
			other.address = storetest.Postgres(t)
		} else {
			other.address = store.DefaultAddress
		}
		from, to := p.open(t), other.open(t)
		sample(t, from, p.now().Add(time.Hour))
		var backup, again bytes.Buffer
		n, err := from.Backup(t.Context(), &backup)
		wants(t, err, nil)
		same(t, n, uint64(10))

		var follower copyOf
		empty := follower.load(t, to, "key")
		n, err = to.Restore(t.Context(), bytes.NewReader(backup.Bytes()))
		wants(t, err, nil)
		same(t, n, uint64(10))
		wants(t, to.Follow(t.Context(), empty, follower.apply, "key"), store.ErrGone)

		var was, is copyOf
		was.load(t, from, "key", "plan")
		is.load(t, to, "key", "plan")
		same(t, is.records, was.records)
		report, err := to.Check(t.Context())
		wants(t, err, nil)
		same(t, report.Problems, []string{})
		if v := commit(t, to, store.Put(key("later", "", ""))); v <= report.Changes {
			t.Errorf("version %d after %d", v, report.Changes)
		}

		_, err = to.Restore(t.Context(), bytes.NewReader(backup.Bytes()))
		wants(t, err, store.ErrNotEmpty)
		_, err = from.Backup(t.Context(), &again)
		wants(t, err, nil)
		same(t, again.String(), backup.String())
	})
}

func TestADamagedBackupRestoresNothing(t *testing.T) {
	t.Parallel()
	from := storetest.SQLite(t)
	sample(t, from, time.Time{})
	var backup bytes.Buffer
	_, err := from.Backup(t.Context(), &backup)
	wants(t, err, nil)
	whole := backup.String()
	lines := strings.SplitAfter(whole, "\n")
	cases := map[string]string{
		"nothing":              "",
		"another file":         "hello\n",
		"another format":       strings.Replace(whole, "warder-store", "warder-stare", 1),
		"a later format":       strings.Replace(whole, `"version":1`, `"version":2`, 1),
		"a byte changed":       strings.Replace(whole, `"plan"`, `"plam"`, 1),
		"a line less":          strings.Join(append(append([]string{}, lines[:3]...), lines[4:]...), ""),
		"a line twice":         strings.Join(append(append([]string{}, lines[:3]...), lines[2:]...), ""),
		"lines swapped":        strings.Join(append([]string{lines[0], lines[2], lines[1]}, lines[3:]...), ""),
		"no end":               strings.Join(lines[:len(lines)-2], ""),
		"more after the end":   whole + lines[1],
		"junk after the end":   whole + "x",
		"an endless line":      lines[0] + strings.Repeat("x", 4<<20),
		"a cut in the end":     whole[:len(whole)-1],
		"a later schema":       strings.Replace(whole, `"schema":2`, `"schema":99`, 1),
		"a time that is none":  strings.Replace(whole, `"made":`, `"made":-`, 1),
		"a record of nobody":   lines[0] + "{}\n",
		"a version to come":    lines[0] + strings.Replace(lines[1], `"version":`, `"version":99`, 1),
		"a kind without end":   lines[0] + `{"kind":"` + strings.Repeat("k", 1<<20) + `","id":"YQ==","version":1,"body":""}` + "\n",
		"a version of nothing": lines[0] + `{"kind":"key","id":"YQ==","body":""}` + "\n",
	}
	for n := range len(whole) / 311 {
		cases[fmt.Sprintf("cut at %d", n*311)] = whole[:n*311]
	}
	to := storetest.SQLite(t)
	for name, text := range cases {
		if n, err := to.Restore(t.Context(), strings.NewReader(text)); err == nil || n != 0 {
			t.Errorf("%s: %d records, %v", name, n, err)
		} else if !strings.Contains(err.Error(), "line ") {
			t.Errorf("%s: it does not say where: %v", name, err)
		} else if len(err.Error()) > 200 {
			t.Errorf("%s: it repeats what strangers wrote, %d bytes", name, len(err.Error()))
		}
		if _, err := store.CheckBackup(strings.NewReader(text), time.Now()); !errors.Is(err, store.ErrBackup) || !strings.Contains(err.Error(), "line ") {
			t.Errorf("%s: a check says %v", name, err)
		}
	}
	n, err := to.Restore(t.Context(), strings.NewReader(whole))
	wants(t, err, nil)
	same(t, n, uint64(10))
}

func TestACheckSaysWhatIsInABackup(t *testing.T) {
	onBoth(t, func(t *testing.T, p place) {
		s := p.open(t)
		sample(t, s, p.now().Add(time.Hour))
		var backup bytes.Buffer
		_, err := s.Backup(t.Context(), &backup)
		wants(t, err, nil)
		made := p.now()
		want := &store.BackupReport{Made: made, Schema: 2, Changes: 7, Records: map[store.Kind]uint64{"key": 5, "plan": 5}}
		got, err := store.CheckBackup(bytes.NewReader(backup.Bytes()), made)
		wants(t, err, nil)
		same(t, got, want)
		want.Expired = 5
		got, err = store.CheckBackup(bytes.NewReader(backup.Bytes()), made.Add(time.Hour))
		wants(t, err, nil)
		same(t, got, want)
	})
}

// Earlier builds did not say when a backup was made, and of which schema.
func TestABackupOfAnEarlierBuildIsWhole(t *testing.T) {
	t.Parallel()
	const old = `{"format":"warder-store","version":1,"seq":0}
{"end":true,"records":0,"sha256":"82290c7a18c873aaba03e8a12dc9a7419717c714cbcf6ccf2b7cbe17a7538975"}
`
	got, err := store.CheckBackup(strings.NewReader(old), time.Now())
	wants(t, err, nil)
	same(t, got, &store.BackupReport{Records: map[store.Kind]uint64{}})
	_, err = storetest.SQLite(t).Restore(t.Context(), strings.NewReader(old))
	wants(t, err, nil)
}

func FuzzRestore(f *testing.F) {
	from := storetest.SQLite(f)
	sample(f, from, time.Time{})
	var backup bytes.Buffer
	if _, err := from.Backup(f.Context(), &backup); err != nil {
		f.Fatal(err)
	}
	f.Add(backup.Bytes())
	f.Add([]byte("{}\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := store.Open(t.Context(), store.Config{Address: secret.New([]byte(store.DefaultAddress)), Folder: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		n, err := s.Restore(t.Context(), bytes.NewReader(b))
		if _, cerr := store.CheckBackup(bytes.NewReader(b), time.Now()); cerr != nil && err == nil {
			t.Fatalf("restored, and yet a check says %v", cerr)
		}
		report, cerr := s.Check(t.Context())
		if cerr != nil || len(report.Problems) > 0 {
			t.Fatal(cerr, report)
		}
		if err != nil && (n != 0 || len(report.Records) > 0) {
			t.Fatalf("refused, and yet there are %v", report.Records)
		}
	})
}
