package config

import (
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/keeptrusts/kt/internal/diag"
)

// hidden takes the place of a secret wherever text is shown.
const hidden = "********"

// keyLike matches what looks like a credential of a known service. It decides
// what is masked and what is refused as inlined; it is not a detector for
// traffic.
var keyLike = regexp.MustCompile(`(?:sk-|sk_|rk_|pk_live_|gsk_|xai-|hf_|r8_|pplx-|nvapi-|glpat-|dapi|kt_gk_|kt_ak_|kt_live_|ghp_|gho_|ghu_|ghs_|ghr_|github_pat_|xox[abeoprs]-)[A-Za-z0-9_\-]{12,}` +
	`|(?:AKIA|ASIA)[0-9A-Z]{16}|AIza[0-9A-Za-z_\-]{20,}|ya29\.[0-9A-Za-z_\-]{20,}` +
	`|eyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{8,}(?:\.[A-Za-z0-9_\-]*)?` +
	`|-----BEGIN [A-Z ]*PRIVATE KEY-----[^"']*` +
	`|(?i:bearer|basic) +[A-Za-z0-9_\-.=+/]{12,}`)

// userinfo matches the credentials of an address.
var userinfo = regexp.MustCompile(`(://)[^/@\s"']+@`)

// secretLine matches a key that by its name holds a secret, with its value, in
// a line of a file that has no tree.
var secretLine = regexp.MustCompile(`(?i)((?:api[_-]?key|secret|token|password|passwd|auth|credential|private[_-]?key)[A-Za-z_]*["']?\s*:\s*)(.*)$`)

// addressLine matches the address of a target that is more than that, in such a line.
var addressLine = regexp.MustCompile(`((?:base_url|path_template)["']?\s*:\s*)(.*[?@#].*)$`)

// lineKey finds the keys of a line; a secret under one of them may go on for
// guessLines.
var lineKey = regexp.MustCompile(`([A-Za-z_-]+)["']?\s*:`)

const guessLines = 50

// tokenLike matches long words of letters and digits in such a line.
var tokenLike = regexp.MustCompile(`[A-Za-z0-9_\-+/=.]{16,}`)

// lastWord is what counts of a key that is not a plain name.
var lastWord = regexp.MustCompile(`[A-Za-z0-9_-]*$`)

// secretKey tells whether a key's name says that its value is a secret.
func secretKey(key string) bool {
	k := strings.ReplaceAll(strings.ToLower(lastWord.FindString(key)), "-", "_")
	if strings.HasSuffix(k, "_env") || strings.HasSuffix(k, "_header") || strings.HasSuffix(k, "_prefix") {
		return false
	}
	// Plurals hold the same; "tokens" is a count as often.
	if k != "tokens" && !strings.HasSuffix(k, "_tokens") {
		k = strings.TrimSuffix(k, "s")
	}
	switch k {
	case "key", "auth", "authorization", "authorisation", "credential", "passwd", "public_key", "bearer":
		return true
	}
	if strings.HasPrefix(k, "secret") { // secret_key_ref in every spelling
		return true
	}
	for _, suffix := range []string{"api_key", "apikey", "token", "secret", "password", "secret_key", "secretkey", "private_key", "privatekey",
		"access_key", "accesskey", "_auth", "_authorization", "_credential"} {
		if strings.HasSuffix(k, suffix) {
			return true
		}
	}
	return false
}

// secretQuery tells whether an address or a path has a query that carries a
// credential by its name. Values to be filled in are none.
func secretQuery(s string) bool {
	_, query, _ := strings.Cut(s, "?")
	for pair := range strings.FieldsFuncSeq(query, func(r rune) bool { return r == '&' || r == ';' || r == '#' }) {
		name, value, _ := strings.Cut(pair, "=")
		if value == "" || strings.HasPrefix(value, "{") {
			continue
		}
		switch strings.ToLower(name) {
		case "code", "sig", "signature":
			return true
		}
		if secretKey(name) {
			return true
		}
	}
	return false
}

