package scan

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
	"strings"
)

// The validators. Each is a pure function of the word. Those over digits ignore everything that is not a
// digit, so separators may stand in the word. Names are stable: they are written into tables and configs.
const (
	Luhn       = "luhn"        // Luhn check; A to B digits (0: 2 to 40)
	Card       = "card"        // a payment card: brand prefix, its lengths, Luhn
	IBAN       = "iban"        // country, length, mod 97
	SSN        = "ssn"         // US social security number: area, group and serial that are issued
	ITIN       = "itin"        // US individual taxpayer number
	NANP       = "nanp"        // North American phone number
	IPv4       = "ipv4"        // four decimal octets without leading zeros; A = 1, 2: none of a version (see checkIPv4)
	IPv6       = "ipv6"        // RFC 4291 text form; A = 1: none of what programs write with :: (see checkIPv6)
	Entropy    = "entropy"     // Shannon entropy of the bytes of at least A thousandths of a bit
	NHS        = "nhs"         // UK NHS number, mod 11
	NPI        = "npi"         // US provider identifier, Luhn with prefix 80840
	ABA        = "aba"         // US routing number, weights 3 7 1
	DEA        = "dea"         // US DEA registration
	Verhoeff   = "verhoeff"    // Aadhaar: 12 digits
	CPF        = "cpf"         // Brazil, persons
	CNPJ       = "cnpj"        // Brazil, companies
	DNI        = "dni"         // Spain DNI and NIE: letter by mod 23
	TFN        = "tfn"         // Australia tax file number
	ABN        = "abn"         // Australia business number
	MedicareAU = "medicare_au" // Australia Medicare card
	NIR        = "nir"         // France INSEE number, mod 97
	PESEL      = "pesel"       // Poland
	NIP        = "nip"         // Poland tax number
	BSN        = "bsn"         // Netherlands, eleven test
	SteuerID   = "steuer_id"   // Germany, ISO 7064 mod 11,10
	Codice     = "codice"      // Italy codice fiscale
	NIF        = "nif"         // Portugal
	NationalBE = "national_be" // Belgium, mod 97
	FNR        = "fnr"         // Norway
	HETU       = "hetu"        // Finland
	AHV        = "ahv"         // Switzerland, EAN-13 with 756
	TCKimlik   = "tc_kimlik"   // Turkey
	CNID       = "cn_id"       // China resident identity card
	MyNumber   = "my_number"   // Japan
	RRN        = "rrn"         // South Korea
	NRIC       = "nric"        // Singapore
	HKID       = "hkid"        // Hong Kong
	TWID       = "tw_id"       // Taiwan
	IRD        = "ird"         // New Zealand
	NHI        = "nhi"         // New Zealand health
	RUT        = "rut"         // Chile
	CURP       = "curp"        // Mexico
	CNP        = "cnp"         // Romania
	EGN        = "egn"         // Bulgaria
	VIN        = "vin"         // vehicle, with check digit and at least a letter
	ISIN       = "isin"        // securities
	CUSIP      = "cusip"       // securities
	Base58     = "base58check" // Bitcoin address with its double SHA-256 check
	JWT        = "jwt"         // the first part is the base64url of a JSON object
	Mixed      = "mixed"       // at least a digit and a letter; A = 1: upper and lower case too; B = 1: a digit is not asked for
)

