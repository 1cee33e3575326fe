package scan

// Validators of national numbers beside those of validate.go.
const (
	Digits       = "digits"       // A to B digits (B 0: any number of), not all the same
	Personnummer = "personnummer" // Sweden: Luhn over the last ten digits
	KVNR         = "kvnr"         // Germany, health insurance
	RVNR         = "rvnr"         // Germany, pension insurance
	SVNR         = "svnr"         // Austria, social insurance
	VATDE        = "vat_de"       // Germany, VAT: ISO 7064 mod 11,10 over nine digits
	ACN          = "acn"          // Australia, company number
	CUIT         = "cuit"         // Argentina, tax number
	ICAO9303     = "icao9303"     // travel documents: the last digit checks the rest, weights 7 3 1
)

func checkDigits(w []byte, a, b int) bool {
	d, n := digits(w)
	return n >= a && (b == 0 || n <= b) && n > 0 && !same(d[:n])
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

// SecretLike wants a digit or a sign beside letters, an entropy of at least A thousandths of a bit, and none of
// the words that documents put in the place of a secret. B = 1: a digit is required; 2: letters alone will do.
const SecretLike = "secretlike"

var placeholders = []string{"example", "changeme", "change_me", "change-me", "your", "xxx", "***", "...", "%s", "%(", "<%", "fake", "dummy", "placeholder", "redacted", "insert", "todo", "undefined", "process.env", "getenv",
	"environ", "config.", "test_key", "sample", "notapassword", "null", "none", "true", "false", "required", "string",
	"function", "secret_key", "my_secret", "enter", "password"}

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
