// Package nartest contains helpers for tests. It builds small archives with an encoder that shares no code with package
// nar, and runs Nix's own programs in a temporary store.
//
// Only tests import it.
package nartest