var validators = map[string]func(w []byte, a, b int) bool{
	Luhn: func(w []byte, a, b int) bool {
		d, n := digits(w)
		if a == 0 {
			a = 2
		}
		if b == 0 {
			b = 40
		}
		return n >= a && n <= b && luhn(d[:n], 0)
	},
	Card: func(w []byte, _, _ int) bool { return card(w) },
	IBAN: func(w []byte, _, _ int) bool { return iban(w) },
	SSN: func(w []byte, _, _ int) bool {
		d, n := digits(w)
		area := num(d[:3])
		return n == 9 && area != 0 && area != 666 && area < 900 && num(d[3:5]) != 0 && num(d[5:9]) != 0 &&
			num(d[:9]) != 78051120 && num(d[:9]) != 219099999
	},
	ITIN: func(w []byte, _, _ int) bool {
		d, n := digits(w)
		g := num(d[3:5])
		return n == 9 && d[0] == 9 && (g >= 50 && g <= 65 || g >= 70 && g <= 88 || g >= 90 && g <= 92 || g >= 94 && g <= 99)
	},
	NANP: func(w []byte, _, _ int) bool {
		a, n := digits(w)
		d := a[:n]
		if n == 11 && d[0] == 1 {
			d = d[1:]
		}
		return len(d) == 10 && d[0] >= 2 && d[3] >= 2 && !(d[1] == 1 && d[2] == 1) && !(d[4] == 1 && d[5] == 1)
	},
	IPv4: checkIPv4,
	IPv6: checkIPv6,
	Entropy: func(w []byte, a, _ int) bool {
		return entropy(w) >= a
	},
	NHS: func(w []byte, _, _ int) bool {
		d, n := digits(w)
		if n != 10 {
			return false
		}
		c := (11 - weigh(d[:9], 10, 9, 8, 7, 6, 5, 4, 3, 2)%11) % 11
		return c == int(d[9])
	},
	NPI: func(w []byte, _, _ int) bool {
		d, n := digits(w)
		return n == 10 && (d[0] == 1 || d[0] == 2) && luhn(d[:10], 24)
	},
	ABA: func(w []byte, _, _ int) bool {
		d, n := digits(w)
		p := num(d[:2])
		return n == 9 && (p <= 12 && num(d[:9]) != 0 || p >= 21 && p <= 32 || p >= 61 && p <= 72 || p == 80) &&
			weigh(d[:9], 3, 7, 1, 3, 7, 1, 3, 7, 1)%10 == 0
	},
	DEA: func(w []byte, _, _ int) bool {
		d, n := digits(w)
		if n == 8 && len(w) == 9 { // the second character may be a 9
			copy(d[:], d[1:8])
			n = 7
		}
		return n == 7 && (int(d[0]+d[2]+d[4])+2*int(d[1]+d[3]+d[5]))%10 == int(d[6])
	},
	Verhoeff: func(w []byte, _, _ int) bool {
		d, n := digits(w)
		return n == 12 && d[0] >= 2 && verhoeff(d[:n])
	},
	CPF: func(w []byte, _, _ int) bool {
		d, n := digits(w)
		if n != 11 || same(d[:11]) {
			return false
		}
		c1 := weigh(d[:9], 10, 9, 8, 7, 6, 5, 4, 3, 2) * 10 % 11 % 10
		c2 := weigh(d[:10], 11, 10, 9, 8, 7, 6, 5, 4, 3, 2) * 10 % 11 % 10
		return c1 == int(d[9]) && c2 == int(d[10])
	},
	CNPJ: func(w []byte, _, _ int) bool {
		d, n := digits(w)
		if n != 14 || same(d[:14]) {
			return false
		}
		c1 := elevenDown(weigh(d[:12], 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2))
		c2 := elevenDown(weigh(d[:13], 6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2))
		return c1 == int(d[12]) && c2 == int(d[13])
	},
	DNI: func(w []byte, _, _ int) bool {
		d, n := digits(w)
		last := upper(w[len(w)-1])
		v := num(d[:n])
		switch upper(w[0]) {
		case 'X':
		case 'Y':
			v += 10000000
		case 'Z':
			v += 20000000
		default:
			if n != 8 {
				return false
			}
			return "TRWAGMYFPDXBNJZSQVHLCKE"[v%23] == last
		}
		return n == 7 && "TRWAGMYFPDXBNJZSQVHLCKE"[v%23] == last
	},
	TFN: func(w []byte, _, _ int) bool {
		d, n := digits(w)
		switch n {
		case 9:
			return !same(d[:9]) && weigh(d[:9], 1, 4, 3, 7, 5, 8, 6, 9, 10)%11 == 0
		case 8:
			return !same(d[:8]) && weigh(d[:8], 10, 7, 8, 4, 6, 3, 5, 1)%11 == 0
		}
		return false
	},
	ABN: func(w []byte, _, _ int) bool {
		d, n := digits(w)
		return n == 11 && d[0] > 0 && (weigh(d[:11], 10, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19)-10)%89 == 0
	},
	MedicareAU: func(w []byte, _, _ int) bool {
		d, n := digits(w)
		return (n == 10 || n == 11) && d[0] >= 2 && d[0] <= 6 && weigh(d[:8], 1, 3, 7, 9, 1, 3, 7, 9)%10 == int(d[8])
	},
	NIR: func(w []byte, _, _ int) bool { return nir(w) },
	PESEL: func(w []byte, _, _ int) bool {
		d, n := digits(w)
		return n == 11 && (10-weigh(d[:10], 1, 3, 7, 9, 1, 3, 7, 9, 1, 3)%10)%10 == int(d[10]) && peselDate(d[:])
	},
	NIP: func(w []byte, _, _ int) bool {
		d, n := digits(w)
		return n == 10 && !same(d[:10]) && weigh(d[:9], 6, 5, 7, 2, 3, 4, 5, 6, 7)%11 == int(d[9])
	},
	BSN: func(w []byte, _, _ int) bool {
		d, n := digits(w)
		return n == 9 && !same(d[:9]) && (weigh(d[:8], 9, 8, 7, 6, 5, 4, 3, 2)-int(d[8]))%11 == 0
	},
	SteuerID: func(w []byte, _, _ int) bool {
		d, n := digits(w)
		if n != 11 || d[0] == 0 {
			return false
		}
		p := 10
		for _, c := range d[:10] {
			s := (int(c) + p) % 10
			if s == 0 {
				s = 10
			}
			p = 2 * s % 11
		}
		return (11-p)%10 == int(d[10])
	},
	Codice: func(w []byte, _, _ int) bool { return codice(w) },
	NIF: func(w []byte, _, _ int) bool {
		d, n := digits(w)
		return n == 9 && d[0] > 0 && elevenDown(weigh(d[:8], 9, 8, 7, 6, 5, 4, 3, 2)) == int(d[8])
	},
	NationalBE: func(w []byte, _, _ int) bool {
		d, n := digits(w)
		v := num(d[:9])
		c := num(d[9:11])
		return n == 11 && num(d[2:4]) <= 12 && num(d[4:6]) <= 31 && (97-v%97 == c || 97-(v+2000000000)%97 == c)
	},
	FNR: func(w []byte, _, _ int) bool {
		d, n := digits(w)
		return n == 11 && num(d[:2])%40 >= 1 && num(d[:2])%40 <= 31 &&
			weigh(d[:10], 3, 7, 6, 1, 8, 9, 4, 5, 2, 1)%11 == 0 && weigh(d[:11], 5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1)%11 == 0
	},
	HETU: func(w []byte, _, _ int) bool {
		d, n := digits(w[:len(w)-1])
		return n == 9 && num(d[:2]) >= 1 && num(d[:2]) <= 31 && num(d[2:4]) >= 1 && num(d[2:4]) <= 12 &&
			"0123456789ABCDEFHJKLMNPRSTUVWXY"[num(d[:9])%31] == upper(w[len(w)-1])
	},
	AHV: func(w []byte, _, _ int) bool {
		d, n := digits(w)
		return n == 13 && num(d[:3]) == 756 && weigh(d[:13], 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1)%10 == 0
	},
	TCKimlik: func(w []byte, _, _ int) bool {
		d, n := digits(w)
		if n != 11 || d[0] == 0 {
			return false
		}
		odd := int(d[0]) + int(d[2]) + int(d[4]) + int(d[6]) + int(d[8])
		even := int(d[1]) + int(d[3]) + int(d[5]) + int(d[7])
		return (odd*7-even+100)%10 == int(d[9]) && (odd+even+int(d[9]))%10 == int(d[10])
	},
	CNID: func(w []byte, _, _ int) bool {
		d, n := digits(w[:len(w)-1])
		return n == 17 && num(d[10:12]) >= 1 && num(d[10:12]) <= 12 && num(d[12:14]) >= 1 && num(d[12:14]) <= 31 &&
			"10X98765432"[weigh(d[:17], 7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)%11] == upper(w[len(w)-1])
	},
	MyNumber: func(w []byte, _, _ int) bool {
		d, n := digits(w)
		return n == 12 && !same(d[:12]) && elevenDown(weigh(d[:11], 6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2)) == int(d[11])
	},
	RRN: func(w []byte, _, _ int) bool {
		d, n := digits(w)
		return n == 13 && num(d[2:4]) >= 1 && num(d[2:4]) <= 12 && num(d[4:6]) >= 1 && num(d[4:6]) <= 31 &&
			(11-weigh(d[:12], 2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5)%11)%10 == int(d[12])
	},
	NRIC: func(w []byte, _, _ int) bool {
		d, n := digits(w)
		if n != 7 || len(w) != 9 {
			return false
		}
		s := weigh(d[:7], 2, 7, 6, 5, 4, 3, 2)
		last := upper(w[8])
		switch upper(w[0]) {
		case 'S':
			return "JZIHGFEDCBA"[s%11] == last
		case 'T':
			return "JZIHGFEDCBA"[(s+4)%11] == last
		case 'F':
			return "XWUTRQPNMLK"[s%11] == last
		case 'G':
			return "XWUTRQPNMLK"[(s+4)%11] == last
		case 'M':
			return "XWUTRQPNJLK"[10-(s+3)%11] == last
		}
		return false
	},
	HKID:         func(w []byte, _, _ int) bool { return hkid(w) },
	Digits:       checkDigits,
	Personnummer: checkPersonnummer,
	KVNR:         checkKVNR,
	RVNR:         checkRVNR,
	SVNR:         checkSVNR,
	VATDE:        checkVATDE,
	ACN:          checkACN,
	CUIT:         checkCUIT,
	ICAO9303:     checkICAO9303,
	KRBRN:        checkKRBRN,
	Mailbox:      checkMailbox,
	E164:         checkE164,
	SecretLike:   checkSecretLike,
	TWID: func(w []byte, _, _ int) bool {
		d, n := digits(w)
		i := strings.IndexByte("ABCDEFGHJKLMNPQRSTUVXYWZIO", upper(w[0]))
		if i < 0 || n != 9 {
			return false
		}
		i += 10
		return (i/10+i%10*9+weigh(d[:9], 8, 7, 6, 5, 4, 3, 2, 1, 1))%10 == 0
	},
	IRD: func(w []byte, _, _ int) bool {
		a, n := digits(w)
		d := a[:n]
		if n == 8 {
			copy(a[1:], a[:8])
			a[0] = 0
			d = a[:9]
		}
		if len(d) != 9 || num(d) < 10000000 || num(d) > 150000000 {
			return false
		}
		c := (11 - weigh(d[:8], 3, 2, 7, 6, 5, 4, 3, 2)%11) % 11
		if c == 10 {
			c = (11 - weigh(d[:8], 7, 4, 3, 2, 5, 2, 7, 6)%11) % 11
		}
		return c == int(d[8])
	},
	NHI: func(w []byte, _, _ int) bool {
		if len(w) != 7 {
			return false
		}
		s := 0
		for i := range 6 {
			v := strings.IndexByte("ABCDEFGHJKLMNPQRSTUVWXYZ", upper(w[i])) + 1
			if i >= 3 {
				v = int(w[i]) - '0'
			}
			if v < 0 || i < 3 && v == 0 || i >= 3 && v > 9 {
				return false
			}
			s += v * (7 - i)
		}
		return s%11 != 0 && (11-s%11)%10 == int(w[6])-'0'
	},
	RUT: func(w []byte, _, _ int) bool {
		d, n := digits(w[:len(w)-1])
		if n < 7 || n > 8 {
			return false
		}
		s, m := 0, 2
		for i := n - 1; i >= 0; i-- {
			s += int(d[i]) * m
			if m++; m == 8 {
				m = 2
			}
		}
		return "0K987654321"[s%11] == upper(w[len(w)-1])
	},
	CURP: func(w []byte, _, _ int) bool {
		if len(w) != 18 {
			return false
		}
		s := 0
		for i := range 17 {
			v := strings.Index("0123456789ABCDEFGHIJKLMNÑOPQRSTUVWXYZ", string(rune(upper(w[i]))))
			if v < 0 {
				return false
			}
			if v > 24 { // Ñ is two bytes
				v--
			}
			s += v * (18 - i)
		}
		return (10-s%10)%10 == int(w[17])-'0'
	},
	CNP: func(w []byte, _, _ int) bool {
		d, n := digits(w)
		return n == 13 && d[0] > 0 && num(d[3:5]) >= 1 && num(d[3:5]) <= 12 && num(d[5:7]) >= 1 && num(d[5:7]) <= 31 &&
			weigh(d[:12], 2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9)%11%10+boolInt(weigh(d[:12], 2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9)%11 == 10) == int(d[12])
	},
	EGN: func(w []byte, _, _ int) bool {
		d, n := digits(w)
		m := num(d[2:4]) % 20
		return n == 10 && m >= 1 && m <= 12 && num(d[4:6]) >= 1 && num(d[4:6]) <= 31 &&
			weigh(d[:9], 2, 4, 8, 5, 10, 9, 7, 3, 6)%11%10 == int(d[9])
	},
	VIN:    func(w []byte, _, _ int) bool { return vin(w) },
	ISIN:   func(w []byte, _, _ int) bool { return isin(w) },
	CUSIP:  func(w []byte, _, _ int) bool { return cusip(w) },
	Base58: func(w []byte, _, _ int) bool { return base58(w) },
	JWT:    func(w []byte, _, _ int) bool { return jwt(w) },
	Mixed: func(w []byte, a, b int) bool {
		var digit, up, low bool
		for _, c := range w {
			digit = digit || c >= '0' && c <= '9'
			up = up || c >= 'A' && c <= 'Z'
			low = low || c >= 'a' && c <= 'z'
		}
		return (digit || b == 1) && (up && low || a == 0 && (up || low))
	},
}

