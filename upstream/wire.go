package upstream

import (
	"bytes"
	"errors"
	"net/http"
	"net/textproto"
)

// wire follows one answer of a connection and takes it apart: the head into
// status and header, the body out of its chunks. It accepts strict HTTP/1.1 only
// (RFC 9112) and ends the connection at the first thing that is not: two
// lengths, a length beside a transfer encoding, bare line feeds, folded lines,
// bytes that nobody asked for. A byte behind the end of an answer never leaves it.
//
// Cost: one look at each byte of heads and chunk sizes, none at body bytes. It
// holds no buffer: the body is moved within the caller's, and only a line that
// is not whole yet is kept.
type wire struct {
	maxHead int

	st    wireState
	left  int64  // body or chunk bytes to come
	line  []byte // beginning of a line whose end is yet to come
	space [64]byte
	head  int  // bytes of head, chunk sizes and trailers so far
	extra bool // bytes came behind the end

	status   int
	http10   bool
	closes   bool  // the connection ends with the answer
	length   int64 // -1: none
	chunked  bool
	lines    int
	interims int
	header   http.Header // the fields that kt reads
}

type wireState uint8

const (
	wireIdle      wireState = iota // the answer has ended
	wireHead                       // status line and header
	wireLength                     // body of known length
	wireChunkSize                  // size line
	wireChunk                      // data
	wireChunkEnd                   // CR LF after data
	wireTrailer                    // lines behind the last chunk
	wireClose                      // body until the connection closes
)

const (
	maxInterims  = 16       // 1xx answers before the final one
	maxWireLine  = 32 << 10 // one header line
	maxSizeLine  = 256      // chunk size with extensions
	maxChunkSize = 1 << 40
)

func badWire(what string) error {
	return &Failure{Class: BadResponse, Err: errors.New("read answer: " + what)}
}

func tooLargeWire(what string) error {
	return &Failure{Class: TooLarge, Err: errors.New("read answer: " + what)}
}

// begin awaits an answer.
func (c *wire) begin(maxHead int) {
	c.maxHead, c.st, c.left, c.line, c.head, c.extra = maxHead, wireHead, 0, c.space[:0], 0, false
	c.status, c.http10, c.closes, c.length, c.chunked, c.lines, c.interims, c.header = 0, false, false, -1, false, 0, 0, nil
}

// decode follows the answer through p and moves the bytes of the body to its
// front: they are p[:n]. Body bytes in front of what is not valid count.
//
// Allocates: never, but for a head.
func (c *wire) decode(p []byte) (n int, err error) {
	for i := 0; i < len(p); {
		switch c.st {
		case wireIdle:
			c.extra = true
			return n, nil
		case wireClose:
			return n + copy(p[n:], p[i:]), nil
		case wireLength, wireChunk:
			k := int(min(c.left, int64(len(p)-i)))
			if n != i {
				copy(p[n:], p[i:i+k])
			}
			n += k
			i += k
			if c.left -= int64(k); c.left > 0 {
				continue
			}
			if c.st == wireChunk {
				c.st = wireChunkEnd
			} else {
				c.st = wireIdle
			}
		default:
			if c.st == wireChunkEnd && len(c.line) == 0 {
				if size, k := nextChunk(p[i:]); k > 0 {
					c.head, c.left, c.st = 0, size, wireChunk
					i += k
					continue
				}
			}
			j := bytes.IndexByte(p[i:], '\n')
			part := p[i:]
			if j >= 0 {
				part = p[i : i+j]
			}
			if c.head += len(part); j >= 0 {
				c.head++
			}
			if c.head > c.maxHead && c.st == wireHead {
				return n, tooLargeWire("header is larger than the limit")
			}
			limit := maxWireLine
			if c.st == wireChunkSize || c.st == wireChunkEnd {
				limit = maxSizeLine
			}
			if len(c.line)+len(part) > limit {
				return n, tooLargeWire("a line is longer than the limit")
			}
			if j < 0 {
				c.line = append(c.line, part...)
				if k := min(len(c.line), len(version)); c.st == wireHead && c.lines == 0 && string(c.line[:k]) != version[:k] {
					return n, badWire("status line is not HTTP/1.1") // what is no HTTP may never bring a line's end
				}
				return n, nil
			}
			i += j + 1
			line := part
			if len(c.line) > 0 {
				c.line = append(c.line, part...)
				line = c.line
			}
			if k := len(line); k == 0 || line[k-1] != '\r' {
				return n, badWire("a line ends without CR")
			}
			if err := c.endLine(line[:len(line)-1]); err != nil {
				return n, err
			}
			c.line = c.line[:0]
		}
	}
	return n, nil
}

