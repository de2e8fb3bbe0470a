package s3store_test

import (
	"errors"
	"io/fs"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"narseal/nar/binarycache/cachetest"
)

// A real server refuses the requests of a machine whose clock is wrong, and the error says by how much.
func TestWrongClock(t *testing.T) {
	server := cachetest.NewS3(t)
	now := time.Now()
	for wrong, want := range map[time.Duration]string{
		-30 * 24 * time.Hour: "720h0m0s behind", -time.Hour: "1h0m0s behind", 0: "", time.Hour: "1h0m0s ahead", 30 * 24 * time.Hour: "720h0m0s ahead",
	} {
		synctest.Test(t, func(t *testing.T) {
			time.Sleep(time.Until(now.Add(wrong))) // the clock of a bubble begins in 2000, and goes on where it sleeps
			_, _, err := open(t, server.URL("")).Open(t.Context(), "nix-cache-info")
			if want == "" {
				if !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("the right time: %v", err)
				}
				return
			}
			checkClock(t, err, want)
			if !strings.Contains(err.Error(), "RequestTimeTooSkewed") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// An answer to HEAD has no code. Then the time of the answer tells a wrong clock from wrong credentials.
func TestWrongClockHead(t *testing.T) {
	for ahead, want := range map[time.Duration]string{-20 * time.Minute: "20m0s ahead", 20 * time.Minute: "20m0s behind", time.Minute: ""} {
		s := fake(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Date", time.Now().Add(ahead).UTC().Format(http.TimeFormat))
			w.WriteHeader(http.StatusForbidden)
		})
		_, err := s.Stat(t.Context(), "x")
		if want != "" {
			checkClock(t, err, want)
		} else if !errors.Is(err, fs.ErrPermission) || !errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), "clock") {
			t.Errorf("the right time: %v", err)
		}
	}
}

func checkClock(t *testing.T, err error, want string) {
	t.Helper()
	if !errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), want) || !strings.Contains(hintOf(err), "set the clock") {
		t.Errorf("got %v, want %q", err, want)
	}
}

func hintOf(err error) string {
	var hint interface{ Hint() string }
	if !errors.As(err, &hint) {
		return ""
	}
	return hint.Hint()
}
