// Package remote is what the stores behind a network share: connections, retries, reading that goes on where it broke
// off, and writing under conditions. A store adds a [Backend], which sends one request at a time.
//
// A server is not trusted. It can make a run fail, and no more: headers, error messages and redirects are bounded, so is
// the number of tries, and nothing waits for a server that sends no byte.
package remote
