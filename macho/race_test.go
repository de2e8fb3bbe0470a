//go:build race

package macho

const raceEnabled = true
