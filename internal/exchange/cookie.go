package exchange

import "bytes"

// CookiePrefix begins the names of Warder's own cookies. They are read by
// nobody behind it, and set by nobody else.
const CookiePrefix = "__Host-warder-"

// Cookie returns the value of the cookie called name (RFC 6265 section 5.4),
// of whichever field, and how many of that name there are.
func (h *Head) Cookie(name string) (value []byte, n int) {
	for i := range h.Fields {
		if h.Fields[i].ID != HeaderCookie {
			continue
		}
		for rest := h.Fields[i].Value; len(rest) > 0; {
			var pair []byte
			pair, rest, _ = bytes.Cut(rest, []byte(";"))
			k, v, _ := bytes.Cut(bytes.Trim(pair, " \t"), []byte("="))
			if string(k) == name {
				if n++; n == 1 {
					value = v
				}
			}
		}
	}
	return value, n
}

// DropOwnCookies takes Warder's cookies out of the request, and leaves those of
// others as they are. alloc gives memory for what is written anew.
func (h *Head) DropOwnCookies(alloc func(int) []byte) {
	for i := range h.Fields {
		f := &h.Fields[i]
		if f.ID != HeaderCookie || !holdsPrefix(f.Value) {
			continue
		}
		kept := alloc(len(f.Value))[:0]
		for rest := f.Value; len(rest) > 0; {
			var pair []byte
			pair, rest, _ = bytes.Cut(rest, []byte(";"))
			if OwnCookie(pair) {
				continue
			}
			if len(kept) > 0 {
				kept = append(kept, ';')
			}
			kept = append(kept, pair...)
		}
		kept = bytes.TrimLeft(kept, " \t")
		f.Value, f.Drop = kept, f.Drop || len(kept) == 0
	}
}

// DropOwnSetCookies takes out of a response what would set cookies of Warder's.
func (h *Head) DropOwnSetCookies() {
	for i := range h.Fields {
		if f := &h.Fields[i]; f.ID == HeaderOther && len(f.Name) == len("set-cookie") && EqualFold(f.Name, "set-cookie") && OwnCookie(f.Value) {
			f.Drop = true
		}
	}
}

// OwnCookie reports whether a pair of a Cookie field, or a Set-Cookie field,
// names a cookie of Warder's, however its case is. A cookie without a name is
// one: what stands behind its "=" would come back as a name.
func OwnCookie(pair []byte) bool {
	pair = bytes.TrimLeft(pair, " \t=")
	return len(pair) >= len(CookiePrefix) && EqualFold(pair[:len(CookiePrefix)], ownFolded)
}

const ownFolded = "__host-warder-"

func holdsPrefix(value []byte) bool {
	for i := 0; i+len(CookiePrefix) <= len(value); i++ {
		if value[i] == '_' && EqualFold(value[i:i+len(CookiePrefix)], ownFolded) {
			return true
		}
	}
	return false
}
