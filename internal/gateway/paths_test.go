package gateway

import (
	"slices"
	"testing"

	"github.com/keeptrusts/kt/internal/config"
)

// TestLintKnowsThePaths: what lint says of conditions on paths is true of this
// gateway.
func TestLintKnowsThePaths(t *testing.T) {
	var post []string
	for p, m := range methods {
		if m == "POST" {
			post = append(post, p)
		}
	}
	slices.Sort(post)
	if want := config.DefaultBuilt().Paths; !slices.Equal(post, want) {
		t.Errorf("the gateway takes requests at %v, lint says %v", post, want)
	}
	known := append(config.OtherPaths(), "/v1/chat/completions/")
	if !slices.Equal(known, unbuilt) {
		t.Errorf("the gateway answers with 501 at\n%v, lint says\n%v", unbuilt, known)
	}
}
