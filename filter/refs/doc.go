// Package refs finds the store paths that archives and files refer to.
//
// A Scanner searches contents, symlink targets and entry names for store paths, and for the hash parts of given ones.
// With Unpack options it also searches compressed files, zip archives and tar archives, including nested ones.
package refs
