package route

import (
	"strings"

	"github.com/warder-gateway/warder/internal/exchange"
)

var features = []struct {
	bit  exchange.PathFeature
	name string
}{
	{exchange.EncodedSlash, "encodedSlash"},
	{exchange.Semicolon, "semicolon"},
	{exchange.EmptySegments, "emptySegments"},
	{exchange.EncodedReserved, "encodedReserved"},
	{exchange.EncodedPercent, "encodedPercent"},
}

// featureReasons are the reasons for refusing a set of features.
var featureReasons = func() (t [1 << 5]string) {
	for set := range t {
		t[set] = "the path holds what the route does not list under pathAllow: " + featureNames(exchange.PathFeature(set))
	}
	return t
}()

// featureNames lists features as pathAllow names them.
func featureNames(set exchange.PathFeature) string {
	var names []string
	for _, f := range features {
		if set&f.bit != 0 {
			names = append(names, f.name)
		}
	}
	return strings.Join(names, ", ")
}
