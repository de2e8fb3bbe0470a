// Package nartest holds what tests share: small archives written by an encoder
// that has nothing in common with package nar, and Nix's own programs, run in a
// store of their own.
//
// Only tests import it.
package nartest
