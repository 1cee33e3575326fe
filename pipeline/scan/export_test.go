package scan

import (
	"fmt"
	"strings"
)

// Explain lists the sizes of the tables.
func Explain(t *Tables) string {
	var b strings.Builder
	for i := range t.groups {
		g := &t.groups[i]
		fmt.Fprintf(&b, "group %d view %d literal %v filter %d: %d states %d classes %d bytes; reverse %d states %d bytes; %d rules\n",
			i, g.view, g.literal, g.filter, len(g.live), g.ncls, 4*len(g.next), len(g.rnext)/max(1, int(g.rncls)), 4*len(g.rnext), len(g.rules))
		for _, r := range g.rules {
			fmt.Fprintf(&b, "\t%s %b\n", t.rules[r].id, t.rules[r].flags)
		}
	}
	for _, u := range t.bundle {
		fmt.Fprintf(&b, "bundle view %d: %d rules %d states %d classes %d bytes\n", u.view, len(u.rules), len(u.joint.info), u.joint.ncls, 2*len(u.joint.next))
	}
	n := 0
	for i := range t.anch {
		n += 2*len(t.anch[i].next) + 2*len(t.anch[i].info) + 256
	}
	fmt.Fprintf(&b, "anchored: %d, %d bytes; %d literals; lists %d bytes\n", len(t.anch), n, len(t.lits), 2*len(t.lists))
	return b.String()
}
