package s3store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"

	"narseal/nar/binarycache/internal/remote"
)

// instanceTimeout limits the time for a response of the metadata service of an EC2 instance. On other machines, there
// is no such service.
const instanceTimeout = 2 * time.Second

// A provider finds credentials like the AWS tools. If the URL names a profile, it uses that. Otherwise it tries, in
// order, the environment, a web identity, the profile of AWS_PROFILE or the default one (keys, SSO,
// credential_process), the container and the instance. If there are no credentials, requests are anonymous.
// AWS_ENDPOINT_URL_STS and AWS_EC2_METADATA_SERVICE_ENDPOINT replace the services of AWS.
//
// Unlike the library's chain, it does not skip a source that is configured but fails, and it searches only once.
type provider struct {
	profile   string
	client    *http.Client
	transport *remote.Transport // the transport of client

	mu     sync.Mutex
	source credentials.Provider // the source that gave credentials, or anonymous
}

// Retrieve gets credentials without the library's HTTP client.
func (p *provider) Retrieve() (credentials.Value, error) { return p.RetrieveWithCredContext(nil) }

// RetrieveWithCredContext gets credentials. After the first time, it uses the same source again.
func (p *provider) RetrieveWithCredContext(cc *credentials.CredContext) (credentials.Value, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	ctx := context.Background()
	if cc != nil && cc.Context != nil {
		ctx = cc.Context
	}
	own := &credentials.CredContext{Client: p.client, Context: ctx}
	if p.source != nil {
		p.noteFile(os.Getenv("AWS_WEB_IDENTITY_TOKEN_FILE"))
		p.noteFile(os.Getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"))
		v, err := p.source.RetrieveWithCredContext(own)
		if err != nil {
			err = &credentialError{fmt.Errorf("new credentials: %w", err), p.transport}
		}
		return v, err
	}
	source, v, err := p.search(own)
	if err != nil {
		return v, &credentialError{err, p.transport}
	}
	p.source = source
	return v, nil
}

// IsExpired reports whether new credentials are needed.
func (p *provider) IsExpired() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.source == nil || p.source.IsExpired()
}

// A credentialError says why there are no credentials. It hides secrets, because it quotes the services that give
// credentials, which may repeat a token.
type credentialError struct {
	err       error
	transport *remote.Transport
}

func (e *credentialError) Error() string {
	return "credentials: " + remote.Clip(e.transport.Hide(e.err.Error()))
}
func (e *credentialError) Unwrap() error { return e.err }

