package exchange

// PathFeature is something in a path that only routes which ask for it may
// receive (pathAllow in the configuration). A set of bits.
type PathFeature uint8

// The features, as security.md names them.
const (
	EncodedSlash    PathFeature = 1 << iota // %2F
	Semicolon                               // ;
	EmptySegments                           // //
	EncodedReserved                         // %3F %23 %3B %5B %5D
	EncodedPercent                          // %25 before two hex digits
)