// Validators lists the names that a Rule may use, sorted.
func Validators() []string {
	var s []string
	for n := range validators {
		s = append(s, n)
	}
	slices.Sort(s)
	return s
}

func (v Validator) check() string {
	if v.Name != "" && validators[v.Name] == nil {
		return fmt.Sprintf("has an unknown validator %q; known are %s", v.Name, strings.Join(Validators(), ", "))
	}
	return ""
}

func (v Validator) ok(w []byte) bool { return validators[v.Name](w, v.A, v.B) }

// OK applies the validator to a word; the zero Validator accepts all. Allocates: never. w: valid during the
// call only.
func (v Validator) OK(w []byte) bool { return v.Name == "" || len(w) > 0 && v.ok(w) }

func digits(w []byte) (d [64]byte, n int) {
	for _, c := range w {
		if c >= '0' && c <= '9' {
			if n == len(d) {
				return d, 0 // too many for any check
			}
			d[n] = c - '0'
			n++
		}
	}
	return d, n
}

func num(d []byte) int {
	v := 0
	for _, c := range d {
		v = v*10 + int(c)
	}
	return v
}

func weigh(d []byte, w ...int) int {
	s := 0
	for i, k := range w {
		s += k * int(d[i])
	}
	return s
}

func elevenDown(s int) int {
	if s%11 < 2 {
		return 0
	}
	return 11 - s%11
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func same(d []byte) bool {
	for _, c := range d {
		if c != d[0] {
			return false
		}
	}
	return true
}

func upper(c byte) byte {
	if c >= 'a' && c <= 'z' {
		c -= 32
	}
	return c
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		c += 32
	}
	return c
}

