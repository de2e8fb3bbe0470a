package s3store_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"narseal/nar/binarycache/s3store"
)

// noCredentials takes away everything by which the environment gives credentials, and returns the home directory.
func noCredentials(t *testing.T) string {
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "")
		}
	}
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	home := t.TempDir()
	t.Setenv("HOME", home)
	return home
}

// A signedBy is a server that notes by which key and session a request is signed.
type signedBy struct {
	*httptest.Server
	last atomic.Value
}

func newSignedBy(t *testing.T) *signedBy {
	s := &signedBy{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, key, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
		key, _, _ = strings.Cut(key, "/")
		s.last.Store(strings.Trim(key+" "+r.Header.Get("X-Amz-Security-Token"), " "))
		w.Header().Set("ETag", `"a"`)
		w.Header().Set("Last-Modified", "Mon, 02 Jan 2006 15:04:05 GMT")
		io.WriteString(w, "x")
	}))
	t.Cleanup(s.Close)
	return s
}

// read reads an object, and returns the key and the session of the request.
func (s *signedBy) read(t *testing.T, store *s3store.Store) (string, error) {
	r, _, err := store.Open(t.Context(), "x")
	if err != nil {
		return "", err
	}
	return s.last.Load().(string), r.Close()
}

func (s *signedBy) store(t *testing.T) *s3store.Store {
	store, err := s3store.New("s3://cache?endpoint="+s.URL, s3store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// service starts a service that gives credentials, which is on the loopback as that of a container may be.
func service(t *testing.T, f http.HandlerFunc) string {
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	return server.URL
}

func credentialsJSON(n int64, expires time.Duration) string {
	return fmt.Sprintf(`{"Code": "Success", "AccessKeyId": "key%d", "SecretAccessKey": "hunter2", "Token": "session%[1]d", "Expiration": %q}`,
		n, time.Now().Add(expires).UTC().Format(time.RFC3339))
}

// Without any source, requests are anonymous.
func TestAnonymous(t *testing.T) {
	noCredentials(t)
	s := newSignedBy(t)
	if got, err := s.read(t, s.store(t)); got != "" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

// A container has a service that gives credentials for a token, in the environment or in a file.
func TestContainerCredentials(t *testing.T) {
	home := noCredentials(t)
	url := service(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/creds" || r.Header.Get("Authorization") != "token" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		io.WriteString(w, credentialsJSON(1, time.Hour))
	})
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url+"/creds")
	s := newSignedBy(t)
	if _, err := s.read(t, s.store(t)); err == nil || !strings.Contains(err.Error(), "container: 403") {
		t.Errorf("without a token: %v", err)
	}
	t.Run("token", func(t *testing.T) {
		t.Setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "token")
		if got, err := s.read(t, s.store(t)); got != "key1 session1" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
	})
	t.Run("token file", func(t *testing.T) {
		t.Setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", writeFile(t, home, "token", "token"))
		if got, err := s.read(t, s.store(t)); got != "key1 session1" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
	})
}

// Credentials that expire are got again, and those of a service that no longer answers are an error, and not anonymous.
func TestExpiringCredentials(t *testing.T) {
	noCredentials(t)
	var n atomic.Int64
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", service(t, func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) > 2 {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		io.WriteString(w, credentialsJSON(n.Load(), -time.Second))
	}))
	s := newSignedBy(t)
	store := s.store(t)
	for i := range 2 {
		if got, err := s.read(t, store); got != fmt.Sprintf("key%d session%[1]d", i+1) || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
	}
	if got, err := s.read(t, store); err == nil || !strings.Contains(err.Error(), "new credentials") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %q, %v", got, err)
	}
}

