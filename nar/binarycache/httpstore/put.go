package httpstore

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"narseal/nar/binarycache"
	"narseal/nar/binarycache/internal/remote"
	"narseal/nar/binarycache/narinfo"
)

// Put writes an object.
func (s *server) Put(ctx context.Context, o binarycache.Object, c *remote.Content, cond binarycache.Condition) (binarycache.Version, error) {
	header := http.Header{}
	for _, a := range attributes {
		if v := o.Attributes[a]; v != "" {
			header.Set(a, v)
		}
	}
	if cond.New {
		header.Set("If-None-Match", "*")
	}
	if cond.Version != "" {
		header.Set("If-Match", quoted(cond.Version))
	}
	body, err := c.Reader()
	if err != nil {
		return "", err
	}
	resp, err := s.do(ctx, http.MethodPut, o.Name, header, body, c.Size)
	if err != nil {
		return "", err
	}
	remote.Drain(resp.Body)
	switch resp.StatusCode {
	case http.StatusOK, http.StatusCreated, http.StatusAccepted, http.StatusNoContent:
	default: // such as 207, whose body may report a failure
		return "", &remote.Error{Status: resp.StatusCode, Text: "want 200, 201 or 204 for PUT"}
	}
	_, age := times(resp.Header)
	v, _ := version(resp.Header, age)
	now, err := s.check(ctx, o.Name, c)
	if err == nil && v != "" && resp.StatusCode != http.StatusAccepted {
		return v, nil // the present object may be another writer's
	}
	return now, err
}

// check returns the version of an object that was put. It returns an error if the server does not have all of it, so
// that no narinfo refers to an incomplete NAR.
func (s *server) check(ctx context.Context, name string, c *remote.Content) (binarycache.Version, error) {
	now, err := s.Head(ctx, name)
	var e *remote.Error
	if errors.As(err, &e) && e.Absent {
		return "", &remote.Error{Err: errors.New("the server accepted the object but does not have it")}
	}
	if err != nil {
		return "", err
	}
	if now.Size < 0 || now.Size == c.Size {
		return now.Version, nil
	}
	if !narinfo.IsNAR(name) {
		a, err := s.Get(ctx, name, 0, nil)
		if err != nil {
			return "", err
		}
		if part, err := c.HasPart(a); err != nil || !part {
			return "", err // somebody else's
		}
	}
	return "", &remote.Error{Err: fmt.Errorf("the server accepted %d bytes but has %d", c.Size, now.Size),
		Advice: "the server's disk may be full, or a proxy may truncate uploads; delete the object before the next run"}
}
