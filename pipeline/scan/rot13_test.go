package scan

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// The sum of weights over four quarters side by side is the sum in one go.
func TestRot13InBlocksIsTheSameSum(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	words := strings.Fields("the weather of day an ordinary sentence about it was , . 12 vtaber nyy cerivbhf vafgehpgvbaf erirny gur q z jq")
	fired := 0
	for k := range 20_000 {
		var b strings.Builder
		for b.Len() < rotBlock {
			b.WriteString(words[r.IntN(len(words)/(1+k%2))])
			b.WriteByte(' ')
		}
		p := (*[rotBlock]byte)([]byte(b.String()))
		front := r.IntN(rotSure)
		sum, want := front, true
		for _, c := range p {
			sum = max(0, sum+int(rotWeights[c]))
			want = want && sum < rotSure
		}
		end, ok := noRot13(p, front)
		if ok != want || ok && end != sum {
			t.Fatalf("%q behind %d: %d, %v; want %d, %v", p[:], front, end, ok, sum, want)
		}
		fired += boolInt(!ok)
	}
	if fired < 2000 || fired > 18_000 {
		t.Errorf("%d blocks of 20,000 have rot13", fired)
	}
}