func luhn(d []byte, sum int) bool {
	for i := range d {
		v := int(d[len(d)-1-i])
		if i&1 == 1 {
			if v *= 2; v > 9 {
				v -= 9
			}
		}
		sum += v
	}
	return sum%10 == 0
}

// card knows the issuer ranges of the big brands (ISO/IEC 7812).
func card(w []byte) bool {
	a, n := digits(w)
	if n < 12 || n > 19 {
		return false
	}
	d := a[:n]
	p2, p3, p4 := num(d[:2]), num(d[:3]), num(d[:4])
	var ok bool
	switch {
	case d[0] == 4: // Visa
		ok = n == 13 || n == 16 || n == 18 || n == 19
	case p2 >= 51 && p2 <= 55, p4 >= 2221 && p4 <= 2720: // Mastercard
		ok = n == 16
	case p2 == 34 || p2 == 37: // American Express
		ok = n == 15
	case p3 >= 300 && p3 <= 305, p2 == 36, p2 == 38, p2 == 39: // Diners Club
		ok = n == 14 || n >= 16
	case p4 == 6011, p3 >= 644 && p3 <= 649, p2 == 65: // Discover
		ok = n >= 16
	case p4 >= 3528 && p4 <= 3589: // JCB
		ok = n >= 16
	case p2 == 62: // UnionPay
		ok = n >= 16
	case p2 == 50, p2 >= 56 && p2 <= 69: // Maestro and others
		ok = n >= 12
	}
	return ok && luhn(d, 0) && !same(d)
}

