package httpstore_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// A server that sends back the password as an attribute of an object does not get it shown, or stored elsewhere.
func TestSecretAttributes(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, password, _ := r.BasicAuth()
		w.Header().Set("Content-Encoding", password)
		w.Header().Set("Cache-Control", r.Header.Get("Authorization"))
		w.Header().Set("Content-Type", "text/x-nix-narinfo")
		io.WriteString(w, "x")
	})
	s := open(t, strings.Replace(server.URL, "http://", "http://user:hunter2@", 1))
	_, o, err := s.Open(t.Context(), "x")
	if err != nil || len(o.Attributes) != 1 || o.Attributes["Content-Type"] == "" {
		t.Errorf("got %v, %v", o.Attributes, err)
	}
}
