package binding_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/warder-gateway/warder/internal/binding"
	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/keys"
	"github.com/warder-gateway/warder/internal/keys/keystest"
	"github.com/warder-gateway/warder/internal/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fleet is gateways that share what they may.
type fleet struct {
	t       *testing.T
	storage *failing
	data    *keys.DataKeys
	log     *bytes.Buffer
	logger  *slog.Logger
}

// failing is a storage that can be down.
type failing struct {
	keystest.Memory
	down     atomic.Bool
	readonly atomic.Bool
	lost     atomic.Int64 // races with somebody else
}

func (f *failing) Swap(ctx context.Context, name string, old, next []byte) error {
	switch {
	case f.readonly.Load():
		return fmt.Errorf("%w: it is full", keys.ErrUnavailable)
	case f.lost.Add(-1) >= 0:
		return fs.ErrExist
	}
	return f.Memory.Swap(ctx, name, old, next)
}

func (f *failing) Load(ctx context.Context, name string) ([]byte, error) {
	if f.down.Load() {
		return nil, fmt.Errorf("%w: it is down", keys.ErrUnavailable)
	}
	return f.Memory.Load(ctx, name)
}

func newFleet(t *testing.T) *fleet {
	f := &fleet{t: t, storage: &failing{}, data: dataKeys(t), log: &bytes.Buffer{}}
	f.logger = slog.New(slog.NewTextHandler(f.log, nil))
	return f
}

func dataKeys(t *testing.T) *keys.DataKeys {
	t.Helper()
	wrapper, err := keys.CreateEmbedded(filepath.Join(t.TempDir(), "keys.kek"), secret.Value{})
	if err != nil {
		t.Fatal(err)
	}
	d, err := keys.OpenDataKeys(t.Context(), wrapper, &keystest.Memory{})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// gateway runs one, with data keys of its own if there are any.
func (f *fleet) gateway(own ...*keys.DataKeys) (n *binding.Nonces, stop func()) {
	n = binding.NewNonces()
	n.Unlock(append(own, f.data)[0])
	return n, f.run(n)
}

func (f *fleet) run(n *binding.Nonces) (stop func()) {
	ctx, cancel := context.WithCancel(f.t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		n.Run(ctx, f.storage, f.logger)
	}()
	f.t.Cleanup(cancel)
	return func() { cancel(); <-ended }
}

// offered is the nonce that is given out now.
func offered(t *testing.T, n *binding.Nonces) string {
	t.Helper()
	x := request(maker{payload: members{"iat": 1}}.make(t))
	if code, _ := judgeBy(n, x); code != fault.DPoPNonceRequired {
		t.Fatal(code)
	}
	return field(x, "DPoP-Nonce")
}

// takes reports whether a nonce holds now, and the one that is given out in its
// place.
func takes(t *testing.T, n *binding.Nonces, nonce string) (ok bool, next string) {
	t.Helper()
	x := request(maker{payload: members{"iat": 1, "nonce": nonce}}.make(t))
	code, _ := judgeBy(n, x)
	return code == fault.None, field(x, "DPoP-Nonce")
}

func judgeBy(n *binding.Nonces, x *exchange.Exchange) (fault.Code, string) {
	return judge(x, func(p *binding.Presented) {
		p.Now, p.Nonces, p.Replays = time.Now(), n, &ledger{first: true}
	})
}

func TestANonceOfOneGatewayIsTakenByTheOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		var all []*binding.Nonces
		for range 8 { // at once, and the first ever
			n, _ := f.gateway()
			all = append(all, n)
		}
		synctest.Wait()
		first := offered(t, all[0])
		for i, n := range all {
			if ok, next := takes(t, n, first); !ok || next != "" || offered(t, n) != first {
				t.Errorf("gateway %d: %t, %q", i, ok, next)
			}
		}
		late, _ := f.gateway()
		synctest.Wait()
		if offered(t, late) != first {
			t.Error("one that starts later has another key")
		}
		if f.log.Len() > 0 {
			t.Error(f.log)
		}
	})
}

// While keys take turns, and clocks and reads of the storage lie apart, no
// nonce is refused that another gateway has given out.
func TestKeysOfNoncesTakeTurnsUnseen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		one, _ := f.gateway()
		time.Sleep(41 * time.Second)
		two, _ := f.gateway()
		synctest.Wait()
		seen := map[string]bool{}
		for range 300 {
			time.Sleep(11 * time.Minute)
			synctest.Wait()
			for i, pair := range [][2]*binding.Nonces{{one, two}, {two, one}} {
				nonce := offered(t, pair[0])
				if i == 0 && seen[nonce] {
					t.Fatal("a nonce was given out again")
				}
				seen[nonce] = true
				if ok, next := takes(t, pair[1], nonce); !ok || next != "" {
					t.Fatalf("%v: %t, %q", time.Now(), ok, next)
				}
			}
		}
	})
}

