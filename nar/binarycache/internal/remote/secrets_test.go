package remote

import (
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"html"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"unicode/utf16"
)

// Whatever an error is made of, and however it writes what a request has sent, the text that leaves the package has none of
// it. What the error is can still be told.
func TestFailHides(t *testing.T) {
	var tr Transport
	const password = `Pa"ss w&rd/1`
	req := &http.Request{Header: http.Header{}}
	req.SetBasicAuth("user", password)
	encoded := strings.TrimPrefix(req.Header.Get("Authorization"), "Basic ")
	tr.secrets.note(req.Header)
	for _, shown := range []string{
		password, strings.ToLower(password), strings.ToUpper(password), "user:" + password, encoded, strings.TrimRight(encoded, "="),
		"Pa%22ss+w%26rd%2F1", "Pa%22ss%20w&rd%2F1", "pa%22ss%20w&rd%2f1", "Pa&#34;ss w&amp;rd/1", `Pa\"ss w&rd/1`,
	} {
		for _, err := range []error{
			errors.New("x " + shown + " y"), &net.DNSError{Err: "no such host", Name: shown + ".invalid"},
			&net.OpError{Op: "dial", Net: "tcp", Addr: &net.UnixAddr{Name: shown}, Err: errors.New("refused")},
			&Error{Status: 500, Text: shown}, &Error{Err: x509.HostnameError{Certificate: &x509.Certificate{DNSNames: []string{shown}}, Host: "h"}},
			&Error{Text: "x", Advice: "try " + shown}, fmt.Errorf("%w: %s", &Error{Absent: true}, shown),
		} {
			failed := tr.Fail("open", "http://host/x", err)
			var e *Error
			var hint interface{ Hint() string }
			if !errors.As(failed, &hint) || errors.As(err, &e) != errors.As(failed, &e) || errors.Is(failed, fs.ErrNotExist) != errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%v: it is another error", err)
			}
			for _, text := range []string{failed.Error(), hint.Hint(), fmt.Sprintf("%+v", failed)} {
				if strings.Contains(strings.ToLower(text), strings.ToLower(shown)) {
					t.Errorf("%T: %s", err, text)
				}
			}
		}
	}
	for value, want := range map[string]bool{
		"max-age=60": true, "text/plain; charset=utf-8": true, "": false, strings.Repeat("x", 256): true, strings.Repeat("x", 257): false,
		"a\x7f": false, "a\x01": false, "\xff": false, "ä": false, "x " + password: false, "~": true,
	} {
		if got := tr.TakesAttribute(value); got != want {
			t.Errorf("%q: %v", value, got)
		}
	}
	if got := tr.Hide("a Password that differs"); got != "a Password that differs" {
		t.Errorf("got %q", got)
	}
}

// A secret is hidden in any mixture of forms, and in base 64 of whatever contains it. What has none of these stays.
func TestDecodedSecrets(t *testing.T) {
	var tr Transport
	const password = "Pä\"ss+w&r/d 😀1"
	req := newRequest()
	req.SetBasicAuth("user", password)
	tr.secrets.note(req.Header)
	percent, decimal, hex, escaped, octal, mixed := "", "", "", "", "", ""
	for i, b := range []byte(password) {
		percent += fmt.Sprintf("%%%02x", b)
		octal += fmt.Sprintf("\\%03o", b)
		mixed += []string{fmt.Sprintf("%%%02X", b), fmt.Sprintf("\\x%02x", b)}[i%2]
	}
	for _, r := range password {
		decimal += fmt.Sprintf("&#%d;", r)
		hex += fmt.Sprintf("&#x%X;", r)
		for _, unit := range utf16.Encode([]rune{r}) {
			escaped += fmt.Sprintf("\\u%04x", unit)
		}
	}
	var shown []string
	for _, plain := range []string{password, "x" + password, "xy:" + password + "z"} {
		shown = append(shown, base64.StdEncoding.EncodeToString([]byte(plain)), base64.RawURLEncoding.EncodeToString([]byte(plain)))
	}
	shown = append(shown, percent, octal, mixed, decimal, hex, escaped, url.QueryEscape(shown[0]), url.PathEscape(decimal), html.EscapeString(decimal),
		strings.ReplaceAll(escaped, `\`, `\\`), strings.NewReplacer("+", "%2B", "&", "&amp;", "/", `\/`).Replace(password))
	for _, form := range shown {
		for _, text := range []string{form, "you sent " + form, "sent:" + form + ".", "\"" + form + "\""} {
			if got := tr.Hide(text); strings.Contains(got, form) {
				t.Errorf("%q: got %q", text, got)
			}
		}
	}
	for _, text := range []string{
		"", "100% of &amp; and \\u0041 and %41", "The specified key does not exist.", base64.StdEncoding.EncodeToString([]byte("another password")), `a\`, `\u12`,
	} {
		if got := tr.Hide(text); got != text {
			t.Errorf("%q: got %q", text, got)
		}
	}
}

// However often a secret of one kind is renewed, those of the other kinds stay hidden, and so does the latest of its own.
func TestRenewedSecrets(t *testing.T) {
	send := map[string]func(tr *Transport, secret string){
		"server": func(tr *Transport, s string) {
			req := newRequest()
			req.SetBasicAuth("joe", s)
			tr.secrets.note(req.Header)
		},
		"proxy": func(tr *Transport, s string) {
			tr.secrets.noteBasic(ofProxy, base64.StdEncoding.EncodeToString([]byte("joe:"+s)))
		},
		"session token": func(tr *Transport, s string) { sendHeader(tr, "X-Amz-Security-Token", s) },
		"container":     func(tr *Transport, s string) { sendHeader(tr, "Authorization", s) },
		"SSO":           func(tr *Transport, s string) { sendHeader(tr, "X-Amz-Sso_bearer_token", s) },
		"instance":      func(tr *Transport, s string) { sendHeader(tr, "X-Aws-Ec2-Metadata-Token", s) },
		"variable":      func(tr *Transport, s string) { tr.Note("VARIABLE", s) },
		"file":          func(tr *Transport, s string) { tr.Note("file /token", s) },
	}
	for renewed, renew := range send {
		var tr Transport
		for kind, once := range send {
			once(&tr, "secret/of/"+strings.ReplaceAll(kind, " ", "-"))
		}
		last := ""
		for i := range 200 {
			last = fmt.Sprintf("t/+=<\"%d-of-%s==", i, renewed)
			renew(&tr, last)
		}
		for kind := range send {
			secret := "secret/of/" + strings.ReplaceAll(kind, " ", "-")
			if kind == renewed {
				secret = last
			}
			for _, text := range []string{secret, url.QueryEscape(secret)} {
				if got := tr.Hide("x " + text + " y"); got != "x (hidden) y" {
					t.Errorf("the %s is renewed: %s: got %q", renewed, kind, got)
				}
			}
		}
	}
}

func newRequest() *http.Request { return &http.Request{Header: http.Header{}} }

func sendHeader(tr *Transport, name, value string) {
	req := newRequest()
	req.Header.Set(name, value)
	tr.secrets.note(req.Header)
}
