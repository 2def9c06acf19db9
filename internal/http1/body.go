package http1

import (
	"io"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
)

var (
	errChunkSize      = malformed("a chunk size is not 1 to 16 hexadecimal digits below 2^63")
	errChunkLine      = malformed("a chunk line is longer than 256 bytes")
	errChunkExtension = malformed("a chunk extension is not ;name or ;name=value")
	errChunkOverhead  = malformed("the extensions of a body's chunks are longer than 4 KiB")
	errChunkEnd       = malformed("a chunk is not followed by CRLF")
	errTrailer        = malformed("a trailer field that must stand in the head")
	errTrailerSize    = malformed("the trailers are larger than 4 KiB or more than 32")
)

const (
	maxChunkLine  = 256
	maxExtensions = 4 << 10
	maxTrailers   = 4 << 10
	maxTrailer    = 32
)

// framing says how the end of a body is known (RFC 9112 section 6.3).
type framing uint8

const (
	noBody framing = iota
	byLength
	byChunks
	byClose
)

// bodyReader decodes one message body.
type bodyReader struct {
	src     *source
	framing framing
	left    int64 // bytes left of the body, or of the chunk
	inChunk bool  // the chunk's closing CRLF is still to come
	extra   int   // bytes of chunk extensions so far
	trailer exchange.Head
	err     error // sticky; io.EOF after a clean end
}

// begin starts a body behind a head.
func (b *bodyReader) begin(src *source, f framing, length int64) {
	b.trailer.Reset()
	*b = bodyReader{src: src, framing: f, trailer: b.trailer}
	switch {
	case f == noBody || f == byLength && length == 0:
		b.err = io.EOF
	case f == byLength:
		b.left = length
	}
}

// complete reports whether the body was read to its clean end.
func (b *bodyReader) complete() bool { return b.err == io.EOF }

// held returns the rest of the body as a view, never nil, if its length is
// known and all of it is buffered.
func (b *bodyReader) held() (view []byte, ok bool) {
	switch {
	case b.err == io.EOF:
		return b.src.buf[:0:0], true
	case b.err == nil && b.framing == byLength && b.left <= int64(len(b.src.buffered())):
		end := b.src.r + int(b.left)
		return b.src.buf[b.src.r:end:end], true
	}
	return nil, false
}

// hold is held, and takes the bytes from the source: the body is then read
// to its end. The view lives as long as those of the head.
func (b *bodyReader) hold() (view []byte, ok bool) {
	if view, ok = b.held(); ok {
		b.src.r += len(view)
		b.src.keep = b.src.r
		b.left, b.err = 0, io.EOF
	}
	return view, ok
}