// ibanLengths: the IBAN registry, country and total length.
const ibanLengths = "AD24AE23AL28AT20AZ28BA20BE16BG22BH22BI27BR29BY28CH21CR22CY28CZ24DE22DJ27DK18DO28EE20EG29ES24FI18FK18FO18FR27GB22GE22GI23GL18GR27GT28HN28HR21HU28IE22IL23IQ23IS26IT27JO30KW30KZ20LB28LC32LI21LT20LU20LV21LY25MC27MD24ME22MK19MN20MR27MT31MU30NI28NL18NO15OM23PK24PL28PS29PT25QA29RO24RS22RU33SA24SC31SD18SE24SI19SK24SM27SO23ST25SV28TL23TN24TR26UA29VA22VG24XK20YE30"

var ibanLength = func() (n [26][26]uint8) {
	for l := ibanLengths; l != ""; l = l[4:] {
		n[l[0]-'A'][l[1]-'A'] = 10*(l[2]-'0') + l[3] - '0'
	}
	return n
}()

func isUpper(c byte) bool { return c >= 'A' && c <= 'Z' }

// ibanDigits is, by byte, what it stands for in a number that is read as ISO 13616 says, in which A is 10: its value, in
// that many digits. Other characters stand for nothing.
var ibanDigits = func() (d [256]struct{ value, digits, n uint8 }) {
	for c := range d {
		switch c := byte(c); {
		case c >= '0' && c <= '9':
			d[c].value, d[c].digits, d[c].n = c-'0', 1, 1
		case isUpper(upper(c)):
			d[c].value, d[c].digits, d[c].n = upper(c)-'A'+10, 2, 1
		}
	}
	return d
}()