// secretAddress tells whether a base_url has parts that it must not have, and
// that may be a credential: a query, or something before an @.
func secretAddress(s string) bool {
	return strings.ContainsAny(s, "?#") || hasUser(s)
}

// hasUser tells whether something stands before an @ that is not in the path.
func hasUser(s string) bool {
	if !strings.Contains(s, "@") {
		return false
	}
	u, err := url.Parse(s)
	if err != nil || u.User != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return true
	}
	port, err := strconv.Atoi(u.Port()) // of user:12/34@host the first part is read as host and port
	return u.Port() != "" && (err != nil || port < 1 || port > 65535)
}

// envName is what secret_key_ref.env may hold.
var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// storeName is what secret_key_ref.store may hold.
var storeName = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)

// markRegions finds the secrets of a file: texts under keys whose name says
// so, texts that look like a credential, and malformed secret references.
// Refused values and repeated keys count too.
func (f *file) markRegions() {
	slices.SortStableFunc(f.marks, func(a, b mark) int {
		if a.pos.Line != b.pos.Line {
			return a.pos.Line - b.pos.Line
		}
		return a.pos.Column - b.pos.Column
	})
	for i, m := range f.marks {
		if m.n == nil {
			if secretText(m.key) {
				f.values = append(f.values, m.key)
			}
			continue
		}
		if m.n.secret, m.n.byName = m.holdsSecret(); !m.n.secret {
			continue
		}
		r := region{m.pos.Line, m.pos.Column, len(f.lines) + 1, 1}
		for _, next := range f.marks[i+1:] {
			if next.pos.Line > r.line || next.pos.Column > r.col {
				r.endLine, r.endCol = next.pos.Line, next.pos.Column
				break
			}
		}
		f.regions = append(f.regions, r)
		f.values = append(f.values, m.n.text)
		for line := range strings.SplitSeq(m.n.text, "\n") {
			f.values = append(f.values, strings.TrimSpace(line))
		}
	}
	f.marks = nil
}

// holdsSecret tells whether a value is never shown; byName whether it is its
// key that says so. Tests, conditions and markers of redaction have keys of
// their own choice, which say nothing.
func (m mark) holdsSecret() (secret, byName bool) {
	if m.n.text == "" || m.n.kind == Null || m.n.kind == Bool {
		return false, false
	}
	free := strings.HasPrefix(m.ptr, "/testing/") || strings.HasPrefix(m.ptr, "/policies/") || m.parent == "custom_markers"
	switch {
	case free:
	case m.below:
		byName = true
	case m.key == "base_url":
		byName = secretAddress(m.n.text)
	case m.key == "path_template":
		byName = secretQuery(m.n.text)
	case m.key == "api_key_header" || m.key == "api_key_prefix": // a name, not the header itself
		byName = strings.ContainsAny(strings.TrimSpace(m.n.text), ": \t\n")
	case m.parent == "secret_key_ref" && m.key == "env":
		byName = !envName.MatchString(m.n.text)
	case m.parent == "secret_key_ref" && m.key == "store":
		byName = !storeName.MatchString(m.n.text)
	default:
		byName = m.parent == "secret_key_ref" || secretKey(m.key) || strings.EqualFold(m.parent, "headers") && credentialHeader(m.key)
	}
	return byName || secretText(m.n.text), byName
}

// shareSecrets lets every file know the secrets of all, since a message about
// one may quote another.
func shareSecrets(files []*file) {
	var all []string
	for _, f := range files {
		all = append(all, f.values...)
	}
	all = slices.DeleteFunc(all, func(s string) bool { return len(s) < 4 }) // shorter ones are only masked in place
	if len(all) == 0 {
		return
	}
	slices.SortFunc(all, func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a) // the longest first
		}
		return strings.Compare(a, b)
	})
	pairs := make([]string, 0, 2*len(all))
	for _, v := range slices.Compact(all) {
		pairs = append(pairs, v, hidden)
	}
	r := strings.NewReplacer(pairs...)
	for _, f := range files {
		f.hide = r
	}
}

