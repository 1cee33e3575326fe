package scan

import "slices"

// Validators of national numbers beside those of validate.go.
const (
	Digits       = "digits"       // A to B digits (B 0: any number of), not all the same nor, if there are 8, all 0 and 1
	Personnummer = "personnummer" // Sweden: Luhn over the last ten digits
	KVNR         = "kvnr"         // Germany, health insurance
	RVNR         = "rvnr"         // Germany, pension insurance
	SVNR         = "svnr"         // Austria, social insurance
	VATDE        = "vat_de"       // Germany, VAT: ISO 7064 mod 11,10 over nine digits
	ACN          = "acn"          // Australia, company number
	CUIT         = "cuit"         // Argentina, tax number
	ICAO9303     = "icao9303"     // travel documents: the last digit checks the rest, weights 7 3 1
	KRBRN        = "kr_brn"       // South Korea, business registration number
	Mailbox      = "mailbox"      // an e-mail address whose last part is no file ending and that is no git remote
	E164         = "e164"         // a telephone number behind a plus sign: 7 to 15 digits, no decimal number
)

func checkDigits(w []byte, a, b int) bool {
	d, n := digits(w)
	return n >= a && (b == 0 || n <= b) && n > 0 && !same(d[:n]) && (n < 8 || slices.Max(d[:n]) > 1)
}

func checkPersonnummer(w []byte, _, _ int) bool {
	d, n := digits(w)
	return (n == 10 || n == 12) && luhn(d[n-10:n], 0)
}

// checkKVNR: the letter counts as two digits, weights 1 2 1 2 ..., cross sums, mod 10.
func checkKVNR(w []byte, _, _ int) bool {
	d, n := digits(w)
	c := upper(w[0])
	if n != 9 || c < 'A' || c > 'Z' {
		return false
	}
	v := int(c-'A') + 1
	return crossSum([]byte{byte(v / 10), byte(v % 10)}, d[:8], "\x01\x02\x01\x02\x01\x02\x01\x02\x01\x02")%10 == int(d[8])
}

// checkRVNR: eight digits, a letter (two digits), two digits, check digit.
func checkRVNR(w []byte, _, _ int) bool {
	d, n := digits(w)
	if n != 11 {
		return false
	}
	v := 0
	for _, c := range w {
		if c = upper(c); c >= 'A' && c <= 'Z' {
			v = int(c-'A') + 1
		}
	}
	all := [12]byte{8: byte(v / 10), 9: byte(v % 10), 10: d[8], 11: d[9]}
	copy(all[:8], d[:8])
	return crossSum(all[:], nil, "\x02\x01\x02\x05\x07\x01\x02\x01\x02\x01\x02\x01")%10 == int(d[10])
}

func crossSum(a, b []byte, weights string) int {
	s := 0
	for i := range len(weights) {
		var x byte
		if i < len(a) {
			x = a[i]
		} else {
			x = b[i-len(a)]
		}
		p := int(x) * int(weights[i])
		s += p/10 + p%10
	}
	return s
}

func checkSVNR(w []byte, _, _ int) bool {
	d, n := digits(w)
	return n == 10 && d[0] > 0 && weigh([]byte{d[0], d[1], d[2], d[4], d[5], d[6], d[7], d[8], d[9]}, 3, 7, 9, 5, 8, 4, 2, 1, 6)%11 == int(d[3])
}

func checkVATDE(w []byte, _, _ int) bool {
	d, n := digits(w)
	if n != 9 || d[0] == 0 {
		return false
	}
	p := 10
	for _, c := range d[:8] {
		s := (int(c) + p) % 10
		if s == 0 {
			s = 10
		}
		p = 2 * s % 11
	}
	return (11-p)%10 == int(d[8])
}

func checkACN(w []byte, _, _ int) bool {
	d, n := digits(w)
	return n == 9 && !same(d[:9]) && (10-weigh(d[:8], 8, 7, 6, 5, 4, 3, 2, 1)%10)%10 == int(d[8])
}

func checkCUIT(w []byte, _, _ int) bool {
	d, n := digits(w)
	c := 11 - weigh(d[:10], 5, 4, 3, 2, 7, 6, 5, 4, 3, 2)%11
	if c == 11 {
		c = 0
	}
	return n == 11 && c == int(d[10])
}

func checkICAO9303(w []byte, _, _ int) bool {
	s := 0
	for i, c := range w[:len(w)-1] {
		c = upper(c)
		v := int(c) - '0'
		if c >= 'A' {
			v = int(c) - 'A' + 10
		}
		s += v * [3]int{7, 3, 1}[i%3]
	}
	return s%10 == int(w[len(w)-1])-'0'
}

// checkKRBRN: weights 1 3 7 1 3 7 1 3 5, of the last product the tens count too; the office is 101 or more.
func checkKRBRN(w []byte, _, _ int) bool {
	d, n := digits(w)
	s := weigh(d[:9], 1, 3, 7, 1, 3, 7, 1, 3, 5) + int(d[8])*5/10
	return n == 10 && num(d[:3]) > 100 && (10-s%10)%10 == int(d[9])
}

