package lexical_test

import (
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/keeptrusts/kt/pipeline"
	"github.com/keeptrusts/kt/pipeline/kindtest"
)

// What the kinds' pages say under "What it misses", and what they do find.
func TestWhatThePagesSayOfTerms(t *testing.T) {
	ch := kindtest.Chain(t, "policies:\n  chain: [dlp-filter]\npolicy:\n  dlp-filter: {blocked_terms: [Zorblax, red fox], detect_patterns: ['EMP-\\d{4}'], action: block}\n")
	for text, want := range map[string]string{
		"the zorblax":                            "block",
		"ZORBLAX, now":                           "block",
		"z\u200borbl\u0430x":                     "block", // an invisible character, a Cyrillic letter
		"red\n fox":                              "block",
		"red" + strings.Repeat(" ", 256) + "fox": "block",
		"red" + strings.Repeat(" ", 257) + "fox": "allow",
		"pay-zorblax-now":                        "block",
		"EMP-1234":                               "block",
		"EMP-\uff11\uff12\uff13\uff14":           "allow", // own patterns are read as written
		"Zorblaxes":                              "allow",
		"pay_zorblax_now":                        "allow",
		"Z0rbl4x":                                "allow",
		"Z.o.r.b.l.a.x":                          "allow",
		"Z_o_r_b_l_a_x":                          "allow",
		base64.StdEncoding.EncodeToString([]byte("the zorblax is here")): "allow",
		hex.EncodeToString([]byte("the zorblax is here")):                "allow",
		"%7a%6f%72%62%6c%61%78":                                          "allow",
		"&#122;&#111;&#114;&#98;&#108;&#97;&#120;":                       "allow",
	} {
		o := kindtest.Piece(t, ch, pipeline.InputText, kindtest.Everything, []byte(text), nil)
		if got, _, _ := strings.Cut(o.Decision, " "); got != want {
			t.Errorf("%q is %s, want %s", text, got, want)
		}
	}
}
