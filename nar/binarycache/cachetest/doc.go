// Package cachetest contains helpers for tests of binary caches: caches in directories, written without Nix; a store in
// memory; and the test that every [binarycache.Store] must pass. It is for tests only.
package cachetest
