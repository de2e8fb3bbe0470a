package s3store_test

import (
	"strings"
	"testing"

	"narseal/nar/binarycache/s3store"
)

// What is appended to a URL behind its parameters does not become a part of the region.
func TestRegion(t *testing.T) {
	for region, ok := range map[string]bool{
		"us-east-1": true, "eu-west-1": true, "us-gov-west-1": true, "auto": true, "garage": true, "US": true, "my_zone.2": true,
		"": false, "eu-west-1/ledger-0.jsonl": false, "/": false, "eu west": false, "a\n": false, "eu-west-1?x": false, "é": false,
	} {
		_, err := s3store.New("s3://b/p?region="+region, s3store.Options{})
		if ok && err != nil || !ok && (err == nil || !strings.Contains(err.Error(), "region") && !strings.Contains(err.Error(), "want s3://")) {
			t.Errorf("%q: %v", region, err)
		}
	}
}
