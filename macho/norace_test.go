//go:build !race

package macho

const raceEnabled = false
