//go:build race

package rulestest

// ExhaustiveStep thins exhaustive loops out under the race detector, which finds nothing in them and makes them ten
// times slower. Without it they are complete.
const ExhaustiveStep = 7
