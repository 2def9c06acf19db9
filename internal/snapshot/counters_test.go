package snapshot_test

import (
	"net"
	"strings"
	"testing"

	"github.com/warder-gateway/warder/internal/counters"
)

const aRoute = "\nupstreams: { b: [http://127.0.0.1:9000] }\nroutes: [{ path: /a, upstream: b, auth: none }]\n"

func TestCountersOutliveASwapWhileTheirAddressStays(t *testing.T) {
	t.Parallel()
	c := newCompiler()
	l, err := net.Listen("tcp", "127.0.0.1:0") // nobody answers there
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	at := "counters: redis://" + l.Addr().String()
	first, same, other, none := compile(t, c, at+aRoute), compile(t, c, at+aRoute+"limits: { a: 1/s }\n"), compile(t, c, at+"/1"+aRoute), compile(t, c, aRoute)
	if _, ok := first.Counters.(*counters.Remote); !ok || first.Counters != same.Counters {
		t.Errorf("%T, and the same again: %v", first.Counters, first.Counters == same.Counters)
	}
	if first.Counters == other.Counters {
		t.Error("another database is another place")
	}
	if none.Counters != counters.Counters(c.Counters) || compile(t, c, "counters: memory"+aRoute).Counters != none.Counters {
		t.Errorf("without a server: %T", none.Counters)
	}
}

func TestCountersThatCannotBeReachedAsWrittenDoNotLoad(t *testing.T) {
	t.Parallel()
	for written, want := range map[string]string{
		"redis//cache":                                    `counters: is neither memory nor an address such as redis://HOST:6379`,
		`{ url: "redis://a,b" }`:                          `counters.url: names several servers`,
		"{ caFile: ca.pem }":                              `counters: url is missing`,
		"{ url: redis://cache, caFile: ca.pem }":          `counters.caFile: has no use without TLS`,
		"{ url: rediss://cache, caFile: ca.pem }":         `counters.caFile: file does not exist`,
		`"redis://:hunter2@cache"`:                        `counters: a password does not stand in the document`,
		`"redis+sentinel://a/m?sentinelPassword=hunter2"`: `counters: a password does not stand in the document`,
		`"redis://:hunter2@${env:CACHE}"`:                 `counters: a password does not stand in the document`,
	} {
		_, problems := compileAll(newCompiler(), "counters: "+written+aRoute)
		if text := problems.Error(); !strings.Contains(text, want) || strings.Contains(text, "hunter2") {
			t.Errorf("%s: %s; want %s", written, text, want)
		}
	}
}
