//go:build !race

package rulestest

// ExhaustiveStep is the step of exhaustive loops in tests.
const ExhaustiveStep = 1
