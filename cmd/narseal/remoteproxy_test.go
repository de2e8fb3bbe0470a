package main

import (
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"narseal/nar/binarycache/cachetest"
)

// A forwardProxy takes every request to its server, whatever host it is for, if it comes with the user name and password.
type forwardProxy struct {
	*httptest.Server
	server string

	mu   sync.Mutex
	seen []string // methods and hosts
}

func newForwardProxy(t *testing.T, server string) *forwardProxy {
	p := &forwardProxy{server: server}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

// url is the proxy's URL with a password.
func (p *forwardProxy) url(password string) string {
	return strings.Replace(p.URL, "http://", "http://user:"+password+"@", 1)
}

func (p *forwardProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if (&http.Request{Header: http.Header{"Authorization": r.Header["Proxy-Authorization"]}}).Header.Get("Authorization") != "Basic dXNlcjpodW50ZXIy" {
		w.Header().Set("Proxy-Authenticate", "Basic")
		w.WriteHeader(http.StatusProxyAuthRequired)
		return
	}
	p.mu.Lock()
	p.seen = append(p.seen, r.Method+" "+r.Host)
	p.mu.Unlock()
	if r.Method != http.MethodConnect {
		out := r.Clone(r.Context())
		out.URL.Host, out.RequestURI = p.server, ""
		resp, err := http.DefaultTransport.RoundTrip(out)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer resp.Body.Close()
		for k, v := range resp.Header {
			w.Header()[k] = v
		}
		w.WriteHeader(resp.StatusCode)
		io.Copy(w, resp.Body)
		return
	}
	to, err := net.Dial("tcp", p.server)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer to.Close()
	w.WriteHeader(http.StatusOK)
	from, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer from.Close()
	go func() {
		io.Copy(to, buffered)
		to.(*net.TCPConn).CloseWrite()
	}()
	io.Copy(from, to)
}

// hosts are the requests so far, each once.
func (p *forwardProxy) hosts() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []string
	for _, s := range p.seen {
		if !strings.Contains(strings.Join(all, ","), s) {
			all = append(all, s)
		}
	}
	return strings.Join(all, ",")
}

// withEnv runs narseal in a process of its own: the proxies are read from the environment once.
func withEnv(t *testing.T, env []string, stdin string, args ...string) (status int, output string) {
	t.Helper()
	cmd := exec.Command("narseal", args...)
	cmd.Env = append(os.Environ(), "HTTP_PROXY=", "http_proxy=", "HTTPS_PROXY=", "https_proxy=", "NO_PROXY=", "no_proxy=",
		"NIX_SSL_CERT_FILE=", "CURL_CA_BUNDLE=", "SSL_CERT_FILE=", "AWS_CA_BUNDLE=",
		"AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=testsecret", "HOME="+t.TempDir())
	cmd.Env = append(cmd.Env, env...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if _, ok := err.(*exec.ExitError); err != nil && !ok {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// Caches are read and written by way of the proxies that the environment names, with the certificates that it names. No
// password of a proxy is printed.
func TestRemoteProxies(t *testing.T) {
	objects, list := staleCache(t, 3)
	for name, c := range map[string]struct {
		url     string // the certificate of httptest is of example.com; nothing here leads to the real one
		prefix  string // of the objects
		proxy   string // the variable
		ca      string // the variable
		command string
		status  int
		want    string // requests
	}{
		"http":       {"http://example.com", "", "HTTP_PROXY", "", "repair", 0, "GET example.com,HEAD example.com,PUT example.com,DELETE example.com"},
		"https":      {"https://example.com", "", "HTTPS_PROXY", "NIX_SSL_CERT_FILE", "repair", 0, "CONNECT example.com:443"},
		"lower case": {"https://example.com", "", "https_proxy", "SSL_CERT_FILE", "verify", 3, "CONNECT example.com:443"},
		"s3":         {"s3://cache?addressing-style=path&endpoint=https://example.com", "cache/", "HTTPS_PROXY", "AWS_CA_BUNDLE", "verify", 3, "CONNECT example.com:443"},
	} {
		t.Run(name, func(t *testing.T) {
			var store cachetest.WebStore
			for name, content := range objects {
				store.Set(c.prefix+name, content, nil)
			}
			server := httptest.NewUnstartedServer(&store)
			defer server.Close()
			var env []string
			if c.ca == "" {
				server.Start()
			} else {
				server.StartTLS()
				ca := filepath.Join(t.TempDir(), "ca.pem")
				b := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
				if err := os.WriteFile(ca, b, 0o666); err != nil {
					t.Fatal(err)
				}
				env = append(env, c.ca+"="+ca)
			}
			proxy := newForwardProxy(t, server.Listener.Addr().String())
			args := []string{"cache", c.command, "--paths", "-", c.url}
			status, out := withEnv(t, append(env, c.proxy+"="+proxy.url("hunter2")), list, args...)
			if status != c.status || strings.Contains(out, "hunter") {
				t.Errorf("status %d\n%s", status, out)
			}
			for _, w := range strings.Split(c.want, ",") {
				if !strings.Contains(proxy.hosts(), w) {
					t.Errorf("the proxy has seen %s, want %s", proxy.hosts(), w)
				}
			}

			status, out = withEnv(t, append(env, c.proxy+"="+proxy.url("hunter3")), list, args...)
			if status != 1 || strings.Contains(out, "hunter") || !strings.Contains(out, "407 Proxy Authentication Required") || !strings.Contains(out, "the proxy wants") {
				t.Errorf("wrong password: status %d\n%s", status, out)
			}
			status, out = withEnv(t, append(env, c.proxy+"=http://user:hunter2@127.0.0.1:1"), list, args...)
			if status != 1 || strings.Contains(out, "hunter") || !strings.Contains(out, "is it right, and is it running") {
				t.Errorf("no proxy: status %d\n%s", status, out)
			}
			status, out = withEnv(t, append(env, c.proxy+"=http://user:hunter2@%zz"), list, args...)
			if status != 1 || strings.Contains(out, "hunter") || !strings.Contains(out, "HTTPS_PROXY") {
				t.Errorf("not a URL: status %d\n%s", status, out)
			}
		})
	}
}

// NO_PROXY excepts hosts. Those of the loopback are always excepted, so this takes another address of the machine.
func TestRemoteNoProxy(t *testing.T) {
	objects, list := staleCache(t, 1)
	var s cachetest.WebStore
	for name, content := range objects {
		s.Set(name, content, nil)
	}
	listener, err := net.Listen("tcp4", ":0")
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(&s)
	server.Listener.Close()
	server.Listener = listener
	server.Start()
	defer server.Close()
	host := ""
	addrs, _ := net.InterfaceAddrs()
	for _, a := range addrs {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.To4() != nil && !ip.IP.IsLoopback() {
			host = ip.IP.String()
		}
	}
	if host == "" {
		t.Skip("the machine has no address but the loopback's")
	}
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	for except, want := range map[string]bool{"": true, "other.example.org": true, host: false, "*": false} {
		proxy := newForwardProxy(t, "127.0.0.1:"+port)
		env := []string{"HTTP_PROXY=" + proxy.url("hunter2"), "NO_PROXY=" + except}
		status, out := withEnv(t, env, list, "cache", "verify", "--paths", "-", "http://"+net.JoinHostPort(host, port))
		if status != 3 || (proxy.hosts() != "") != want {
			t.Errorf("NO_PROXY=%s: status %d, the proxy has seen %q\n%s", except, status, proxy.hosts(), out)
		}
	}
}
