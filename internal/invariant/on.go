//go:build invariants

package invariant

// Enabled tells that this build checks invariants and poisons pooled buffers.
const Enabled = true
