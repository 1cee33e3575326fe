package pipeline

import "unicode/utf8"

// MarkerFormat is how a redacted value is shown.
type MarkerFormat uint8

// The documented marker formats of pii-detector (redaction.marker_format).
const (
	Label     MarkerFormat = iota // [REDACTED:EMAIL]-like text, given in Marker.Text
	Asterisks                     // one * per character, at least 3
	Partial                       // all but the last 4 letters and digits become *
)

// Marker renders what takes the place of a value.
type Marker struct {
	Format         MarkerFormat
	Text           string // Label: the marker; also wins over the format when Custom is set
	Custom         bool   // Text was set by the user (redaction.custom_markers)
	PreserveLength bool   // pad or cut the marker to the value's length in characters
}

// partialKeep is how many trailing letters and digits Partial shows. Values
// with fewer than twice as many show none: a four-digit code must not survive.
const partialKeep = 4

// Append appends the replacement of value to dst. Allocates: never, but for dst's growth.
func (m *Marker) Append(dst, value []byte) []byte {
	switch {
	case m.Custom || m.Format == Label:
		if m.PreserveLength {
			return fit(dst, m.Text, utf8.RuneCount(value))
		}
		return append(dst, m.Text...)
	case m.Format == Asterisks:
		n := utf8.RuneCount(value)
		if !m.PreserveLength {
			n = max(n, 3)
		}
		for range n {
			dst = append(dst, '*')
		}
		return dst
	}
	total := 0
	for _, r := range string(value) {
		if alnum(r) {
			total++
		}
	}
	hide := total
	if total >= 2*partialKeep {
		hide = total - partialKeep
	}
	seen := 0
	for _, r := range string(value) {
		if !alnum(r) {
			if r < utf8.RuneSelf {
				dst = append(dst, byte(r))
			} else {
				dst = append(dst, '*')
			}
			continue
		}
		if seen < hide {
			dst = append(dst, '*')
		} else {
			dst = utf8.AppendRune(dst, r)
		}
		seen++
	}
	return dst
}

func alnum(r rune) bool {
	return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= utf8.RuneSelf
}

// fit cuts text to n characters or pads it with asterisks.
func fit(dst []byte, text string, n int) []byte {
	for _, r := range text {
		if n == 0 {
			return dst
		}
		dst = utf8.AppendRune(dst, r)
		n--
	}
	for range n {
		dst = append(dst, '*')
	}
	return dst
}
