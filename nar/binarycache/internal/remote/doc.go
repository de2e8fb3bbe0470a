// Package remote implements the common parts of stores on the network: connections, retries, resumed downloads and
// conditional writes. A store adds a [Backend], which sends single requests.
//
// Servers are not trusted. A server can only make a run fail: headers, error messages, redirects and retries are
// limited, and requests to a server that sends nothing time out.
package remote
