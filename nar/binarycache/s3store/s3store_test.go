package s3store_test

import (
	"testing"

	"narseal/nar/binarycache/cachetest"
	"narseal/nar/binarycache/s3store"
)

func open(t *testing.T, url string) *s3store.Store {
	t.Helper()
	s, err := s3store.New(url, s3store.Options{Program: "narseal", Release: "test"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStore(t *testing.T) {
	server := cachetest.NewS3(t)
	for _, prefix := range []string{"", "/a/b"} {
		t.Run("prefix "+prefix, func(t *testing.T) {
			s := open(t, server.URL(prefix))
			cachetest.TestStore(t, s)
			for _, w := range s.Warnings() {
				t.Errorf("warning: %s", w)
			}
		})
	}
}
