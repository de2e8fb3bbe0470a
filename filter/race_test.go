//go:build race

package filter

// exhaustiveStep thins the exhaustive loops under the race detector, which
// has nothing to find in them and makes them ten times slower. They run whole
// without it.
const exhaustiveStep = 7
