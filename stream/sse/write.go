package sse

import "bytes"

// AppendEvent appends one event in canonical form: an "event:" line when name is
// not empty, one "data: " line for each line of data, a blank line; all line
// ends are LF. A name is cut at its first line end. Line ends inside data (LF,
// CR, CRLF) reach the reader as LF.
// Allocates: never, but for dst's growth.
func AppendEvent(dst, name, data []byte) []byte {
	return append(appendLines(appendName(dst, name), "data: ", data), '\n')
}

func appendName(dst, name []byte) []byte {
	if i := bytes.IndexAny(name, "\r\n"); i >= 0 {
		name = name[:i]
	}
	if len(name) > 0 {
		dst = append(dst, "event: "...)
		dst = append(dst, name...)
		dst = append(dst, '\n')
	}
	return dst
}

// AppendJSON is AppendEvent for data that is JSON: one "data: " line whatever came.
// A line end in it can only stand between two tokens, and becomes a space: what
// readers that take lines one by one see is the same event.
// Allocates: never, but for dst's growth.
func AppendJSON(dst, name, data []byte) []byte {
	dst = append(appendName(dst, name), "data: "...)
	at := len(dst)
	dst = append(dst, data...)
	if bytes.IndexByte(data, '\n') >= 0 || bytes.IndexByte(data, '\r') >= 0 {
		for i, c := range dst[at:] {
			if c == '\n' || c == '\r' {
				dst[at+i] = ' '
			}
		}
	}
	return append(dst, '\n', '\n')
}

// AppendComment appends a comment, which readers ignore: a sign of life on a
// quiet stream.
// Allocates: never, but for dst's growth.
func AppendComment(dst, text []byte) []byte {
	return append(appendLines(dst, ": ", text), '\n')
}

func appendLines(dst []byte, prefix string, text []byte) []byte {
	for {
		i := bytes.IndexByte(text, '\n')
		line := text
		if i >= 0 {
			line = text[:i]
		}
		if j := bytes.IndexByte(line, '\r'); j >= 0 {
			i, line = j, line[:j]
		}
		dst = append(dst, prefix...)
		dst = append(dst, line...)
		dst = append(dst, '\n')
		if i < 0 {
			return dst
		}
		if text[i] == '\r' && i+1 < len(text) && text[i+1] == '\n' {
			i++
		}
		text = text[i+1:]
	}
}
