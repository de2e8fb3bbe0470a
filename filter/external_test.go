package filter

// ExhaustiveStep is for the tests outside the package.
const ExhaustiveStep = exhaustiveStep
