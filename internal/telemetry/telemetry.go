// Package telemetry holds what every part of the gateway reports with: the
// application log, the metrics, and the names of their fields. Names stand in
// one file, because dashboards and alerts of others are built on them.
package telemetry

import (
	"io"
	"log/slog"
)

// NewLogger returns the application log: a line of key=value pairs a record,
// for people and for shippers. Control characters and marks that change how a
// terminal shows a line are quoted, wherever they came from. It is not for
// the way of a request, whose record is an event. Records below level are left
// out.
func NewLogger(w io.Writer, level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: stampUTC}))
}

// stampUTC writes the time as the access log does.
func stampUTC(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey && a.Value.Kind() == slog.KindTime {
		return slog.String(FieldTime, a.Value.Time().UTC().Format(TimeFormat))
	}
	return a
}