// checkIPv4: with a > 0 a full stop may end the word, and four different numbers of one digit are a version or a
// section. With a = 2, behind a slash, it is a version too that ends in .0.0 or has no number of three digits and no
// 10 in front, as in a User-Agent.
func checkIPv4(w []byte, a, _ int) bool {
	if a == 0 {
		return ipv4(w)
	}
	if w[len(w)-1] == '.' {
		w = w[:len(w)-1]
	}
	if !ipv4(w) || len(w) == len("1.2.3.4") && (w[0] != w[2] || w[2] != w[4] || w[4] != w[6]) {
		return false
	}
	if a == 1 {
		return true
	}
	if string(w[len(w)-4:]) == ".0.0" {
		return false
	}
	n := 0
	for _, c := range w {
		if n++; c == '.' {
			n = 0
		}
		if n == 3 {
			return true
		}
	}
	return string(w[:3]) == "10."
}

// checkIPv6: with a = 1 an address with :: and at most two groups, none of them dotted, needs a group of three
// characters or more, and a letter beside a digit unless its first group has four; A::B, c::d and 23::59 are names
// and times.
func checkIPv6(w []byte, a, _ int) bool {
	if !ipv6(w) {
		return false
	}
	groups, n, longest, first := 0, 0, 0, 0
	var digit, letter bool
	for _, c := range w {
		switch {
		case c == '.':
			return true
		case c == ':':
			n = 0
			continue
		case c <= '9':
			digit = true
		default:
			letter = true
		}
		if n++; n == 1 {
			groups++
		}
		if groups == 1 {
			first = n
		}
		longest = max(longest, n)
	}
	return a == 0 || groups > 2 || digit && longest > 2 && (letter || first == 4)
}

// checkE164: a full stop alone between the digits makes a decimal number, unless a whole national number stands
// behind it, as in the registries of domains (RFC 5733).
func checkE164(w []byte, _, _ int) bool {
	stop, others := -1, 0
	for i, c := range w[1:] {
		switch {
		case c == '.' && stop < 0:
			stop = i + 1
		case c < '0' || c > '9':
			others++
		}
	}
	behind := len(w) - stop - 1
	return checkDigits(w, 7, 15) && (stop < 0 || others > 0 || behind >= 9 && behind <= 11)
}

// fileEndings are no top-level domains, or, like zip, ones without mail. Two that are countries' are file endings
// behind a version only.
var fileEndings = []string{"png", "jpg", "jpeg", "gif", "webp", "svg", "ico", "bmp", "avif", "tgz", "zip", "gz", "tar",
	"js", "css", "ts", "json", "html", "min", "go", "pdf", "txt", "xml", "yaml", "yml", "toml"}

func checkMailbox(w []byte, _, _ int) bool {
	at, dot, label := 0, 0, 0 // label: where the part in front of the last dot begins
	for i, c := range w {
		switch c {
		case '@':
			at, dot = i, i
		case '.':
			label, dot = dot+1, i
		}
	}
	if string(w[:at]) == "git" {
		return false
	}
	end := w[dot+1:]
	for _, f := range fileEndings {
		if len(end) == len(f) && hasPrefixFold(end, f) {
			return false
		}
	}
	if len(end) == 2 && (hasPrefixFold(end, "md") || hasPrefixFold(end, "py")) {
		v := w[label:dot]
		if len(v) > 1 && lower(v[0]) == 'v' {
			v = v[1:]
		}
		return len(v) > 0 && (v[0] < '0' || v[0] > '9') && string(v) != "latest" && string(v) != "next"
	}
	return true
}

// SecretLike wants a digit or a sign beside letters, an entropy of at least A thousandths of a bit, and none of
// the words that documents put in the place of a secret. B = 1: a digit is required; 2: letters alone will do. What
// ends with a bracket is the call of a function.
const SecretLike = "secretlike"

var placeholders = []string{"example", "changeme", "change_me", "change-me", "your", "xxx", "***", "...", "%s", "%(", "<%", "fake", "dummy", "placeholder", "redacted", "insert", "todo", "undefined", "process.env", "getenv",
	"environ", "config.", "test_key", "sample", "notapassword", "null", "none", "true", "false", "required", "string",
	"function", "secret_key", "my_secret", "enter", "password", "{}", "enc[", "%env("}

func checkSecretLike(w []byte, a, b int) bool {
	var digit, sign, letter bool
	for _, c := range w {
		switch {
		case c >= '0' && c <= '9':
			digit = true
		case c|0x20 >= 'a' && c|0x20 <= 'z':
			letter = true
		case c > ' ' && c != '_' && c != '-' && c != '.' && c != '/' && c != ':':
			sign = true
		}
	}
	if !letter || b != 2 && !digit && (b == 1 || !sign) || entropy(w) < a {
		return false
	}
	if w[len(w)-1] == '(' {
		return false
	}
	for _, p := range [...]string{"${", "{{", "$(", "$", "<", "http://", "https://"} { // a reference stands there, not a value
		if len(w) > len(p) && string(w[:len(p)]) == p {
			return false
		}
	}
	for i, c := range w {
		for _, p := range placeholdersBy[lower(c)&127] {
			if hasPrefixFold(w[i:], p) {
				return false
			}
		}
	}
	return true
}

// placeholdersBy gives the placeholders by their first byte.
var placeholdersBy = func() (by [128][]string) {
	for _, p := range placeholders {
		by[p[0]] = append(by[p[0]], p)
	}
	return by
}()

// hasPrefixFold tells whether w begins with the lower-case ASCII text p, in any case.
func hasPrefixFold(w []byte, p string) bool {
	if len(w) < len(p) {
		return false
	}
	for i := range len(p) {
		if lower(w[i]) != p[i] {
			return false
		}
	}
	return true
}
