package route

// methods is a set of request methods.
type methods uint16

// The methods a route can list, in the order of an Allow field.
const (
	get methods = 1 << iota
	head
	post
	put
	patch
	del
	options

	servable = iota // how many methods there are
)

var methodNames = [servable]string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

// every is what a route without methods takes.
const every = get | head | post | put | patch | del | options

// methodOf returns the set that holds method alone. It is empty for methods
// that no route can take, TRACE and CONNECT among them.
func methodOf(method []byte) methods {
	switch string(method) {
	case "GET":
		return get
	case "HEAD":
		return head
	case "POST":
		return post
	case "PUT":
		return put
	case "PATCH":
		return patch
	case "DELETE":
		return del
	case "OPTIONS":
		return options
	}
	return 0
}

// known reports whether a method is one of HTTP's own (RFC 9110 section 9.3)
// or PATCH. Others are not merely not allowed: nothing here speaks them.
func known(method []byte) bool {
	switch string(method) {
	case "TRACE", "CONNECT":
		return true
	}
	return methodOf(method) != 0
}

// allow returns the value of an Allow field (RFC 9110 section 10.2.1).
func (m methods) allow() string {
	s := ""
	for i, name := range methodNames {
		if m&(1<<i) != 0 {
			if s != "" {
				s += ", "
			}
			s += name
		}
	}
	return s
}
