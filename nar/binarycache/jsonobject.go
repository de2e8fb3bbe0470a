package binarycache

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"

	"narseal/nar/binarycache/internal/encoding"
)

// A jsonObject is an object of JSON. It is read only once, so that what is written is what was checked.
type jsonObject struct {
	Object
	stored   []byte // as in the store
	encoding encoding.Encoding
	members  map[string]json.RawMessage
}

// loadJSON reads an object of JSON.
func (o *others) loadJSON(ctx context.Context, name string) (j jsonObject, err error) {
	if j.stored, j.Object, err = loadStored(ctx, o.in, name, maxOther); err != nil {
		return j, err
	}
	j.Size = int64(len(j.stored))
	text, e, err := encoding.Decode(j.stored, j.Attributes[encoding.Header], maxOther)
	if err == nil {
		err = json.Unmarshal(text, &j.members)
	}
	j.encoding = e
	return j, err
}

// copyJSON writes an object of JSON unchanged.
func (o *others) copyJSON(ctx context.Context, j jsonObject) error {
	if free, err := o.isFree(ctx, j.Name, j.Size); err != nil || !free {
		return err
	}
	return o.add(ctx, j.Object, bytes.NewReader(j.stored))
}

// replace writes an object of JSON with other members to the output, or in place.
func (o *others) replace(ctx context.Context, j jsonObject, members map[string]json.RawMessage) error {
	b, err := json.Marshal(members)
	if err != nil {
		return err
	}
	c := Condition{New: true}
	if o.inPlace {
		c = Condition{Version: j.Version}
	}
	_, err = putText(ctx, o.out, typed(j.Object), b, j.encoding, c)
	if errors.Is(err, fs.ErrExist) {
		if old, there, e := load(ctx, o.out, j.Name, maxOther); e == nil && len(old) < len(b) && bytes.HasPrefix(b, old) {
			_, err = putText(ctx, o.out, typed(j.Object), b, encoding.Plain, Condition{Version: there.Version})
		}
	}
	if errors.Is(err, fs.ErrExist) || errors.Is(err, ErrChanged) {
		return nil // somebody was faster
	}
	if err == nil {
		o.written()
	}
	return asOutput(err)
}
