package http1

import (
	"bytes"
	"io"

	"github.com/warder-gateway/warder/internal/exchange"
	"github.com/warder-gateway/warder/internal/fault"
)

var (
	errChunkSize      = malformed("a chunk size is not 1 to 16 hexadecimal digits below 2^63")
	errChunkLine      = malformed("a chunk line is longer than 256 bytes")
	errChunkExtension = malformed("a chunk extension is not ;name or ;name=value")
	errChunkOverhead  = malformed("the extensions of a body's chunks are longer than 4 KiB")
	errChunkFrames    = malformed("a body's chunks are framed by more than 16 KiB and eight times its data")
	errChunkEnd       = malformed("a chunk is not followed by CRLF")
	errTrailer        = malformed("a trailer field that must stand in the head")
	errTrailerSize    = malformed("the trailers are larger than 4 KiB or more than 32")
)

const (
	maxChunkLine  = 256
	maxExtensions = 4 << 10
	maxFrames     = 16 << 10 // and framesPerByte for each byte of data; a chunk of one byte takes 5
	framesPerByte = 8
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

// part is what comes next in a body of chunks.
type part uint8

const (
	chunkLine part = iota
	chunkData
	chunkEnd
	trailerSection
)

// bodyReader decodes one message body.
type bodyReader struct {
	src     *source
	framing framing
	left    int64 // bytes left of the body, or of the chunk
	next    part  // of chunks
	data    int64 // of chunks: bytes of data so far
	frames  int64 // bytes that framed them
	extra   int   // bytes of chunk extensions among those
	trailer exchange.Head
	err     error // sticky; io.EOF after a clean end
}

// begin starts a body behind a head.
func (b *bodyReader) begin(src *source, f framing, length int64) {
	b.src, b.framing, b.left, b.err = src, f, 0, nil
	switch {
	case f == noBody || f == byLength && length == 0:
		b.err = io.EOF
	case f == byLength:
		b.left = length
	case f == byChunks:
		b.next, b.data, b.frames, b.extra = chunkLine, 0, 0, 0
		b.trailer.Reset()
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
	if err != nil && (n == 0 || err == io.EOF || b.framing == byChunks) {
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

// readChunked reads chunk data (RFC 9112 section 7.1). It waits only for the
// first byte: chunks that have come already fill p together, so that small
// ones do not cost their readers a turn each, and the end is told with the
// last bytes when it is at hand.
func (b *bodyReader) readChunked(p []byte) (n int, err error) {
	for {
		if n > 0 && !b.atHand() {
			return n, nil
		}
		switch b.next {
		case chunkLine:
			err = b.readChunkLine()
		case chunkData:
			if n == len(p) {
				return n, nil
			}
			var m int
			m, err = b.src.take(clip(p[n:], b.left))
			err = cutShort(err)
			n, b.data = n+m, b.data+int64(m)
			if b.left -= int64(m); b.left == 0 {
				b.next = chunkEnd
			}
		case chunkEnd:
			err = b.readChunkEnd()
		case trailerSection:
			if err = b.readTrailers(); err == nil {
				err = io.EOF
			}
		}
		if err != nil {
			return n, err
		}
	}
}

// atHand reports whether the next part, of data some, is buffered, so that
// reading it does not wait.
func (b *bodyReader) atHand() bool {
	c := b.src.buffered()
	switch b.next {
	case chunkLine:
		return bytes.IndexByte(c, '\n') >= 0
	case chunkEnd:
		return len(c) >= len(crlf)
	case trailerSection:
		return bytes.HasPrefix(c, crlf) || bytes.Contains(c, headEnd)
	}
	return len(c) > 0
}

// readChunkLine reads the size of the next chunk.
func (b *bodyReader) readChunkLine() error {
	line, err := b.src.line(maxChunkLine, errChunkLine)
	if err != nil {
		return err
	}
	size, extension, f := parseChunkLine(line)
	if f != nil {
		return f
	}
	if b.extra += extension; b.extra > maxExtensions {
		return errChunkOverhead
	}
	// Its CRLF and the one behind the data count too.
	if b.frames += int64(len(line) + 2*len(crlf)); b.frames > maxFrames+framesPerByte*b.data {
		return errChunkFrames
	}
	b.left, b.next = size, chunkData
	if size == 0 {
		b.next = trailerSection
	}
	return nil
}

// readChunkEnd reads the CRLF behind a chunk's data.
func (b *bodyReader) readChunkEnd() error {
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
	b.next = chunkLine
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
		f := &b.trailer.Fields[i]
		if f.Drop || endToEnd(f.Name) {
			return errTrailer
		}
		f.Drop = !harmlessTrailer(f)
	}
	return nil
}

// harmlessTrailer reports whether a trailer field may go on. Whoever comes
// next may merge trailers into the head, so only fields do that mean nothing
// to HTTP itself (RFC 9110 section 6.5.1): those of gRPC, digests of the body
// (RFC 9530), and extensions (X-) that nobody on the way knows.
func harmlessTrailer(f *exchange.Field) bool {
	return f.ID == exchange.HeaderOther && (hasPrefixFold(f.Name, "grpc-") || hasPrefixFold(f.Name, "x-") ||
		exchange.EqualFold(f.Name, "content-digest") || exchange.EqualFold(f.Name, "repr-digest"))
}

// trailers returns the trailer fields of a body read to its end, nil if there
// are none. Those that must not go on are dropped.
func (b *bodyReader) trailers() *exchange.Head {
	if b.err != io.EOF || b.framing != byChunks || len(b.trailer.Fields) == 0 {
		return nil
	}
	return &b.trailer
}
