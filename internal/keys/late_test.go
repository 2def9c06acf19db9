package keys_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/warder-gateway/warder/internal/keys"
)

// An issuer that takes the connection and never answers is told of in words
// that name it and the wait, not the library.
func TestASilentIssuerIsSaidToGiveNoAnswer(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer srv.Close()
	defer close(release)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	probe := keys.Ask(ctx, keys.RemoteConfig{Issuer: srv.URL}, []string{"ES256"}, 0)
	said := ""
	for _, s := range probe.Steps {
		said += s.Saw + "\n"
	}
	if probe.OK() || !strings.Contains(said, "no answer in time") || strings.Contains(said, "deadline") {
		t.Errorf("%s", said)
	}
}
