package gateway

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// The PROXY protocol, versions 1 and 2, for peers from which it is mandatory.
// The reader is ours because the rest of the gateway works on the bare TCP
// connection (it splices, asks whether the client is gone, waits without a
// buffer): it takes exactly the header, and leaves the first byte behind it
// where it is.

const (
	proxyTimeout = 5 * time.Second // for the whole header
	proxyLine    = 107             // bytes of a header of version 1, its line end included
	proxyExtra   = 2 << 10         // bytes of a header of version 2 behind its fixed part, addresses included

	proxyFixed     = 16 // bytes of the fixed part of version 2; every good header of version 1 is longer
	proxySignature = "\r\n\r\n\x00\r\nQUIT\n"
)

var (
	errProxyNone    = errors.New("the connection does not begin with a PROXY header")
	errProxyForm    = errors.New("the PROXY header is malformed")
	errProxyLong    = errors.New("the PROXY header is longer than allowed")
	errProxyFamily  = errors.New("the PROXY header names no TCP connection over IPv4 or IPv6")
	errProxyVersion = errors.New("the PROXY header has an unknown version or command")
)

// readProxy reads a PROXY header and returns the client that it names. local
// says that the proxy speaks for itself, as in a health check, and names none.
func readProxy(r io.Reader) (client netip.AddrPort, local bool, err error) {
	var head [proxyFixed]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return client, false, fmt.Errorf("%w: %w", errProxyNone, err)
	}
	switch {
	case string(head[:len(proxySignature)]) == proxySignature:
		return readProxy2(r, head)
	case bytes.HasPrefix(head[:], []byte("PROXY ")):
		client, err = readProxy1(r, head)
		return client, false, err
	}
	return client, false, errProxyNone
}

// readProxy1 reads the rest of the line byte by byte: nothing says how long
// it is, and what follows belongs to somebody else.
func readProxy1(r io.Reader, head [proxyFixed]byte) (client netip.AddrPort, err error) {
	line := append(make([]byte, 0, proxyLine), head[:]...)
	if bytes.IndexByte(line, '\n') >= 0 {
		return client, errProxyFamily // nothing this short but UNKNOWN
	}
	for line[len(line)-1] != '\n' {
		if len(line) == cap(line) {
			return client, errProxyLong
		}
		line = line[:len(line)+1]
		if _, err := io.ReadFull(r, line[len(line)-1:]); err != nil {
			return client, fmt.Errorf("%w: %w", errProxyForm, err)
		}
	}
	text, whole := strings.CutSuffix(string(line), "\r\n")
	words := strings.Split(text, " ")
	if !whole || len(words) < 2 {
		return client, errProxyForm
	}
	if words[1] != "TCP4" && words[1] != "TCP6" {
		return client, errProxyFamily
	}
	if len(words) != 6 {
		return client, errProxyForm
	}
	source, ok := proxyAddress(words[2], words[4], words[1] == "TCP6")
	if _, target := proxyAddress(words[3], words[5], words[1] == "TCP6"); !ok || !target {
		return client, errProxyForm
	}
	return checkProxy(source)
}

func proxyAddress(address, port string, six bool) (netip.AddrPort, bool) {
	ip, err := netip.ParseAddr(address)
	n, bad := strconv.ParseUint(port, 10, 16)
	if err != nil || ip.Is6() != six || ip.Zone() != "" || bad != nil || strconv.FormatUint(n, 10) != port {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(ip, uint16(n)), true
}

func readProxy2(r io.Reader, head [proxyFixed]byte) (client netip.AddrPort, local bool, err error) {
	command, family, length := head[12], head[13], int(binary.BigEndian.Uint16(head[14:]))
	if length > proxyExtra {
		return client, false, errProxyLong
	}
	var rest [proxyExtra]byte
	if _, err := io.ReadFull(r, rest[:length]); err != nil {
		return client, false, fmt.Errorf("%w: %w", errProxyForm, err)
	}
	switch command {
	case 0x20: // LOCAL: whatever else it says is to be ignored
		return client, true, nil
	case 0x21: // PROXY
	default:
		return client, false, errProxyVersion
	}
	switch {
	case family == 0x11 && length >= 12: // TCP over IPv4: two addresses, two ports
		client = netip.AddrPortFrom(netip.AddrFrom4([4]byte(rest[:4])), binary.BigEndian.Uint16(rest[8:]))
	case family == 0x21 && length >= 36: // TCP over IPv6
		client = netip.AddrPortFrom(netip.AddrFrom16([16]byte(rest[:16])), binary.BigEndian.Uint16(rest[32:]))
	case family == 0x11 || family == 0x21:
		return client, false, errProxyForm
	default:
		return client, false, errProxyFamily
	}
	client, err = checkProxy(client)
	return client, false, err
}

// checkProxy refuses what no connection comes from, and takes an IPv4 address
// out of IPv6 clothes.
func checkProxy(client netip.AddrPort) (netip.AddrPort, error) {
	addr := client.Addr().Unmap()
	if addr.IsUnspecified() || addr.IsMulticast() {
		return netip.AddrPort{}, errProxyForm
	}
	return netip.AddrPortFrom(addr, client.Port()), nil
}
