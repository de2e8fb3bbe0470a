// Package listing rewrites HASH.ls, the listings beside narinfos.
package listing
