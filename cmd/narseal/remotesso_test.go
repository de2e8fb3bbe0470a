package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"narseal/nar/binarycache/cachetest"
)

const ssoPortal = "portal.sso.us-east-1.amazonaws.com"

// newPortal starts a server that takes itself for the portal of AWS, and returns it with a file that has its certificate.
func newPortal(t *testing.T, h http.HandlerFunc) (host, ca string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{ssoPortal}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(h)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	s.StartTLS()
	t.Cleanup(s.Close)
	ca = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o666); err != nil {
		t.Fatal(err)
	}
	return s.Listener.Addr().String(), ca
}

// A profile with SSO gets its keys from the portal, by the session that aws sso login has left, also after they expire. The
// portal is asked by way of the proxy, as the program would not find another one.
func TestRemoteSSO(t *testing.T) {
	objects, list := staleCache(t, 3)
	const account = "sso_account_id = 123\nsso_role_name = reader\n"
	for name, c := range map[string]struct {
		config  string
		session string        // that the cached token is of
		token   string        // that is cached
		left    time.Duration // for the token
		keys    time.Duration // how long the keys are good
		status  int
		want    string // in what is printed
	}{
		"session":         {"[profile dev]\n" + account + "sso_session = corp\n[sso-session corp]\nsso_region = us-east-1\nsso_start_url = https://x.awsapps.com/start\n", "corp", "hunter2token", time.Hour, time.Hour, 3, ""},
		"start URL":       {"[profile dev]\n" + account + "sso_region = us-east-1\nsso_start_url = https://x.awsapps.com/start\n", "https://x.awsapps.com/start", "hunter2token", time.Hour, time.Hour, 3, ""},
		"short keys":      {"[profile dev]\n" + account + "sso_region = us-east-1\nsso_start_url = https://x.awsapps.com/start\n", "https://x.awsapps.com/start", "hunter2token", time.Hour, time.Millisecond, 3, ""},
		"expired":         {"[profile dev]\n" + account + "sso_session = corp\n[sso-session corp]\nsso_region = us-east-1\n", "corp", "hunter2token", -time.Hour, time.Hour, 1, "aws sso login"},
		"refused":         {"[profile dev]\n" + account + "sso_session = corp\n[sso-session corp]\nsso_region = us-east-1\n", "corp", "hunter2other", time.Hour, time.Hour, 1, "401 Unauthorized"},
		"never logged in": {"[profile dev]\n" + account + "sso_session = corp\n[sso-session corp]\nsso_region = us-east-1\n", "other", "hunter2token", time.Hour, time.Hour, 1, "aws sso login"},
	} {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int64
			portal, ca := newPortal(t, func(w http.ResponseWriter, r *http.Request) {
				q := r.URL.Query()
				if r.Host != ssoPortal || r.URL.Path != "/federation/credentials" || q.Get("account_id") != "123" || q.Get("role_name") != "reader" {
					t.Errorf("asked for %s%s", r.Host, r.URL)
				}
				if token := r.Header.Get("x-amz-sso_bearer_token"); token != "hunter2token" {
					w.WriteHeader(http.StatusUnauthorized)
					fmt.Fprintf(w, "the session %s is not one", token)
					return
				}
				fmt.Fprintf(w, `{"roleCredentials": {"accessKeyId": "key%d", "secretAccessKey": "hunter2secret", "sessionToken": "hunter2session", "expiration": %d}}`,
					asked.Add(1), time.Now().Add(c.keys).UnixMilli())
			})
			var store cachetest.WebStore
			for name, content := range objects {
				store.Set("cache/"+name, content, nil)
			}
			s3 := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if !strings.Contains(r.Header.Get("Authorization"), "Credential=key") || r.Header.Get("X-Amz-Security-Token") != "hunter2session" {
					w.WriteHeader(http.StatusForbidden)
					io.WriteString(w, "<Error><Code>AccessDenied</Code></Error>")
					return
				}
				store.ServeHTTP(w, r)
			}))
			defer s3.Close()

			home := t.TempDir()
			cached := filepath.Join(home, ".aws", "sso", "cache", fmt.Sprintf("%x.json", sha1.Sum([]byte(c.session))))
			for file, text := range map[string]string{
				filepath.Join(home, ".aws", "config"): c.config,
				cached:                                fmt.Sprintf(`{"accessToken": %q, "expiresAt": %q, "region": "us-east-1"}`, c.token, time.Now().Add(c.left).UTC().Format(time.RFC3339)),
			} {
				if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			proxy := newForwardProxy(t, portal)
			env := []string{"HTTPS_PROXY=" + proxy.url("hunter2"), "AWS_CA_BUNDLE=" + ca, "HOME=" + home, "AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY="}
			status, out := withEnv(t, env, list, "cache", "verify", "--paths", "-", "s3://cache?profile=dev&addressing-style=path&endpoint="+s3.URL)
			if status != c.status || !strings.Contains(out, c.want) || strings.Contains(out, "hunter2") {
				t.Errorf("status %d\n%s", status, out)
			}
			if n := asked.Load(); c.status == 3 && n == 0 || c.keys < time.Minute && n < 2 {
				t.Errorf("the portal has given keys %d times", n)
			}
		})
	}
}