// tens97 has the powers of ten modulo 97.
var tens97 = func() (p [128]uint8) {
	r := 1
	for k := range p {
		p[k], r = uint8(r), r*10%97
	}
	return p
}()

func iban(w []byte) bool {
	if len(w) < 4 || !isUpper(upper(w[0])) || !isUpper(upper(w[1])) {
		return false
	}
	want := int(ibanLength[upper(w[0])-'A'][upper(w[1])-'A'])
	if want == 0 || len(w) < want {
		return false // most words that look like one end here
	}
	if alnum(w) != want {
		return false // it has not come to its end, or is over it
	}
	front := 0 // country and check number go behind the rest
	for n := uint8(0); n < 4; front++ {
		n += ibanDigits[w[front]].n
	}
	sum, k := uint32(0), uint8(0) // from the last digit on: each is read without waiting for the others
	for _, p := range [2][]byte{w[:front], w[front:]} {
		for i := len(p) - 1; i >= 0; i-- {
			d := &ibanDigits[p[i]]
			sum += uint32(d.value) * uint32(tens97[k&127])
			k += d.digits
		}
	}
	return sum%97 == 1
}

// alnum is the number of ASCII letters and digits in w.
func alnum(w []byte) (n int) {
	const ones = 0x0101010101010101
	for ; len(w) >= 8; w = w[8:] {
		v := binary.LittleEndian.Uint64(w)
		low := v & (0x7F * ones) // so that no sum reaches the next byte
		digit := (low + (0x80-'0')*ones) &^ (low + (0x7F-'9')*ones)
		low |= 0x20 * ones
		letter := (low + (0x80-'a')*ones) &^ (low + (0x7F-'z')*ones)
		n += bits.OnesCount64((digit | letter) &^ v & (0x80 * ones))
	}
	for _, c := range w {
		n += int(ibanDigits[c].n)
	}
	return n
}

func ipv4(w []byte) bool {
	part, v, nd := 0, 0, 0
	for i := 0; i <= len(w); i++ {
		if i == len(w) || w[i] == '.' {
			if nd == 0 || v > 255 || nd > 1 && w[i-nd] == '0' {
				return false
			}
			part++
			v, nd = 0, 0
			continue
		}
		if w[i] < '0' || w[i] > '9' || nd == 3 {
			return false
		}
		v = v*10 + int(w[i]-'0')
		nd++
	}
	return part == 4
}

func ipv6(w []byte) bool {
	groups, nd := 0, 0
	double := false
	for i := 0; i < len(w); {
		c := w[i]
		switch {
		case c == ':':
			if i+1 < len(w) && w[i+1] == ':' {
				if double || i+2 < len(w) && w[i+2] == ':' {
					return false
				}
				double = true
				i += 2
				nd = 0
				continue
			}
			if nd == 0 || i+1 == len(w) {
				return false
			}
			nd = 0
			i++
		case c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f':
			if nd == 0 {
				groups++
				j := i
				for j < len(w) && w[j] != ':' {
					if w[j] == '.' {
						return ipv4(w[i:]) && (groups+1 == 8 && !double || double && groups+1 < 8)
					}
					j++
				}
			}
			if nd++; nd > 4 {
				return false
			}
			i++
		default:
			return false
		}
	}
	return groups == 8 && !double || double && groups < 8
}

