//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// apiKey makes a key: wk_PREFIX_SECRET and the CRC-32 of all that.
func apiKey() (string, error) {
	var b strings.Builder
	b.WriteString("wk_")
	for i := range 8 + 43 {
		if i == 8 {
			b.WriteByte('_')
		}
		n, err := rand.Int(rand.Reader, big.NewInt(int64(len(base62))))
		if err != nil {
			return "", err
		}
		b.WriteByte(base62[n.Int64()])
	}
	var check [6]byte
	sum := crc32.ChecksumIEEE([]byte(b.String()))
	for i := len(check) - 1; i >= 0; i-- {
		check[i] = base62[sum%62]
		sum /= 62
	}
	return b.String() + string(check[:]), nil
}

// stock fills the store of a new state folder with keys, a hundred for each
// consumer, and returns some that are among them.
func (r *rig) stock(ctx context.Context, state string, keys, used int) (some []string, err error) {
	file := filepath.Join(r.dir, "keys.backup")
	defer os.Remove(file)
	if some, err = writeStock(file, keys, used); err != nil {
		return nil, err
	}
	out, err := exec.CommandContext(ctx, r.warder, "store", "restore", file, "--state", state).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("the store cannot be filled: %w: %s", err, out)
	}
	return some, nil
}

// stocked is a record of a backup of the store, as docs/OPERATING.md has it made.
type stocked struct {
	Kind    string `json:"kind"`
	ID      []byte `json:"id"`
	Alias   []byte `json:"alias,omitempty"`
	Owner   []byte `json:"owner,omitempty"`
	Version int    `json:"version"`
	Body    []byte `json:"body"`
}

func writeStock(file string, keys, used int) (some []string, err error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	out, sum := bufio.NewWriter(f), sha256.New()
	enc := json.NewEncoder(io.MultiWriter(out, sum))
	put := func(v any) {
		if e := enc.Encode(v); e != nil && err == nil {
			err = e
		}
	}
	put(map[string]any{"format": "warder-store", "version": 1, "seq": 1})
	body := []byte(`{"created":1763791200000}`)
	consumer := func(n int) []byte { return fmt.Appendf(nil, "client-%05d", n/100) }
	all := make([]stocked, keys) // in the order of their ids, as in every backup
	for n := range all {
		s := &all[n]
		*s = stocked{Kind: "api-key", Owner: consumer(n), Version: 1, Body: body}
		if n%(keys/used) == 0 && len(some) < used {
			key, err := apiKey()
			if err != nil {
				return nil, err
			}
			digest := sha256.Sum256([]byte(key))
			some, s.ID, s.Alias = append(some, key), []byte(key[3:11]), digest[:]
		} else {
			s.ID, s.Alias = fmt.Appendf(nil, "%08d", n), make([]byte, sha256.Size)
			rand.Read(s.Alias)
		}
	}
	slices.SortFunc(all, func(a, b stocked) int { return bytes.Compare(a.ID, b.ID) })
	for n := 0; n < keys; n += 100 {
		all = append(all, stocked{Kind: "consumer", ID: consumer(n), Version: 1, Body: body})
	}
	for i := range all {
		put(all[i])
	}
	put(map[string]any{"end": true, "records": len(all), "sha256": hex.EncodeToString(sum.Sum(nil))})
	return some, errors.Join(err, out.Flush())
}