// Read returns io.EOF together with the last bytes or after them, and only at
// the end that the framing promised.
func (b *bodyReader) Read(p []byte) (n int, err error) {
	if b.err != nil {
		return 0, b.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	switch b.framing {
	case byLength:
		n, err = b.src.take(clip(p, b.left))
		err = cutShort(err)
		if b.left -= int64(n); b.left == 0 {
			err = io.EOF
		}
	case byChunks:
		n, err = b.readChunked(p)
	case byClose:
		n, err = b.src.take(p)
	}
	if err != nil && (n == 0 || err == io.EOF) {
		b.err = err
	}
	return n, b.err
}

func clip(p []byte, n int64) []byte {
	if int64(len(p)) > n {
		return p[:n]
	}
	return p
}

// readChunked reads chunk data (RFC 9112 section 7.1).
func (b *bodyReader) readChunked(p []byte) (int, error) {
	for b.left == 0 {
		if b.inChunk {
			if err := b.chunkEnd(); err != nil {
				return 0, err
			}
			b.inChunk = false
		}
		line, err := b.src.line(maxChunkLine, errChunkLine)
		if err != nil {
			return 0, err
		}
		size, extension, f := parseChunkLine(line)
		if f != nil {
			return 0, f
		}
		if b.extra += extension; b.extra > maxExtensions {
			return 0, errChunkOverhead
		}
		if size == 0 {
			if err := b.readTrailers(); err != nil {
				return 0, err
			}
			return 0, io.EOF
		}
		b.left, b.inChunk = size, true
	}
	n, err := b.src.take(clip(p, b.left))
	b.left -= int64(n)
	if n > 0 && b.left == 0 && b.src.lastChunkBuffered() {
		// The end is at hand: saying so with the last bytes spares the
		// reader a turn, and lets the connection be judged as read whole.
		if _, err := b.readChunked(p[:0]); err != nil {
			return n, err
		}
	}
	return n, cutShort(err)
}

// chunkEnd reads the CRLF behind a chunk's data.
func (b *bodyReader) chunkEnd() error {
	for len(b.src.buffered()) < 2 {
		if c := b.src.buffered(); len(c) == 1 && c[0] != '\r' {
			return errChunkEnd
		}
		if err := b.src.fill(2); err != nil {
			return cutShort(err)
		}
	}
	if c := b.src.buffered(); c[0] != '\r' || c[1] != '\n' {
		return errChunkEnd
	}
	b.src.r += 2
	return nil
}

// parseChunkLine reads a chunk's size and checks its extensions, whose length
// it returns. They are dropped: nobody agreed on a meaning.
func parseChunkLine(line []byte) (size int64, extension int, f *fault.Error) {
	n := 0
	for ; n < len(line); n++ {
		v := unhex(line[n])
		if v < 0 {
			break
		}
		if n == 16 || size > (1<<63-1)>>4 {
			return 0, 0, errChunkSize
		}
		size = size<<4 | int64(v)
	}
	if n == 0 {
		return 0, 0, errChunkSize
	}
	rest := line[n:]
	for len(rest) > 0 {
		if rest[0] != ';' {
			if extension == 0 && len(rest) == len(line)-n {
				return 0, 0, errChunkSize
			}
			return 0, 0, errChunkExtension
		}
		rest = rest[1:]
		name := tokenLength(rest)
		if name == 0 {
			return 0, 0, errChunkExtension
		}
		if rest = rest[name:]; len(rest) == 0 || rest[0] != '=' {
			continue
		}
		rest = rest[1:]
		value := tokenLength(rest)
		if len(rest) > 0 && rest[0] == '"' {
			value = quotedLength(rest)
		}
		if value == 0 {
			return 0, 0, errChunkExtension
		}
		rest = rest[value:]
	}
	return size, len(line) - n, nil
}

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

func tokenLength(b []byte) int {
	n := 0
	for n < len(b) && class[b[n]]&isToken != 0 {
		n++
	}
	return n
}

// quotedLength returns the length of the quoted-string that b starts with, 0
// if it does not end.
func quotedLength(b []byte) int {
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return 0
}

// readTrailers reads the trailer section behind the last chunk.
func (b *bodyReader) readTrailers() error {
	for len(b.src.buffered()) < 2 {
		if c := b.src.buffered(); len(c) == 1 {
			if f := peek(c, 0); f != nil {
				return f
			}
		}
		if err := b.src.fill(2); err != nil {
			return cutShort(err)
		}
	}
	if c := b.src.buffered(); c[0] == '\r' && c[1] == '\n' {
		b.src.r += 2
		return nil
	}
	section, err := b.src.head(maxTrailers, peek, func() error { return nil })
	if err == errHeadSize {
		err = errTrailerSize
	}
	if err != nil {
		return cutShort(err)
	}
	f := parseFields(&b.trailer, section, maxTrailer)
	if f == errFieldCount {
		f = errTrailerSize
	}
	if f != nil {
		return f
	}
	for i := range b.trailer.Fields {
		if f := &b.trailer.Fields[i]; f.Drop || endToEnd(f.Name) {
			return errTrailer
		}
	}
	return nil
}

// trailers returns the trailer fields of a body read to its end, nil if there
// are none.
func (b *bodyReader) trailers() *exchange.Head {
	if b.err != io.EOF || len(b.trailer.Fields) == 0 {
		return nil
	}
	return &b.trailer
}

// lastChunkBuffered reports whether CRLF, a last chunk without extensions and
// no trailers are the next bytes buffered.
func (s *source) lastChunkBuffered() bool {
	b := s.buffered()
	return len(b) >= 7 && string(b[:7]) == "\r\n0\r\n\r\n"
}
