//go:build !linux

package spill

func hugePages([]byte) {}
