package s3store

import (
	"testing"

	"narseal/nar/binarycache"
)

// What another cache says of its objects does not decide what those of this one cost.
func TestStorageClassOfNewObjects(t *testing.T) {
	for _, c := range []struct{ url, object, isNew, replaced string }{
		{"", "", "", ""}, {"STANDARD", "", "STANDARD", "STANDARD"}, {"", "STANDARD_IA", "STANDARD_IA", "STANDARD_IA"},
		{"STANDARD", "STANDARD_IA", "STANDARD", "STANDARD_IA"}, {"", "DEEP_ARCHIVE", "", ""}, {"STANDARD", "GLACIER", "STANDARD", "STANDARD"},
		{"GLACIER", "", "GLACIER", "GLACIER"},
	} {
		b := &bucket{address: &address{storageClass: c.url}}
		o := binarycache.Object{Attributes: map[string]string{storageClass: c.object}}
		if got := b.classOf(o, binarycache.Condition{New: true}); got != c.isNew {
			t.Errorf("%+v: a new object gets %q", c, got)
		}
		if got := b.classOf(o, binarycache.Condition{Version: "v"}); got != c.replaced {
			t.Errorf("%+v: a replaced object gets %q", c, got)
		}
	}
}
