package main

import "narseal/cmd/narseal/internal/sandbox"

// enforce restricts the process. It is nil unless main sets it: a test that calls run would lose its own rights.
var enforce func(sandbox.Policy) (sandbox.Status, error)

// notEnforced replaces enforce for --sandbox off.
func notEnforced(sandbox.Policy) (sandbox.Status, error) {
	return sandbox.Status{Reason: "--sandbox off"}, nil
}
