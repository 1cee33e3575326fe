package lexical_test

import (
	"testing"

	"github.com/keeptrusts/kt/pipeline/kind/lexical"
	"github.com/keeptrusts/kt/pipeline/kindtest"
)

// The texts of an ordinary day in each kind's domain pass, and those that it is there for are found.
func TestEverydayTextsAreDecidedAsTheyAreMarked(t *testing.T) {
	for _, k := range lexical.Kinds() {
		t.Run(k.Name(), func(t *testing.T) { kindtest.Texts(t, k.Name(), "testdata/"+k.Name()+".texts") })
	}
}
