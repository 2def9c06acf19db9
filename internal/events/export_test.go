package events

import "unsafe"

// For tests from outside.
const EntryBytes = unsafe.Sizeof(entry{})

var (
	AppendLine  = appendLine
	AppendJSON  = appendJSON[string]
	RedactQuery = redactQuery
	RedactPath  = redactPath
)
