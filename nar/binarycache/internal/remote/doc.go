// Package remote is what the stores behind a network share: connections, retries, resumed downloads and conditional
// writes. A store adds a [Backend], which sends one request at a time.
//
// A server is not trusted. It can make a run fail, but nothing else: headers, error messages, redirects and retries are
// bounded, and a server that sends nothing is not waited for.
package remote
