//go:build race

package scan

// raceOn: under the race detector pools drop what is put into them.
const raceOn = true
