package counters_test

import (
	"strings"
	"testing"

	"github.com/warder-gateway/warder/internal/counters"
)

func TestAddressesAreRead(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"memory":                                  "memory",
		"redis://10.0.0.5":                        "redis://10.0.0.5:6379",
		"redis://10.0.0.5:6380/2":                 "redis://10.0.0.5:6380/2",
		"redis://[::1]":                           "redis://[::1]:6379",
		"redis://[::1]:7000/":                     "redis://[::1]:7000",
		"valkey://cache":                          "redis://cache:6379",
		"rediss://user:canary@cache:6379":         "rediss://cache:6379",
		"valkeys://:can%40ary%2F%3A@cache":        "rediss://cache:6379",
		"redis+sentinel://a,b:1,c/main":           "redis+sentinel://a:26379,b:1,c:26379/main",
		"redis+sentinel://a/main/3":               "redis+sentinel://a:26379/main/3",
		"valkeys+sentinel://:canary@a/main":       "rediss+sentinel://a:26379/main",
		"redis+cluster://a,b:7001,[::1]":          "redis+cluster://a:6379,b:7001,[::1]:6379",
		"rediss+cluster://u:canary@a:7000,b:7000": "rediss+cluster://a:7000,b:7000",
		"redis+sentinel://:canary@a/main?sentinelPassword=canary%26": "redis+sentinel://a:26379/main",
	} {
		a, err := counters.ParseAddress(text)
		if err != nil || a.String() != want || a.InMemory() != (text == "memory") {
			t.Errorf("%s: %s, %v; want %s", text, a, err, want)
		}
		if a.TLS != strings.HasPrefix(want, "rediss") {
			t.Errorf("%s: TLS %v", text, a.TLS)
		}
	}
}

func TestAddressesThatSayTooLittleOrTooMuchAreRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "Memory", "memory ", "redis", "redis:", "redis:/cache", "redis://", "redis:///0", "redis://:6379", "redis://cache:0", "redis://cache:65536",
		"redis://cache:", "redis://cache:+1", "redis://cache/x", "redis://cache/-1", "redis://cache/01", "redis://cache/1/2", "redis://cache?x=1",
		"redis://cache#x", "redis://a,b", "redis://a b", "redis://a\x00", "redis://a\n", "redis://ü",
		"http://cache", "redis+tls://cache", "redis+cluster+sentinel://cache", "+cluster://cache", "unix:///tmp/redis",
		"redis://canary@cache", "redis://user:@cache", "redis://user:can%zzary@cache", "redis://user:can@ary@cache",
		"redis+sentinel://a", "redis+sentinel://a/", "redis+sentinel://a/m/x", "redis+sentinel://a/m?password=canary", "redis+sentinel://a/m?sentinelPassword=canary&x=1",
		"redis+cluster://a/1", "redis+cluster://a,,b", "redis+cluster://a,", "redis://::1", "redis://[::1", "redis://a]b",
		"redis+cluster://" + strings.Repeat("a,", 32) + "a",
	} {
		a, err := counters.ParseAddress(text)
		if err == nil {
			t.Errorf("%q was read as %s", text, a)
		} else if strings.Contains(err.Error(), "canary") {
			t.Errorf("%q: the complaint holds the password: %v", text, err)
		}
	}
}

func FuzzAddress(f *testing.F) {
	for _, s := range []string{"memory", "redis://u:p@[::1]:1/2", "redis+sentinel://a,b/m?sentinelPassword=p", "rediss+cluster://a:1,b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := counters.ParseAddress(text)
		if err != nil {
			if !a.InMemory() {
				t.Fatal("an address beside an error")
			}
			return
		}
		again, err := counters.ParseAddress(a.String())
		if err != nil || again.String() != a.String() {
			t.Fatalf("%q prints as %q, which reads as %q: %v", text, a, again, err)
		}
	})
}
