// Package cachetest has what tests of binary caches share: caches in directories, written without Nix; a store in
// memory; and the test that every [binarycache.Store] must pass. It is for tests only.
package cachetest