// entropy is Shannon's, in thousandths of a bit per byte, in fixed point so that it is the same everywhere.
func entropy(w []byte) int {
	var y tally
	y.add(w)
	return y.entropy()
}

// tally counts the bytes of a word that grows.
type tally struct {
	n     int
	sum   uint64 // of c*log2(c) over the bytes that stand c times
	count [256]uint16
}

func (y *tally) add(p []byte) {
	for _, c := range p {
		k := uint64(y.count[c])
		y.count[c]++
		if k < uint64(len(moreOf)) {
			y.sum += uint64(moreOf[k])
		} else {
			y.sum += (k+1)*log2(k+1) - k*log2(k)
		}
	}
	y.n += len(p)
}

func (y *tally) entropy() int {
	if y.n == 0 {
		return 0
	}
	// H = log2(n) - sum(c*log2(c))/n
	h := int64(log2(uint64(y.n))) - int64(y.sum/uint64(y.n))
	return int(h * 1000 >> 20)
}

// log2 is the binary logarithm of x >= 1 with 20 fractional bits, the same on every machine.
func log2(x uint64) uint64 {
	if x < uint64(len(smallLogs)) {
		return uint64(smallLogs[x])
	}
	return slowLog2(x)
}

var smallLogs = func() (l [512]uint32) {
	for x := 1; x < len(l); x++ {
		l[x] = uint32(slowLog2(uint64(x)))
	}
	return l
}()

// moreOf is what a byte that stood k times adds to the sum of c*log2(c).
var moreOf = func() (l [511]uint32) {
	for k := range uint64(len(l)) {
		l[k] = uint32((k+1)*log2(k+1) - k*log2(k))
	}
	return l
}()

func slowLog2(x uint64) uint64 {
	e := uint64(bits.Len64(x) - 1)
	m := x << (31 - e) // 1.31 fixed point in [1,2)
	r := e << 20
	for b := uint64(1) << 19; b > 0; b >>= 1 {
		m = m * m >> 31
		if m >= 1<<32 {
			m >>= 1
			r |= b
		}
	}
	return r
}

