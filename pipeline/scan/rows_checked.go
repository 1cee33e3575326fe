//go:build race || invariants || purego

package scan

// entry gives the entry of class or column c in a row of a table.
func entry[E entries, C uint8 | uint32](next []E, row uint32, c C) uint32 {
	return uint32(next[row+uint32(c)])
}

// entryAt is entry for rows as whole words.
func entryAt[E entries, C uint8 | uint32](next []E, row uint, c C) uint {
	return uint(next[row+uint(c)])
}
