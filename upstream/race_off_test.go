//go:build !race

package upstream_test

const shrink = 1