// A gateway that no longer reads the keys is understood until they have turned
// twice.
func TestKeysOfNoncesHoldForTwoTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		left, stop := f.gateway()
		stays, _ := f.gateway()
		synctest.Wait()
		stop()
		for hours := range 72 {
			if ok, next := takes(t, stays, offered(t, left)); ok != (hours < 48) || (next == "") != (hours <= 24) {
				t.Errorf("after %d hours: %t, %q", hours, ok, next)
			}
			time.Sleep(time.Hour + 17*time.Second)
			synctest.Wait()
		}
	})
}

func TestWhileTheStorageIsDownNoncesGoOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		f.storage.down.Store(true)
		one, _ := f.gateway()
		two, _ := f.gateway()
		synctest.Wait()
		if ok, _ := takes(t, one, offered(t, one)); !ok {
			t.Error("its own nonce is refused")
		}
		if ok, _ := takes(t, two, offered(t, one)); ok {
			t.Error("nonces are shared over nothing")
		}
		f.storage.down.Store(false)
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if ok, _ := takes(t, two, offered(t, one)); !ok {
			t.Error("nonces are not shared when the storage is back")
		}
		f.storage.down.Store(true)
		time.Sleep(72 * time.Hour)
		if ok, _ := takes(t, two, offered(t, one)); !ok {
			t.Error("nonces are not shared any more when the storage is down again")
		}
		if f.log.Len() > 0 {
			t.Errorf("an outage is told twice: %s", f.log)
		}
	})
}

func TestWithoutDataKeysNoncesAreOnesOwn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		shared, _ := f.gateway()
		n := binding.NewNonces()
		f.run(n)
		synctest.Wait()
		if ok, _ := takes(t, n, offered(t, n)); !ok {
			t.Error("its own nonce is refused")
		}
		if ok, _ := takes(t, n, offered(t, shared)); ok {
			t.Error("the shared keys are known without data keys")
		}
		n.Unlock(f.data) // a reload
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if ok, _ := takes(t, n, offered(t, shared)); !ok {
			t.Error("with data keys, nonces are not shared")
		}
	})
}

// Keys that were sealed with others' data keys are left alone, for as long as
// anybody reads them.
func TestKeysOfAnotherInstallationAreLeftAloneWhileItLives(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		one, stop := f.gateway()
		synctest.Wait()
		stranger, _ := f.gateway(dataKeys(t))
		time.Sleep(5 * 24 * time.Hour)
		two, stopTwo := f.gateway()
		synctest.Wait()
		if ok, _ := takes(t, two, offered(t, one)); !ok {
			t.Error("the keys were replaced")
		}
		if ok, _ := takes(t, stranger, offered(t, stranger)); !ok {
			t.Error("the stranger's own nonce is refused")
		}
		if got := strings.Count(f.log.String(), "level=WARN"); got != 1 || !strings.Contains(f.log.String(), "not here") {
			t.Errorf("%d warnings: %s", got, f.log)
		}
		stop()
		stopTwo()
		time.Sleep(5 * 24 * time.Hour)
		heir, _ := f.gateway(dataKeys(t))
		synctest.Wait()
		if ok, _ := takes(t, heir, offered(t, stranger)); ok {
			t.Error("data keys are of no account")
		}
		if ok, _ := takes(t, one, offered(t, stranger)); ok {
			t.Error("the keys of those who left are still in use")
		}
	})
}

