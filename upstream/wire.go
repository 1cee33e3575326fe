package upstream

import (
	"bytes"
	"crypto/tls"
	"errors"
	"net"
	"sync"
)

// wireConn checks the framing of every answer on a connection before net/http
// sees it, and ends the connection at the first thing that is not strict
// HTTP/1.1 (RFC 9112): two lengths, a length beside a transfer encoding, bare
// line feeds, folded lines, bytes that nobody asked for. Bytes behind the end
// of an answer never leave it: net/http alone could take them for the answer to
// the connection's next request, and would print them to the log.
//
// Cost: one look at each byte of heads and chunk sizes, none at body bytes.
type wireConn struct {
	net.Conn
	maxHead int

	mu   sync.Mutex // net/http reads and writes from two goroutines
	st   wireState
	left int64  // body or chunk bytes to come
	line []byte // current line, without CR LF
	head int    // bytes of head, chunk sizes and trailers so far
	bad  error

	status   int
	http10   bool
	length   int64 // -1: none
	chunked  bool
	lines    int
	interims int
}

type wireState uint8

const (
	wireIdle      wireState = iota // nothing was asked
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

// Write notes that an answer is awaited.
func (c *wireConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	if c.bad != nil {
		c.mu.Unlock()
		return 0, c.bad
	}
	if c.st == wireIdle {
		c.st, c.head, c.lines, c.interims = wireHead, 0, 0, 0
		c.length, c.chunked, c.line = -1, false, c.line[:0]
	}
	c.mu.Unlock()
	return c.Conn.Write(p)
}

// Close closes at once when an answer is still awaited: TLS's goodbye could wait
// seconds for a peer that does not read.
func (c *wireConn) Close() error {
	c.mu.Lock()
	busy := c.st != wireIdle || c.bad != nil
	c.mu.Unlock()
	if t, ok := c.Conn.(*tls.Conn); ok && busy {
		return t.NetConn().Close()
	}
	return c.Conn.Close()
}

// Read gives the bytes up to the end of the answer.
func (c *wireConn) Read(p []byte) (int, error) {
	c.mu.Lock()
	bad := c.bad
	c.mu.Unlock()
	if bad != nil {
		return 0, bad
	}
	n, err := c.Conn.Read(p)
	if n == 0 {
		return n, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	good, bad := c.scan(p[:n])
	if bad != nil {
		c.bad = bad
		if good == 0 {
			return 0, bad
		}
		return good, nil
	}
	return n, err
}

// scan follows the answer through p. It gives how many bytes belong to it; with
// an error, the rest does not. Bytes of a bad head never pass.
func (c *wireConn) scan(p []byte) (good int, bad error) {
	for i := 0; i < len(p); {
		switch c.st {
		case wireIdle:
			return i, badWire("bytes that belong to no request")
		case wireClose:
			return len(p), nil
		case wireLength, wireChunk:
			k := int(min(c.left, int64(len(p)-i)))
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
			j := bytes.IndexByte(p[i:], '\n')
			part := p[i:]
			if j >= 0 {
				part = p[i : i+j]
			}
			if c.head += len(part) + 1; c.head > c.maxHead+maxSizeLine && c.st == wireHead {
				return 0, tooLargeWire("header is larger than the limit")
			}
			limit := maxWireLine
			if c.st == wireChunkSize || c.st == wireChunkEnd {
				limit = maxSizeLine
			}
			if len(c.line)+len(part) > limit {
				return 0, tooLargeWire("a line is longer than the limit")
			}
			c.line = append(c.line, part...)
			if j < 0 {
				return len(p), nil
			}
			i += j + 1
			if n := len(c.line); n == 0 || c.line[n-1] != '\r' {
				return 0, badWire("a line ends without CR")
			}
			if err := c.endLine(c.line[:len(c.line)-1]); err != nil {
				return 0, err
			}
			c.line = c.line[:0]
		}
	}
	return len(p), nil
}

// endLine takes one whole line of a head, a chunk size or a trailer.
func (c *wireConn) endLine(line []byte) error {
	if bytes.ContainsAny(line, "\r\x00") {
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
		} else if c.head > c.maxHead {
			return tooLargeWire("trailer is larger than the limit")
		}
	}
	return nil
}

func (c *wireConn) statusLine(line []byte) error {
	// HTTP-version SP 3DIGIT SP [ reason ]; the second space is often missing.
	if len(line) < 12 || string(line[:7]) != "HTTP/1." || line[7] != '0' && line[7] != '1' || line[8] != ' ' || len(line) > 12 && line[12] != ' ' {
		return badWire("status line is not HTTP/1.1")
	}
	c.http10 = line[7] == '0'
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

func (c *wireConn) headerLine(line []byte) error {
	colon := bytes.IndexByte(line, ':')
	if colon <= 0 {
		return badWire("a header line has no name")
	}
	name, value := line[:colon], bytes.Trim(line[colon+1:], " \t")
	for _, b := range name {
		if !isToken(b) {
			return badWire("a header name is not valid")
		}
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
	}
	return nil
}

func (c *wireConn) endHead() error {
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
		c.st = wireIdle
	case c.chunked:
		c.st = wireChunkSize
	case c.length == 0:
		c.st = wireIdle
	case c.length > 0:
		c.st, c.left = wireLength, c.length
	default:
		c.st = wireClose
	}
	return nil
}

// chunkSize reads a size line (RFC 9112 section 7.1); extensions are skipped.
func chunkSize(line []byte) (int64, bool) {
	n, digits := int64(0), 0
	for _, b := range line {
		var d byte
		switch {
		case b >= '0' && b <= '9':
			d = b - '0'
		case b|0x20 >= 'a' && b|0x20 <= 'f':
			d = (b | 0x20) - 'a' + 10
		case digits > 0 && (b == ';' || b == ' ' || b == '\t'):
			return n, true
		default:
			return 0, false
		}
		if n = n<<4 | int64(d); n > maxChunkSize {
			return 0, false
		}
		digits++
	}
	return n, digits > 0
}

func isToken(b byte) bool {
	switch {
	case b >= '0' && b <= '9', b|0x20 >= 'a' && b|0x20 <= 'z':
		return true
	}
	return bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), b) >= 0
}

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
