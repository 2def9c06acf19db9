package app

import (
	"time"

	"github.com/warder-gateway/warder/internal/counters"
	"github.com/warder-gateway/warder/internal/fault"
	"github.com/warder-gateway/warder/internal/keys"
	"github.com/warder-gateway/warder/internal/telemetry"
)

// codes are the refusal codes as metrics name them.
func codes() []telemetry.Code {
	var all []telemetry.Code
	for _, c := range fault.Codes() {
		all = append(all, telemetry.Code{Name: c.String(), Status: c.Status()})
	}
	return all
}

// observe shows what the parts know of themselves as metrics.
func (a *app) observe() {
	m := a.metrics
	m.Gauge(telemetry.ActiveConnections, func() float64 { return float64(a.gateway.Connections()) })
	m.Counter(telemetry.EvictedConnections, func() float64 { return float64(a.gateway.Door().Evicted) })
	m.Counter(telemetry.RefusedConnections, func() float64 { return float64(a.gateway.Door().Refused) })
	m.Counter(telemetry.AcceptPauses, func() float64 { return float64(a.gateway.Door().Paused) })
	m.Counter(telemetry.TokenCacheHits, func() float64 { return float64(a.verdicts.Counts().Hits) })
	m.Counter(telemetry.TokenCacheMisses, func() float64 { return float64(a.verdicts.Counts().Misses) })
	m.Counter(telemetry.PasswordCacheHits, func() float64 { return float64(a.guard.Passwords.Counts().Remembered) })
	m.Counter(telemetry.PasswordHashes, func() float64 { return float64(a.guard.Passwords.Counts().Hashed) })
	m.Counter(telemetry.PasswordsBusy, func() float64 { return float64(a.guard.Passwords.Counts().Busy) })
	m.Counter(telemetry.BucketsForgotten, func() float64 { return float64(a.counters.Forgotten()) })
	m.Gauge(telemetry.CountersUp, func() float64 {
		if r := a.remoteCounters(); r != nil && !r.Reachable() {
			return 0
		}
		return 1
	})
	m.Gauge(telemetry.StoreUp, func() float64 {
		if s := a.store.Load(); s != nil && s.Status().Err == nil {
			return 1
		}
		return 0
	})
	m.Counter(telemetry.CountersLocal, func() float64 {
		if r := a.remoteCounters(); r != nil {
			return float64(r.Local())
		}
		return 0
	})
	m.Issuers(a.issuerKeys)
}

// remoteCounters returns the counters in force if they are not in memory.
func (a *app) remoteCounters() *counters.Remote {
	snap := a.live.Acquire()
	if snap == nil {
		return nil
	}
	defer snap.Release()
	r, _ := snap.Counters.(*counters.Remote)
	return r
}

// issuerKeys tells how the key sets in force are.
func (a *app) issuerKeys() (all []telemetry.IssuerKeys) {
	snap := a.live.Acquire()
	if snap == nil {
		return nil
	}
	defer snap.Release()
	for _, i := range snap.Issuers {
		remote, ok := i.Keys.(*keys.Remote)
		if !ok {
			continue // our own keys do not age
		}
		s := remote.Status()
		k := telemetry.IssuerKeys{Issuer: i.Name, Loaded: !s.Loaded.IsZero(), OK: s.Err == nil && !s.Loaded.IsZero()}
		if k.Loaded {
			k.Age = time.Since(s.Loaded)
		}
		all = append(all, k)
	}
	return all
}
