package jwt

// Parse reads a token's form and returns what its header names.
func Parse(token []byte) (alg, kid string, err error) {
	f, err := parse(token)
	if err != nil {
		return "", "", err
	}
	return f.alg, f.kid, nil
}

// ParseHeader reads a header alone, for tokens whose payload is no JSON.
func ParseHeader(token []byte) (alg, kid string, err error) {
	f := &form{}
	_, err = f.split(token)
	return f.alg, f.kid, err
}
