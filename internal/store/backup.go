package store

import (
	"bufio"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"
)

// A backup is text, one JSON object a line: a head, the records, an end. It is
// the same whichever engine wrote it.
//
//	{"format":"warder-store","version":1,"seq":42,"made":1767225600000,"schema":2}
//	{"kind":"key","id":"…","alias":"…","owner":"…","expires":1767225600000,"version":7,"body":"…"}
//	{"end":true,"records":1,"sha256":"…"}
//
// Names and bodies are in base64, times in milliseconds since 1970; made and
// schema may be missing. The digest is of all bytes before the line it stands
// in.
type (
	backupHead struct {
		Format  string `json:"format"`
		Version int    `json:"version"`
		Seq     uint64 `json:"seq"`
		Made    int64  `json:"made,omitempty"`
		Schema  int    `json:"schema,omitempty"`
	}
	backupRecord struct {
		Kind    Kind   `json:"kind"`
		ID      []byte `json:"id"`
		Alias   []byte `json:"alias,omitempty"`
		Owner   []byte `json:"owner,omitempty"`
		Expires int64  `json:"expires,omitempty"`
		Version uint64 `json:"version"`
		Body    []byte `json:"body"`
	}
	backupEnd struct {
		End     bool   `json:"end"`
		Records uint64 `json:"records"`
		SHA256  string `json:"sha256"`
	}
)

const (
	backupFormat  = "warder-store"
	backupVersion = 1
	backupLine    = 2*MaxBody + 8*MaxName // bytes of the longest line
)

// Backup writes all records, as of one moment, to w. The gateways go on
// meanwhile. It returns how many there are.
func (s *Store) Backup(ctx context.Context, w io.Writer) (records uint64, err error) {
	err = s.long(ctx, reading, func(ctx context.Context) error {
		return s.engine.view(ctx, func(tx *sql.Tx) error {
			now, _, err := head(ctx, tx)
			if err != nil {
				return err
			}
			out := newBackupWriter(w)
			if err := out.line(backupHead{backupFormat, backupVersion, now.Seq, s.now().UnixMilli(), schema}); err != nil {
				return err
			}
			rows, err := tx.QueryContext(ctx, `SELECT `+columns+` FROM warder_records ORDER BY kind, id`)
			if err != nil {
				return err
			}
			if err := scan(rows, out.record); err != nil {
				return err
			}
			records = out.records
			return out.end()
		})
	})
	return records, err
}

// backupWriter writes a backup line by line. Its errors are foreign.
type backupWriter struct {
	out     *bufio.Writer
	sum     hash.Hash
	enc     *json.Encoder
	records uint64
}

func newBackupWriter(w io.Writer) *backupWriter {
	b := &backupWriter{out: bufio.NewWriterSize(w, 256<<10), sum: sha256.New()}
	b.enc = json.NewEncoder(io.MultiWriter(b.out, b.sum))
	return b
}

func (b *backupWriter) line(v any) error {
	if err := b.enc.Encode(v); err != nil {
		return foreign{err}
	}
	return nil
}

func (b *backupWriter) record(r Record) error {
	b.records++
	line := backupRecord{Kind: r.Kind, ID: []byte(r.ID), Alias: []byte(r.Alias), Owner: []byte(r.Owner), Version: r.Version, Body: r.Body}
	if !r.Expires.IsZero() {
		line.Expires = r.Expires.UnixMilli()
	}
	return b.line(line)
}

func (b *backupWriter) end() error {
	if err := b.line(backupEnd{true, b.records, hex.EncodeToString(b.sum.Sum(nil))}); err != nil {
		return err
	}
	if err := b.out.Flush(); err != nil {
		return foreign{err}
	}
	return nil
}

// ErrBackup is a backup that is damaged, cut short, or of another kind.
var ErrBackup = errors.New("this is no whole backup")

// ErrNotEmpty is a restore into a store that has records, or had.
var ErrNotEmpty = errors.New("the store is not empty")

// Restore puts the records of a backup into a store that was never written to:
// all of them, or none on any error. It returns how many there are. Who
// follows the store has to Stream again.
func (s *Store) Restore(ctx context.Context, r io.Reader) (records uint64, err error) {
	err = s.long(ctx, writing, func(ctx context.Context) error {
		return s.engine.write(ctx, func(tx *sql.Tx) error {
			if err := alone(ctx, tx); err != nil {
				return err
			}
			if err := empty(ctx, tx); err != nil {
				return err
			}
			if records, err = restore(ctx, tx, newBackupReader(r)); err != nil {
				return err
			}
			return s.engine.announce(ctx, tx)
		})
	})
	if err != nil {
		return 0, err
	}
	s.wake.ring()
	return records, nil
}

// empty refuses a store that has records, or had.
func empty(ctx context.Context, tx *sql.Tx) error {
	var seq, records uint64
	if err := tx.QueryRowContext(ctx, `SELECT seq, (SELECT count(*) FROM warder_records) FROM warder_head`).Scan(&seq, &records); err != nil {
		return err
	}
	if seq == 0 && records == 0 {
		return nil
	}
	return foreign{fmt.Errorf("%w: it has %d records; a restore never overwrites: name an empty database under store, or move this one away", ErrNotEmpty, records)}
}

func restore(ctx context.Context, tx *sql.Tx, lines *backupReader) (records uint64, err error) {
	if err := lines.begin(); err != nil {
		return 0, foreign{err}
	}
	statements := newScript(tx, true)
	defer statements.close()
	for {
		r, err := lines.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, foreign{err}
		}
		if err := statements.exec(ctx, insertRecord, r.values(r.Version)...); err != nil {
			return 0, err
		}
	}
	// A new name: followers of what was here before must read all anew.
	_, err = tx.ExecContext(ctx, `UPDATE warder_head SET store = $1, seq = $2, forgotten = $2`, newName(), lines.head.Seq+1)
	return lines.records, err
}

