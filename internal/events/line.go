package events

import (
	"strconv"
	"time"

	"github.com/warder-gateway/warder/internal/telemetry"
)

// Bounds of the texts of a line, in bytes as written, and of its lists. Path
// and query are judged elsewhere; these only bound what a line may cost.
const (
	limitShort  = 64
	limitName   = 256
	limitAgent  = 256
	limitReason = 256
	limitQuery  = 1024
	limitPath   = 2048
	maxListed   = 32 // scopes, roles
)

// appendLine appends the record as one line of JSON.
func appendLine(b []byte, r *Record) []byte {
	b = append(b, `{"`+telemetry.FieldTime+`":"`...)
	b = appendTime(b, r.Time)
	b = append(b, `","`+telemetry.FieldID+`":"`...)
	b = r.ID.Append(b)
	b = append(b, '"')
	b = text(b, `,"`+telemetry.FieldClientRequestID+`":`, r.ClientRequestID, limitShort)
	if r.Client.IsValid() {
		b = append(b, `,"`+telemetry.FieldClient+`":"`...)
		b = r.Client.WithZone("").AppendTo(b)
		b = append(b, '"')
	}
	b = text(b, `,"`+telemetry.FieldListener+`":`, r.Listener, limitShort)
	b = text(b, `,"`+telemetry.FieldProto+`":`, r.Proto, limitShort)
	b = append(b, `,"`+telemetry.FieldTLS+`":`...)
	b = strconv.AppendBool(b, r.TLS)
	b = text(b, `,"`+telemetry.FieldMethod+`":`, r.Method, limitShort)
	b = text(b, `,"`+telemetry.FieldHost+`":`, r.Host, limitName)
	b = text(b, `,"`+telemetry.FieldPath+`":`, r.Path, limitPath)
	if r.HasQuery {
		b = append(b, `,"`+telemetry.FieldQuery+`":`...)
		b = appendJSON(b, r.Query, limitQuery)
	}
	b = text(b, `,"`+telemetry.FieldRoute+`":`, r.Route, limitName)
	b = append(b, `,"`+telemetry.FieldStatus+`":`...)
	b = strconv.AppendInt(b, int64(r.Status), 10)
	if r.Refused() {
		b = text(b, `,"`+telemetry.FieldCode+`":`, r.Code.String(), limitShort)
		b = text(b, `,"`+telemetry.FieldPublicCode+`":`, r.Code.Public().String(), limitShort)
	}
	b = text(b, `,"`+telemetry.FieldReason+`":`, reason(r), limitReason)
	if id := r.Identity; id != nil {
		b = text(b, `,"`+telemetry.FieldAuth+`":`, id.Method, limitShort)
		b = text(b, `,"`+telemetry.FieldIssuer+`":`, id.Issuer, limitName)
		b = text(b, `,"`+telemetry.FieldClientID+`":`, id.Client, limitName)
		b = text(b, `,"`+telemetry.FieldConsumer+`":`, id.Consumer, limitName)
		b = text(b, `,"`+telemetry.FieldSubject+`":`, id.Subject, limitName)
		if id.Session != nil {
			b = text(b, `,"`+telemetry.FieldSession+`":`, id.Session.Ref(), limitShort)
		}
		b = list(b, `,"`+telemetry.FieldScopes+`":`, id.Scopes)
		b = list(b, `,"`+telemetry.FieldRoles+`":`, id.Roles)
	}
	b = text(b, `,"`+telemetry.FieldTarget+`":`, r.Target, limitName)
	b = append(b, `,"`+telemetry.FieldDurationMs+`":`...)
	b = appendMs(b, r.Duration)
	if r.Upstream > 0 {
		b = append(b, `,"`+telemetry.FieldUpstreamMs+`":`...)
		b = appendMs(b, r.Upstream)
	}
	b = append(b, `,"`+telemetry.FieldBytesIn+`":`...)
	b = strconv.AppendInt(b, r.BytesIn, 10)
	b = append(b, `,"`+telemetry.FieldBytesOut+`":`...)
	b = strconv.AppendInt(b, r.BytesOut, 10)
	b = text(b, `,"`+telemetry.FieldUserAgent+`":`, r.UserAgent, limitAgent)
	b = text(b, `,"`+telemetry.FieldConfig+`":`, r.Config(), limitShort)
	return append(b, '}', '\n')
}

// text appends a field unless it is empty. key ends in a colon.
func text[T string | []byte](b []byte, key string, s T, limit int) []byte {
	if len(s) == 0 {
		return b
	}
	return appendJSON(append(b, key...), s, limit)
}

// list appends a field with up to maxListed values unless there are none.
func list(b []byte, key string, values []string) []byte {
	if len(values) == 0 {
		return b
	}
	b = append(append(b, key...), '[')
	for i, v := range values {
		if i > 0 {
			b = append(b, ',')
		}
		if i == maxListed {
			b = append(b, `"…"`...)
			break
		}
		b = appendJSON(b, v, limitShort)
	}
	return append(b, ']')
}

// appendTime appends t as telemetry.TimeFormat has it, which for every
// request would cost as much as a third of the line.
func appendTime(b []byte, t time.Time) []byte {
	t = t.UTC()
	year, month, day := t.Date()
	if year < 0 || year > 9999 {
		return append(b, "0000-00-00T00:00:00.000Z"...)
	}
	hour, minute, second := t.Clock()
	b = digits(b, year, 4)
	b = digits(append(b, '-'), int(month), 2)
	b = digits(append(b, '-'), day, 2)
	b = digits(append(b, 'T'), hour, 2)
	b = digits(append(b, ':'), minute, 2)
	b = digits(append(b, ':'), second, 2)
	b = digits(append(b, '.'), t.Nanosecond()/1e6, 3)
	return append(b, 'Z')
}

// appendMs appends milliseconds with three decimals.
func appendMs(b []byte, d time.Duration) []byte {
	us := max(d.Microseconds(), 0)
	b = strconv.AppendInt(b, us/1000, 10)
	return digits(append(b, '.'), int(us%1000), 3)
}

// digits appends n, which is below 10000, in width digits.
func digits(b []byte, n, width int) []byte {
	d := [4]byte{'0' + byte(n/1000%10), '0' + byte(n/100%10), '0' + byte(n/10%10), '0' + byte(n%10)}
	return append(b, d[4-width:]...)
}
