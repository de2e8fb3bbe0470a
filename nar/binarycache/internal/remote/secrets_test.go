package remote

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"strings"
	"testing"
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
