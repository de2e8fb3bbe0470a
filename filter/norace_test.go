//go:build !race

package filter

const exhaustiveStep = 1
