package sweepsummary

import (
	"fmt"
	"slices"
	"strings"

	"narseal/cmd/narseal/internal/worklist"
)

// note records the status of a path.
func (r *Reader) note(h worklist.Hash, status string) error {
	if r.paths == nil {
		return nil
	}
	name := slices.Index(r.names, status)
	if name < 0 {
		if len(r.names) == maxStatuses {
			return fmt.Errorf("more than %d different statuses", maxStatuses)
		}
		name = len(r.names)
		r.names = append(r.names, strings.Clone(status))
	}
	i, there := r.paths.Number(h)
	if !there {
		if r.paths.Len() == maxPaths {
			return fmt.Errorf("more than %d paths", maxPaths)
		}
		i, _ = r.paths.Add(h)
		r.status.Append(0)
	}
	*r.status.At(i) = uint8(name)
	return nil
}
