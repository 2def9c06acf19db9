package admin

// Endpoints returns the pattern of every endpoint.
func Endpoints() []string {
	var all []string
	for _, e := range endpoints {
		all = append(all, e.pattern)
	}
	return all
}