// search returns the first source that has credentials, and these credentials.
func (p *provider) search(cc *credentials.CredContext) (credentials.Provider, credentials.Value, error) {
	if p.profile != "" {
		f := &credentials.FileAWSCredentials{Profile: p.profile}
		v, err := f.RetrieveWithCredContext(cc)
		if err == nil && v.AccessKeyID == "" {
			err = errors.New("it has no keys" + advice)
		}
		if err != nil {
			err = fmt.Errorf("profile %s: %w", p.profile, err)
		}
		return f, v, err
	}
	env := &credentials.EnvAWS{}
	if v, err := env.Retrieve(); err == nil && v.AccessKeyID != "" && v.SecretAccessKey != "" {
		return env, v, nil
	}
	if file := os.Getenv("AWS_WEB_IDENTITY_TOKEN_FILE"); file != "" {
		p.noteFile(file)
		iam := &credentials.IAM{Client: p.client, Endpoint: os.Getenv("AWS_ENDPOINT_URL_STS"), Region: os.Getenv("AWS_DEFAULT_REGION")}
		v, err := iam.RetrieveWithCredContext(cc)
		if err != nil {
			err = fmt.Errorf("web identity: %w", err)
		}
		return iam, v, err
	}
	file := &credentials.FileAWSCredentials{}
	named := os.Getenv("AWS_PROFILE") != ""
	v, err := file.RetrieveWithCredContext(cc)
	switch {
	case err == nil && v.AccessKeyID != "":
		return file, v, nil
	case err == nil && named:
		return nil, v, fmt.Errorf("profile %s: it has no keys%s", os.Getenv("AWS_PROFILE"), advice)
	case err != nil && (named || !noProfile(err)):
		return nil, v, fmt.Errorf("profile %s: %w", envOr("AWS_PROFILE", "default"), err)
	}
	p.transport.Note("AWS_CONTAINER_AUTHORIZATION_TOKEN", os.Getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN"))
	p.noteFile(os.Getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"))
	if os.Getenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") != "" || os.Getenv("AWS_CONTAINER_CREDENTIALS_FULL_URI") != "" {
		iam := &credentials.IAM{Client: p.client}
		v, err := iam.RetrieveWithCredContext(cc)
		if err != nil {
			err = fmt.Errorf("container: %w", err)
		}
		return iam, v, err
	}
	if !strings.EqualFold(os.Getenv("AWS_EC2_METADATA_DISABLED"), "true") {
		ctx, cancel := context.WithTimeout(cc.Context, instanceTimeout)
		defer cancel()
		// The instance's own service is never reached through a proxy.
		client := newCredentialClient(p.transport.Noting(&http.Transport{}))
		iam := &credentials.IAM{Client: client, Endpoint: strings.TrimRight(os.Getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT"), "/")}
		if v, err := iam.RetrieveWithCredContext(&credentials.CredContext{Client: iam.Client, Context: ctx}); err == nil {
			return iam, v, nil
		}
	}
	return anonymous{}, credentials.Value{SignerType: credentials.SignatureAnonymous}, nil
}

// newCredentialClient returns a client for the services that give credentials. It follows no redirects, because
// requests have tokens, also in their bodies, that no other server may get.
func newCredentialClient(t http.RoundTripper) *http.Client {
	return &http.Client{Transport: credentialLimiter{t}, Timeout: time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// maxToken is the maximum number of bytes that are read of a file with a token.
const maxToken = 64 << 10

// noteFile hides the token in a file from messages. It must be called again after the token may have been renewed.
func (p *provider) noteFile(name string) {
	if name == "" {
		return
	}
	f, err := os.Open(name)
	if err != nil {
		return // the reader of the token reports the error
	}
	defer f.Close()
	if b, err := io.ReadAll(io.LimitReader(f, maxToken)); err == nil {
		p.transport.Note("file "+name, string(b))
	}
}

// advice is added to the error of a profile that the library cannot use.
const advice = `; of one with role_arn, eval "$(aws configure export-credentials --format env)" sets them`

// noProfile reports whether an error only means that there is no default profile. A profile whose SSO session or
// program is missing exists.
func noProfile(err error) bool {
	if e, ok := err.(*fs.PathError); ok {
		return e.Op == "open" && errors.Is(e, fs.ErrNotExist)
	}
	return strings.Contains(err.Error(), "does not exist") || strings.Contains(err.Error(), "HOME")
}

func envOr(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

// anonymous provides no credentials.
type anonymous struct{}

func (anonymous) Retrieve() (credentials.Value, error) {
	return credentials.Value{SignerType: credentials.SignatureAnonymous}, nil
}

func (a anonymous) RetrieveWithCredContext(*credentials.CredContext) (credentials.Value, error) {
	return a.Retrieve()
}

func (anonymous) IsExpired() bool { return false }

// credentialFiles returns the files from which credentials may be read again during a run.
func credentialFiles() []string {
	files := []string{os.Getenv("AWS_SHARED_CREDENTIALS_FILE"), os.Getenv("AWS_CONFIG_FILE"),
		os.Getenv("AWS_WEB_IDENTITY_TOKEN_FILE"), os.Getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")}
	if home, err := os.UserHomeDir(); err == nil {
		files = append(files, home+"/.aws")
	}
	return files
}