// BackupReport says what is in a backup.
type BackupReport struct {
	Made    time.Time       `json:"made,omitzero"`    // zero: an earlier build made it, which did not write it down
	Schema  int             `json:"schema,omitempty"` // of the store it is of; 0: the same
	Changes uint64          `json:"changes"`          // number of the store's last change
	Records map[Kind]uint64 `json:"records"`
	Expired uint64          `json:"expired"` // of the records, as of now
}

// CheckBackup reads all of a backup as Restore would, and changes nothing. An
// error is ErrBackup, or that of r.
func CheckBackup(r io.Reader, now time.Time) (*BackupReport, error) {
	lines := newBackupReader(r)
	if err := lines.begin(); err != nil {
		return nil, err
	}
	report := &BackupReport{Schema: lines.head.Schema, Changes: lines.head.Seq, Records: map[Kind]uint64{}}
	if lines.head.Made != 0 {
		report.Made = milli(lines.head.Made)
	}
	for {
		rec, err := lines.next()
		if errors.Is(err, io.EOF) {
			return report, nil
		}
		if err != nil {
			return nil, err
		}
		report.Records[rec.Kind]++
		if !rec.Expires.IsZero() && !rec.Expires.After(now) {
			report.Expired++
		}
	}
}

// backupReader reads a backup line by line, and believes none of it.
type backupReader struct {
	in      *bufio.Scanner
	sum     hash.Hash
	line    int
	head    backupHead
	records uint64
	last    Record
}

func newBackupReader(r io.Reader) *backupReader {
	in := bufio.NewScanner(r)
	in.Buffer(make([]byte, 64<<10), backupLine)
	in.Split(wholeLines)
	return &backupReader{in: in, sum: sha256.New()}
}

// wholeLines splits at newlines and keeps them; a last line without one is cut
// short.
func wholeLines(data []byte, atEOF bool) (int, []byte, error) {
	n, line, err := bufio.ScanLines(data, false)
	if n == 0 && atEOF && len(data) > 0 {
		return 0, nil, io.ErrUnexpectedEOF
	}
	if n > 0 {
		line = data[:n]
	}
	return n, line, err
}

func (b *backupReader) wrong(what string) error {
	return fmt.Errorf("%w: line %d: %s", ErrBackup, b.line, what)
}

func (b *backupReader) read(into any) error {
	b.line++
	if !b.in.Scan() {
		switch err := b.in.Err(); {
		case errors.Is(err, bufio.ErrTooLong):
			return b.wrong("the line is too long")
		case err != nil && !errors.Is(err, io.ErrUnexpectedEOF):
			return fmt.Errorf("the backup cannot be read: %w", err)
		}
		return b.wrong("it ends here; it was cut short")
	}
	if err := json.Unmarshal(b.in.Bytes(), into); err != nil {
		return b.wrong("it is not what a backup has here")
	}
	return nil
}

// begin reads the head.
func (b *backupReader) begin() error {
	h := &b.head
	if err := b.read(h); err != nil {
		return err
	}
	switch {
	case h.Format != backupFormat:
		return b.wrong("it is not what warder store backup writes")
	case h.Version > backupVersion:
		return b.wrong(fmt.Sprintf("its format is %d and this build knows %d; use the version that wrote it, or a later one", h.Version, backupVersion))
	case h.Schema > schema:
		return b.wrong(fmt.Sprintf("its schema is %d and this build knows %d; use the version that wrote it, or a later one", h.Schema, schema))
	case h.Version < 1 || h.Seq > maxMoment || h.Schema < 0 || h.Made < 0 || h.Made > maxMoment:
		return b.wrong("a number is out of bounds")
	}
	b.sum.Write(b.in.Bytes())
	return nil
}

// next returns the next record, and io.EOF after the last if all of the backup
// is as it was written.
func (b *backupReader) next() (Record, error) {
	var line struct {
		backupRecord
		backupEnd
		Format json.RawMessage `json:"format"`
	}
	if err := b.read(&line); err != nil {
		return Record{}, err
	}
	if line.End {
		switch {
		case line.Records != b.records || line.SHA256 != hex.EncodeToString(b.sum.Sum(nil)):
			return Record{}, b.wrong("the checksum is not that of what was read; the backup is damaged")
		case b.in.Scan():
			return Record{}, b.wrong("something follows the end")
		case b.in.Err() != nil:
			return Record{}, b.wrong("something follows the end")
		}
		return Record{}, io.EOF
	}
	b.sum.Write(b.in.Bytes())
	r := Record{Kind: line.Kind, ID: string(line.ID), Alias: string(line.Alias), Owner: string(line.Owner), Version: line.Version, Body: line.Body}
	if line.Expires != 0 {
		r.Expires = milli(line.Expires)
	}
	if err := r.validate(); err != nil {
		return Record{}, b.wrong(err.Error())
	}
	if r.Version == 0 {
		return Record{}, b.wrong("a record without a version")
	}
	if r.Version > b.head.Seq {
		return Record{}, b.wrong("a record is younger than the backup")
	}
	if r.Kind < b.last.Kind || r.Kind == b.last.Kind && r.ID <= b.last.ID {
		return Record{}, b.wrong("a record out of order, or twice")
	}
	b.last = r
	b.records++
	return r, nil
}