// A web identity, as of a Kubernetes service account, is exchanged for credentials.
func TestWebIdentity(t *testing.T) {
	home := noCredentials(t)
	t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", writeFile(t, home, "identity", "identity-token"))
	t.Setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/cache")
	t.Setenv("AWS_ENDPOINT_URL_STS", service(t, func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("Action") != "AssumeRoleWithWebIdentity" || r.FormValue("RoleArn") != "arn:aws:iam::1:role/cache" ||
			r.FormValue("WebIdentityToken") != "identity-token" || r.Method != http.MethodPost {
			w.WriteHeader(http.StatusForbidden)
			io.WriteString(w, `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Code>AccessDenied</Code><Message>not this one</Message></Error></ErrorResponse>`)
			return
		}
		fmt.Fprintf(w, `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult>
<Credentials><AccessKeyId>key</AccessKeyId><SecretAccessKey>hunter2</SecretAccessKey><SessionToken>session</SessionToken>
<Expiration>%s</Expiration></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	}))
	s := newSignedBy(t)
	if got, err := s.read(t, s.store(t)); got != "key session" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	t.Setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/other")
	if _, err := s.read(t, s.store(t)); err == nil || !strings.Contains(err.Error(), "web identity: not this one") {
		t.Errorf("refused: %v", err)
	}
	t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", filepath.Join(home, "none"))
	if _, err := s.read(t, s.store(t)); err == nil || !strings.Contains(err.Error(), "web identity: open") {
		t.Errorf("no token: %v", err)
	}
}

// An instance has a service that gives the credentials of its role, for a token that it gives itself.
func TestInstanceCredentials(t *testing.T) {
	noCredentials(t)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "")
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", service(t, func(w http.ResponseWriter, r *http.Request) {
		const roles = "/latest/meta-data/iam/security-credentials/"
		switch {
		case r.Method == http.MethodPut && r.URL.Path == "/latest/api/token" && r.Header.Get("X-aws-ec2-metadata-token-ttl-seconds") != "":
			io.WriteString(w, "token")
		case r.Header.Get("X-aws-ec2-metadata-token") != "token":
			w.WriteHeader(http.StatusUnauthorized)
		case r.URL.Path == roles:
			io.WriteString(w, "role")
		case r.URL.Path == roles+"role":
			io.WriteString(w, credentialsJSON(1, time.Hour))
		default:
			http.NotFound(w, r)
		}
	})+"/")
	s := newSignedBy(t)
	if got, err := s.read(t, s.store(t)); got != "key1 session1" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

// What a service sends does not end: that is an error, and takes no memory.
func TestEndlessCredentials(t *testing.T) {
	noCredentials(t)
	var sent atomic.Int64
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", service(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `{"Token": "`)
		for b := make([]byte, 1<<20); sent.Add(1<<20) < 1<<28; {
			if _, err := w.Write(append(b[:0], strings.Repeat("x", 1<<20)...)); err != nil {
				return
			}
		}
	}))
	s := newSignedBy(t)
	if _, err := s.read(t, s.store(t)); err == nil || !strings.Contains(err.Error(), "does not end") || sent.Load() >= 1<<28 {
		t.Errorf("%d bytes were sent, %v", sent.Load(), err)
	}
}

// A profile that is set up and gives nothing is an error, also the default one: nobody is anonymous by mistake. The error
// of SSO says what to run.
func TestProfilesThatFail(t *testing.T) {
	const sso = "sso_account_id = 1\nsso_role_name = reader\n"
	for name, c := range map[string]struct{ profile, want string }{
		"session":             {sso + "sso_session = corp\n[sso-session corp]\nsso_region = us-east-1\nsso_start_url = https://example.org\n", "aws sso login"},
		"session without URL": {sso + "sso_session = corp\n", "aws sso login"},
		"start URL":           {sso + "sso_region = us-east-1\nsso_start_url = https://example.org\n", "aws sso login"},
		"no role":             {"sso_session = corp\n", "sso_role_name"},
		"no program":          {"credential_process = /none/program --json\n", "/none/program"},
		"program fails":       {"credential_process = /bin/sh -c false\n", "exit status"},
	} {
		for _, profile := range []string{"default", "dev"} {
			t.Run(name+", "+profile, func(t *testing.T) {
				home := noCredentials(t)
				header := "[default]\n"
				if profile != "default" {
					header = "[profile " + profile + "]\n"
					t.Setenv("AWS_PROFILE", profile)
				}
				t.Setenv("AWS_CONFIG_FILE", writeFile(t, home, "config", header+c.profile))
				s := newSignedBy(t)
				if _, err := s.read(t, s.store(t)); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "profile "+profile) {
					t.Errorf("got %v, want %q", err, c.want)
				}
			})
		}
	}
}

// A service that gives credentials and repeats a token, or sends it elsewhere, does not get it shown or handed on.
func TestServicesThatLeak(t *testing.T) {
	var stolen atomic.Int64
	thief := service(t, func(w http.ResponseWriter, r *http.Request) {
		stolen.Add(1)
		io.WriteString(w, credentialsJSON(1, time.Hour))
	})
	for name, answer := range map[string]func(w http.ResponseWriter, token string){
		"error": func(w http.ResponseWriter, token string) {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprintf(w, `<ErrorResponse><Error><Code>x</Code><Message>bad token %s</Message></Error></ErrorResponse>`, token)
		},
		"no XML": func(w http.ResponseWriter, token string) { fmt.Fprintf(w, "<%s></x>", token) },
		"text": func(w http.ResponseWriter, token string) {
			w.WriteHeader(http.StatusForbidden)
			io.WriteString(w, "bad token "+token)
		},
		"long": func(w http.ResponseWriter, token string) {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprintf(w, `<ErrorResponse><Error><Code>x</Code><Message>%s</Message></Error></ErrorResponse>`, strings.Repeat(token+"\u202e", 10000))
		},
		"redirect": func(w http.ResponseWriter, _ string) {
			w.Header().Set("Location", thief+"/steal")
			w.WriteHeader(http.StatusTemporaryRedirect)
		},
	} {
		for _, kind := range []string{"web identity", "container", "container, by a file"} {
			t.Run(name+", "+kind, func(t *testing.T) {
				home := noCredentials(t)
				url := service(t, func(w http.ResponseWriter, r *http.Request) {
					token := r.FormValue("WebIdentityToken")
					if token == "" {
						token = r.Header.Get("Authorization")
					}
					answer(w, token)
				})
				switch kind {
				case "web identity":
					t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", writeFile(t, home, "identity", "hunter2.token\n"))
					t.Setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/cache")
					t.Setenv("AWS_ENDPOINT_URL_STS", url)
				case "container":
					t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)
					t.Setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "Bearer hunter2.token")
				default:
					t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)
					t.Setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", writeFile(t, home, "token", "hunter2.token"))
				}
				s := newSignedBy(t)
				_, err := s.read(t, s.store(t))
				if err == nil || strings.Contains(err.Error(), "hunter2") || len(err.Error()) > 1000 || strings.Contains(err.Error(), "\u202e") {
					t.Errorf("got %.2000v", err)
				}
				if stolen.Load() > 0 {
					t.Error("it was handed on")
				}
			})
		}
	}
}
