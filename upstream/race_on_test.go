//go:build race

package upstream_test

// shrink divides the size of long simulations: the race detector makes them about eight times slower.
const shrink = 5
