package keys_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/warder-gateway/warder/internal/keys"
	"github.com/warder-gateway/warder/internal/secret"
)

// Who wants the document while others ask for it waits no longer than one
// question takes, however many are before him: logins of strangers must not
// pile up behind an issuer that hangs.
func TestNobodyWaitsLongInTheQueueForADocument(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		auth, err := keys.NewClientAuth(keys.ClientAuthConfig{Method: keys.ClientSecretBasic, ID: "web", Secret: secret.New([]byte("s"))})
		if err != nil {
			t.Fatal(err)
		}
		p := keys.NewProvider(keys.ProviderConfig{Issuer: "http://127.0.0.1:1", Auth: auth})
		defer p.Close()
		p.Hold()
		began := time.Now()
		if _, err := p.Document(t.Context()); err == nil {
			t.Error("there is a document")
		}
		if waited := time.Since(began); waited > 6*time.Second {
			t.Errorf("it was waited for %v", waited)
		}
	})
}
