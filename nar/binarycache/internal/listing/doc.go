// Package listing rewrites the listings that lie beside narinfos, HASH.ls.
package listing