var verhoeffD = [10][10]byte{{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, {1, 2, 3, 4, 0, 6, 7, 8, 9, 5}, {2, 3, 4, 0, 1, 7, 8, 9, 5, 6},
	{3, 4, 0, 1, 2, 8, 9, 5, 6, 7}, {4, 0, 1, 2, 3, 9, 5, 6, 7, 8}, {5, 9, 8, 7, 6, 0, 4, 3, 2, 1}, {6, 5, 9, 8, 7, 1, 0, 4, 3, 2},
	{7, 6, 5, 9, 8, 2, 1, 0, 4, 3}, {8, 7, 6, 5, 9, 3, 2, 1, 0, 4}, {9, 8, 7, 6, 5, 4, 3, 2, 1, 0}}

var verhoeffP = [8][10]byte{{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, {1, 5, 7, 6, 2, 8, 3, 0, 9, 4}, {5, 8, 0, 3, 7, 9, 6, 1, 4, 2},
	{8, 9, 1, 6, 0, 4, 3, 5, 2, 7}, {9, 4, 5, 3, 1, 2, 6, 8, 7, 0}, {4, 2, 8, 6, 5, 7, 3, 9, 0, 1}, {2, 7, 9, 3, 8, 0, 6, 4, 1, 5},
	{7, 0, 4, 6, 9, 1, 3, 2, 5, 8}}

func verhoeff(d []byte) bool {
	c := byte(0)
	for i := range d {
		c = verhoeffD[c][verhoeffP[i%8][d[len(d)-1-i]]]
	}
	return c == 0
}

func nir(w []byte) bool {
	var d [15]byte
	n, corsica := 0, byte(0)
	for _, c := range w {
		switch c = upper(c); {
		case c >= '0' && c <= '9':
		case (c == 'A' || c == 'B') && n == 6:
			corsica = c
			c = '0'
		default:
			continue
		}
		if n == len(d) {
			return false
		}
		d[n] = c - '0'
		n++
	}
	if n != 15 || d[0] == 0 {
		return false
	}
	v := num(d[:13])
	switch corsica {
	case 'A': // 2A counts as 19
		v -= 1 * 10000000
	case 'B': // 2B counts as 18
		v -= 2 * 10000000
	}
	return 97-v%97 == num(d[13:])
}

func peselDate(d []byte) bool {
	m, day := num(d[2:4])%20, num(d[4:6])
	return m >= 1 && m <= 12 && day >= 1 && day <= 31
}

func codice(w []byte) bool {
	const odd = "\x01\x00\x05\x07\x09\x0d\x0f\x11\x13\x15\x02\x04\x12\x14\x0b\x03\x06\x08\x0c\x0e\x10\x0a\x16\x19\x18\x17"
	if len(w) != 16 {
		return false
	}
	s := 0
	for i := range 15 {
		c := upper(w[i])
		v := 0
		switch {
		case c >= '0' && c <= '9':
			v = int(c - '0')
		case c >= 'A' && c <= 'Z':
			v = int(c - 'A')
		default:
			return false
		}
		if i%2 == 0 {
			v = int(odd[v])
		}
		s += v
	}
	return byte('A'+s%26) == upper(w[15])
}

func hkid(w []byte) bool {
	var d [9]byte
	n := 0
	for _, c := range w {
		c = upper(c)
		if c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' {
			if n == len(d) {
				return false
			}
			d[n] = c
			n++
		}
	}
	s, k := 0, n
	switch n {
	case 8:
		s = 36 * 9 // the missing first letter counts as a space
	case 9:
	default:
		return false
	}
	for _, c := range d[:n] {
		v := int(c) - '0'
		if c >= 'A' {
			v = int(c) - 'A' + 10
		}
		s += v * k
		k--
	}
	return s%11 == 0
}

func vin(w []byte) bool {
	const weights = "\x08\x07\x06\x05\x04\x03\x02\x0a\x00\x09\x08\x07\x06\x05\x04\x03\x02"
	if len(w) != 17 {
		return false
	}
	s, letter := 0, false
	for i, c := range w {
		c = upper(c)
		v := 0
		switch {
		case c >= '0' && c <= '9':
			v = int(c - '0')
		case c == 'I' || c == 'O' || c == 'Q' || c < 'A' || c > 'Z':
			return false
		default:
			v, letter = vinLetter(c), true
		}
		s += v * int(weights[i])
	}
	return letter && "0123456789X"[s%11] == upper(w[8])
}

func vinLetter(c byte) int {
	switch {
	case c <= 'H':
		return int(c-'A') + 1
	case c <= 'N':
		return int(c-'J') + 1
	case c == 'P':
		return 7
	case c == 'R':
		return 9
	}
	return int(c-'S') + 2
}

func isin(w []byte) bool {
	if len(w) != 12 {
		return false
	}
	var d [24]byte
	n := 0
	for _, c := range w {
		c = upper(c)
		switch {
		case c >= '0' && c <= '9':
			d[n] = c - '0'
			n++
		case c >= 'A' && c <= 'Z':
			v := c - 'A' + 10
			d[n], d[n+1] = v/10, v%10
			n += 2
		default:
			return false
		}
	}
	return luhn(d[:n], 0)
}

func cusip(w []byte) bool {
	if len(w) != 9 {
		return false
	}
	s := 0
	for i := range 8 {
		c := upper(w[i])
		v := 0
		switch {
		case c >= '0' && c <= '9':
			v = int(c - '0')
		case c >= 'A' && c <= 'Z':
			v = int(c-'A') + 10
		default:
			return false
		}
		if i%2 == 1 {
			v *= 2
		}
		s += v/10 + v%10
	}
	return (10-s%10)%10 == int(w[8])-'0'
}

func base58(w []byte) bool {
	const alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
	var out [25]byte
	if len(w) > 40 {
		return false
	}
	for _, c := range w {
		v := strings.IndexByte(alphabet, c)
		if v < 0 {
			return false
		}
		for i := len(out) - 1; i >= 0; i-- {
			v += 58 * int(out[i])
			out[i] = byte(v)
			v >>= 8
		}
		if v != 0 {
			return false
		}
	}
	h := sha256.Sum256(out[:21])
	h = sha256.Sum256(h[:])
	return [4]byte(h[:4]) == [4]byte(out[21:])
}

// jwt tells whether the word starts with the base64url of `{"` or `{ `.
func jwt(w []byte) bool {
	return len(w) > 4 && w[0] == 'e' && (w[1] == 'y' && (w[2] == 'J' || w[2] == 'A' || w[2] == 'I') || w[1] == 'w')
}