// ended tells that the answer came to its end; the end of the connection is
// the end of a body without a length.
func (c *wire) ended() bool { return c.st == wireIdle }

// reusable tells that the connection may serve another request.
func (c *wire) reusable() bool { return c.st == wireIdle && !c.closes && !c.extra }

// endLine takes one whole line of a head, a chunk size or a trailer.
func (c *wire) endLine(line []byte) error {
	if (c.st == wireHead || c.st == wireTrailer) && bytes.ContainsAny(line, "\r\x00") {
		return badWire("a control character in a header line")
	}
	switch c.st {
	case wireHead:
		c.lines++
		if c.lines == 1 {
			return c.statusLine(line)
		}
		if len(line) == 0 {
			return c.endHead()
		}
		return c.headerLine(line)
	case wireChunkSize:
		size, ok := chunkSize(line)
		if !ok {
			return badWire("chunk size is not valid")
		}
		c.head = 0
		if c.left, c.st = size, wireChunk; size == 0 {
			c.st = wireTrailer
		}
	case wireChunkEnd:
		if len(line) != 0 {
			return badWire("a chunk is longer than its size")
		}
		c.st = wireChunkSize
	case wireTrailer:
		if len(line) == 0 {
			c.st = wireIdle
			return nil
		}
		if c.head > c.maxHead {
			return tooLargeWire("trailer is larger than the limit")
		}
		_, _, err := field(line) // checked and dropped
		return err
	}
	return nil
}

// version begins every answer.
const version = "HTTP/1."

func (c *wire) statusLine(line []byte) error {
	// HTTP-version SP 3DIGIT SP [ reason ]; the second space is often missing.
	if len(line) < 12 || string(line[:len(version)]) != version || line[7] != '0' && line[7] != '1' || line[8] != ' ' || len(line) > 12 && line[12] != ' ' {
		return badWire("status line is not HTTP/1.1")
	}
	c.http10 = line[7] == '0'
	c.closes = c.http10
	c.status = 0
	for _, d := range line[9:12] {
		if d < '0' || d > '9' {
			return badWire("status is not a number")
		}
		c.status = c.status*10 + int(d-'0')
	}
	if c.status < 100 || c.status == 101 {
		return badWire("status is not valid")
	}
	return nil
}

// field takes a line of a header or a trailer apart.
func field(line []byte) (name, value []byte, err error) {
	colon := bytes.IndexByte(line, ':')
	if colon <= 0 {
		return nil, nil, badWire("a header line has no name")
	}
	name, value = line[:colon], bytes.Trim(line[colon+1:], " \t")
	if !isToken(name) {
		return nil, nil, badWire("a header name is not valid")
	}
	for _, b := range value {
		if b < ' ' && b != '\t' || b == 0x7f {
			return nil, nil, badWire("a control character in a header line")
		}
	}
	return name, value, nil
}

func (c *wire) headerLine(line []byte) error {
	name, value, err := field(line)
	if err != nil {
		return err
	}
	switch {
	case equalFold(name, "content-length"):
		if c.length >= 0 {
			return badWire("two content lengths")
		}
		n := int64(0)
		for _, d := range value {
			if d < '0' || d > '9' || n > maxChunkSize {
				return badWire("content length is not valid")
			}
			n = n*10 + int64(d-'0')
		}
		if len(value) == 0 {
			return badWire("content length is not valid")
		}
		c.length = n
	case equalFold(name, "transfer-encoding"):
		if c.chunked || !equalFold(value, "chunked") || c.http10 {
			return badWire("transfer encoding is not just chunked")
		}
		c.chunked = true
	case equalFold(name, "connection"):
		for option := range bytes.SplitSeq(value, comma) {
			c.closes = c.closes || equalFold(bytes.Trim(option, " \t"), "close")
		}
	case c.status >= 200:
		c.keep(name, value)
	}
	return nil
}

var comma = []byte(",")

// read are the fields of an answer that kt reads, as net/http spells them, by
// their names in lower case. All others are checked and dropped.
var read = map[string]string{
	"content-type": "Content-Type", "content-encoding": "Content-Encoding", "retry-after": "Retry-After", "retry-after-ms": "Retry-After-Ms",
	"x-request-id": "X-Request-Id",
}

