//go:build race

package rulestest

// ExhaustiveStep is the step of exhaustive loops in tests. It is large under the race detector, which finds nothing in
// these loops and makes them ten times slower.
const ExhaustiveStep = 7
