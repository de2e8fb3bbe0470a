package sandbox

import (
	"fmt"
	"testing"
)

func TestStatusString(t *testing.T) {
	var many []string
	for i := range maxPaths + 3 {
		many = append(many, fmt.Sprint(i))
	}
	for _, test := range []struct {
		status Status
		want   string
	}{
		{
			Status{Reason: "this kernel has no Landlock"},
			"no restrictions: this kernel has no Landlock",
		}, {
			Status{ABI: 7, Network: "no TCP"},
			"read: none; write: none; create and remove: none; execute: none; network: no TCP; signals: own process; Landlock ABI 7",
		}, {
			Status{ABI: 5, Read: many, Write: []string{"a b", "c\x1b[2J", "\xff"}, Create: []string{".", "x"}, Remove: []string{"."}, Network: "no TCP"},
			`read: 0, 1, 2, 3, 4, 5, 6, 7 and 3 more; write: a b, "c\x1b[2J", "\xff"; create: ., x; remove: .; execute: none; ` +
				"network: no TCP; signals: unrestricted; Landlock ABI 5",
		},
	} {
		if got := test.status.String(); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
}