const rateLimit = "x-ratelimit-"

// keep notes a field that kt reads.
func (c *wire) keep(name, value []byte) {
	var lower [64]byte
	if len(name) > len(lower) {
		return
	}
	for i, b := range name {
		if b >= 'A' && b <= 'Z' {
			b += 'a' - 'A'
		}
		lower[i] = b
	}
	key := read[string(lower[:len(name)])]
	if key == "" {
		if !bytes.HasPrefix(lower[:len(name)], []byte(rateLimit)) {
			return
		}
		key = textproto.CanonicalMIMEHeaderKey(string(name))
	}
	if c.header == nil {
		c.header = make(http.Header, 4)
	}
	c.header[key] = append(c.header[key], word(value))
}

// word is string(b), without an allocation for the usual words.
func word(b []byte) string {
	switch string(b) {
	case "application/json":
		return "application/json"
	case "text/event-stream":
		return "text/event-stream"
	case "text/event-stream; charset=utf-8":
		return "text/event-stream; charset=utf-8"
	}
	return string(b)
}

func (c *wire) endHead() error {
	if c.chunked && c.length >= 0 {
		return badWire("content length beside transfer encoding")
	}
	c.lines, c.head = 0, 0
	switch {
	case c.status < 200:
		if c.interims++; c.interims > maxInterims {
			return tooLargeWire("too many informational answers")
		}
		if c.chunked || c.length >= 0 {
			return badWire("an informational answer with a body")
		}
		return nil // still in the head: the final answer comes
	case c.status == 204 || c.status == 304:
		// A body that is announced all the same may come later: it must not meet
		// the next request.
		c.st, c.closes = wireIdle, c.closes || c.chunked || c.length > 0
	case c.chunked:
		c.st = wireChunkSize
	case c.length == 0:
		c.st = wireIdle
	case c.length > 0:
		c.st, c.left = wireLength, c.length
	default:
		c.st, c.closes = wireClose, true
	}
	return nil
}

// chunkSize reads a size line (RFC 9112 section 7.1); extensions are skipped, and
// so is white space at the end, with which some servers pad the line. At most 16
// digits: no size needs more.
func chunkSize(line []byte) (int64, bool) {
	n, digits := int64(0), 0
	for i, b := range line {
		var d byte
		switch {
		case b >= '0' && b <= '9':
			d = b - '0'
		case b|0x20 >= 'a' && b|0x20 <= 'f':
			d = (b | 0x20) - 'a' + 10
		case digits > 0 && b == ';':
			return n, !bytes.ContainsAny(line[i:], "\r\x00")
		case digits > 0 && (b == ' ' || b == '\t'):
			return n, len(bytes.Trim(line[i:], " \t")) == 0
		default:
			return 0, false
		}
		digits++
		if n = n<<4 | int64(d); n > maxChunkSize || digits > 16 {
			return 0, false
		}
	}
	return n, digits > 0
}

// nextChunk reads the end of a chunk and the head of the next one, when p begins
// with both in the plain form: CR LF, up to seven digits, CR LF. k is their
// length; 0: it does not, or the chunk is the last one.
func nextChunk(p []byte) (size int64, k int) {
	if len(p) < 2 || p[0] != '\r' || p[1] != '\n' {
		return 0, 0
	}
	for i := 2; i+1 < len(p) && i <= 9; i++ {
		switch b := p[i]; {
		case b >= '0' && b <= '9':
			size = size<<4 | int64(b-'0')
		case b|0x20 >= 'a' && b|0x20 <= 'f':
			size = size<<4 | int64((b|0x20)-'a'+10)
		case b == '\r' && p[i+1] == '\n' && size > 0:
			return size, i + 2
		default:
			return 0, 0
		}
	}
	return 0, 0
}

// isToken tells that s is the name of a header field (RFC 9110
// section 5.6.2).
func isToken[T string | []byte](s T) bool {
	for i := range len(s) {
		if !tokens[s[i]] {
			return false
		}
	}
	return len(s) > 0
}

var tokens = func() (t [256]bool) {
	for _, c := range "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ" {
		t[c] = true
	}
	return t
}()

// equalFold compares with a lower-case ASCII name.
func equalFold(b []byte, name string) bool {
	if len(b) != len(name) {
		return false
	}
	for i := range b {
		c := b[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != name[i] {
			return false
		}
	}
	return true
}
