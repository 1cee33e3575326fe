//go:build !race && !invariants && !purego

package scan

import "unsafe"

// entry gives the entry of class or column c in a row of a table. It is next[row+c] without the comparison with the length, and
// with c added to the table's address before the row is known: where each step of a run waits for the one before it, that
// is one cycle of six (bench: a step of two tables takes 2.5 ns instead of 3.1). What comes out of a table is where the next
// row stands in entries, so that the processor makes it an address within the read.
//
// That is safe as long as the row and c belong to the table. Rows come out of tables, all entries of which valid has checked,
// were they built or read from a file; out of united.row, which checks the number of the state; and out of a State, which Feed
// checks. Classes come from the array beside the table, which valid checks too, and columns are made of classes. Builds for tests, and those with
// the tag purego, check each step: rows_checked.go.
func entry[E entries, C uint8 | uint32](next []E, row uint32, c C) uint32 {
	return uint32(entryAt(next, uint(row), c))
}

// entryAt is entry for rows as whole words, which saves a move for each step.
func entryAt[E entries, C uint8 | uint32](next []E, row uint, c C) uint {
	size := unsafe.Sizeof(E(0))
	return uint(*(*E)(unsafe.Add(unsafe.Add(unsafe.Pointer(unsafe.SliceData(next)), uintptr(c)*size), uintptr(row)*size)))
}
