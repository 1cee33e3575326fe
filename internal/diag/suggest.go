package diag

import (
	"slices"
	"strings"
)

// Nearest gives the known word closest to word, or "" when none is close
// enough to be meant. Case, '-' and '_' do not count as differences.
func Nearest(word string, known []string) string {
	const maxWord = 64 // longer words are not typing errors; keeps hostile input cheap
	w := foldWord(word)
	if w == "" || len(w) > maxWord {
		return ""
	}
	best, bestDist := "", 1+max(1, len(w)/3)
	sorted := slices.Clone(known)
	slices.Sort(sorted)
	for _, k := range sorted {
		f := foldWord(k)
		if len(f) > maxWord {
			continue
		}
		if d := distance(w, f, bestDist); d < bestDist && d < max(len(w), len(f)) { // something is the same
			best, bestDist = k, d
		}
	}
	if best == "" && len(w) >= 4 {
		// a word that was cut short or carries an addition
		for _, k := range sorted {
			f := foldWord(k)
			if len(f) >= 4 && (strings.HasPrefix(f, w) || strings.HasPrefix(w, f)) {
				return k
			}
		}
	}
	return best
}

func foldWord(s string) string {
	return strings.ReplaceAll(strings.ToLower(s), "-", "_")
}

// distance counts insertions, deletions, substitutions and swaps of two
// neighbours (optimal string alignment); it may stop early at limit.
func distance(a, b string, limit int) int {
	if d := len(a) - len(b); d >= limit || -d >= limit {
		return limit
	}
	prev2, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], prev2[j-2]+1)
			}
		}
		prev2, prev, cur = prev, cur, prev2
	}
	return prev[len(b)]
}