// secretText tells whether a text looks like a credential.
func secretText(s string) bool { return scrubText(s) != s }

// line is a source line with its secrets masked, "" when it is not shown.
func (f *file) line(n int) string {
	if n < 1 || n > len(f.lines) || len(f.lines[n-1]) > maxExcerpt {
		return ""
	}
	text := f.lines[n-1]
	for _, r := range f.regions {
		switch {
		case n == r.line:
			// all that follows on the line goes: what stands behind a secret
			// would only be shifted
			return f.scrub(text[:byteOffset(text, r.col)]) + hidden
		case n > r.line && n < r.endLine:
			text = hidden
		case n == r.endLine && r.endLine > r.line:
			rest := byteOffset(f.lines[n-1], r.endCol)
			if strings.Trim(f.lines[n-1][:rest], " \t-") != "" { // a dash begins what comes next
				text = hidden
			}
		}
	}
	text = f.scrub(text)
	if strings.HasPrefix(text, "%") && !strings.HasPrefix(text, "%YAML") && !strings.HasPrefix(text, "%TAG") {
		return hidden // a directive that is none may be anything
	}
	if f.broken {
		text = secretLine.ReplaceAllString(text, "${1}"+hidden)
		text = addressLine.ReplaceAllString(text, "${1}"+hidden)
		text = tokenLike.ReplaceAllStringFunc(text, func(s string) string {
			if strings.ContainsFunc(s, unicode.IsDigit) && strings.ContainsFunc(s, unicode.IsLetter) {
				return hidden
			}
			return s
		})
		for _, before := range f.lines[max(0, n-1-guessLines) : n-1] {
			for _, m := range lineKey.FindAllStringSubmatch(before, -1) {
				if m[1] != "secret_key_ref" && secretKey(m[1]) {
					return hidden // the line may go on with that key's value
				}
			}
		}
	}
	return text
}

// scrub takes every known secret out of a text.
func (f *file) scrub(s string) string {
	if f.hide != nil {
		s = f.hide.Replace(s)
	}
	return scrubText(s)
}

// scrubText hides what looks like a credential. The checks before the patterns
// only save time: no pattern matches without.
func scrubText(s string) string {
	if longWord(s) || strings.Contains(s, "-----BEGIN ") {
		s = keyLike.ReplaceAllString(s, hidden)
	}
	if strings.Contains(s, "://") && strings.IndexByte(s, '@') > 0 {
		s = userinfo.ReplaceAllString(s, "${1}"+hidden+"@")
	}
	return s
}

// longWord tells whether s has twelve characters of a credential in a row.
func longWord(s string) bool {
	run := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("_-.=+/", c) >= 0:
			if run++; run == 12 {
				return true
			}
		default:
			run = 0
		}
	}
	return false
}

// finish gives a diagnostic its source line and takes secrets out of its text.
func (f *file) finish(d *diag.Diagnostic) {
	d.Excerpt = f.line(d.Line)
	d.Message = f.scrub(d.Message)
	d.Hint = f.scrub(d.Hint)
	d.Pointer = f.scrub(d.Pointer)
	if d.Excerpt != "" {
		// a masked line is shorter or longer than the real one
		n := utf8.RuneCountInString(d.Excerpt)
		if d.EndColumn > n+1 {
			d.EndColumn = n + 1
		}
	}
}

// show is a value as it may stand in a message.
func (v Value) show() string {
	if v.n == nil {
		return "nothing"
	}
	if v.n.secret {
		return "a hidden value"
	}
	switch v.n.kind {
	case String:
		return "\"" + shorten(v.n.text) + "\""
	case Number, Bool:
		return v.n.text
	}
	return v.n.kind.String()
}
