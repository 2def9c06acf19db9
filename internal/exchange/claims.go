package exchange

// Claims are the verified members of a token's payload, top level, in the
// token's order. They were checked strictly: no member occurs twice. Immutable.
type Claims []Claim

// Claim is one member. Raw is its value as valid JSON.
type Claim struct {
	Name string
	Raw  []byte
}
