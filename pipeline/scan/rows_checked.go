//go:build race || invariants || purego

package scan

// entry gives the entry of class c in a row of a table.
func entry(next []uint32, row uint32, c uint8) uint32 { return next[row+uint32(c)] }

// entryAt is entry for rows as whole words.
func entryAt(next []uint32, row uint, c uint8) uint { return uint(next[row+uint(c)]) }