func TestWhatWasAlteredInStorageIsNotUsed(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(f map[string]any){
		"another time":  func(f map[string]any) { f["at"] = f["at"].(float64) + 1 },
		"other content": func(f map[string]any) { s := f["sealed"].(string); f["sealed"] = s[:60] + strings.ToLower(s[60:]) },
		"no content":    func(f map[string]any) { delete(f, "sealed") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(t)
				one, stop := f.gateway()
				synctest.Wait()
				stop()
				stored, err := f.storage.Load(t.Context(), "dpop-nonces")
				if err != nil {
					t.Fatal(err)
				}
				var file map[string]any
				if err := json.Unmarshal(stored, &file); err != nil {
					t.Fatal(err)
				}
				change(file)
				altered, _ := json.Marshal(file)
				if err := f.storage.Swap(t.Context(), "dpop-nonces", stored, altered); err != nil {
					t.Fatal(err)
				}
				two, _ := f.gateway()
				synctest.Wait()
				if ok, _ := takes(t, two, offered(t, one)); ok || !strings.Contains(f.log.String(), "altered") {
					t.Errorf("used: %t; %s", ok, f.log)
				}
			})
		})
	}
	for name, rest := range map[string]string{"no file of ours": "x", "too long": strings.Repeat(" ", 4097) + `{"at":1}`, "of long ago": `{"at":1,"sealed":"AAAA"}`} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(t)
				if err := f.storage.Swap(t.Context(), "dpop-nonces", nil, []byte(rest)); err != nil {
					t.Fatal(err)
				}
				one, _ := f.gateway()
				two, _ := f.gateway()
				synctest.Wait()
				if ok, _ := takes(t, two, offered(t, one)); !ok || f.log.Len() > 0 {
					t.Errorf("shared anew: %t; %s", ok, f.log)
				}
			})
		})
	}
}

func TestWhatIsTooLongIsNotRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		one, stop := f.gateway()
		synctest.Wait()
		stop()
		stored, _ := f.storage.Load(t.Context(), "dpop-nonces")
		if err := f.storage.Swap(t.Context(), "dpop-nonces", stored, append(bytes.Repeat([]byte(" "), 4096), stored...)); err != nil {
			t.Fatal(err)
		}
		two, _ := f.gateway()
		synctest.Wait()
		if ok, _ := takes(t, two, offered(t, one)); ok {
			t.Error("it was read")
		}
	})
}

// What somebody with our data keys has sealed, and is nothing of ours.
func TestKeysThatAreNoneAreNotUsed(t *testing.T) {
	t.Parallel()
	key := `{"key":"` + base64.StdEncoding.EncodeToString(make([]byte, 32)) + `","from":1}`
	for name, c := range map[string]struct {
		content string
		used    bool
	}{
		"one key":     {"[" + key + "]", true},
		"two keys":    {"[" + key + "," + key + "]", true},
		"three keys":  {"[" + key + "," + key + "," + key + "]", false},
		"no key":      {"[]", false},
		"no list":     {"{}", false},
		"null":        {"null", false},
		"a short key": {`[` + key + `,{"key":"AAAA","from":1}]`, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(t)
				content := strings.ReplaceAll(c.content, `"from":1`, fmt.Sprintf(`"from":%d`, time.Now().Unix()))
				sealed, err := f.data.Seal(t.Context(), keys.Binding{Purpose: "dpop-nonces", Record: fmt.Sprint(time.Now().Unix())}, []byte(content))
				if err != nil {
					t.Fatal(err)
				}
				file, _ := json.Marshal(map[string]any{"at": time.Now().Unix(), "sealed": sealed})
				if err := f.storage.Swap(t.Context(), "dpop-nonces", nil, file); err != nil {
					t.Fatal(err)
				}
				one, _ := f.gateway()
				two, _ := f.gateway()
				synctest.Wait()
				if ok, _ := takes(t, two, offered(t, one)); ok != c.used || (f.log.Len() == 0) != c.used {
					t.Errorf("used: %t; %s", ok, f.log)
				}
			})
		})
	}
}

func TestWhatCannotBeSealedIsNotStored(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		n, stop := f.gateway(&keys.DataKeys{}) // which seal nothing
		synctest.Wait()
		stop()
		if stored, err := f.storage.Load(t.Context(), "dpop-nonces"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("stored %q, %v", stored, err)
		}
		if !strings.Contains(f.log.String(), "not here") {
			t.Errorf("%s", f.log)
		}
		if ok, _ := takes(t, n, offered(t, n)); !ok {
			t.Error("its own nonce is refused")
		}
	})
}

func TestAStorageThatCannotBeWrittenIsTriedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		f.storage.readonly.Store(true)
		one, _ := f.gateway()
		two, _ := f.gateway()
		time.Sleep(time.Minute)
		if ok, _ := takes(t, two, offered(t, one)); ok || f.log.Len() > 0 {
			t.Errorf("shared over nothing: %t; %s", ok, f.log)
		}
		f.storage.lost.Store(100) // to others, again and again
		f.storage.readonly.Store(false)
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if !strings.Contains(f.log.String(), "others keep changing them") {
			t.Errorf("%s", f.log)
		}
		f.storage.lost.Store(1)
		time.Sleep(time.Minute)
		synctest.Wait()
		if ok, _ := takes(t, two, offered(t, one)); !ok {
			t.Error("nonces are not shared when it can be written")
		}
	})
}
