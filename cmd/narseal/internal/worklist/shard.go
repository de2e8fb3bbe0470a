package worklist

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// MaxShards bounds the number of shards.
const MaxShards = 1 << 20

// A variable is one by which a scheduler numbers the tasks of an array.
type variable struct{ index, first string }

// variables are those of Kubernetes (Indexed Job), AWS Batch (array job) and Slurm (job array), whose first task need
// not be number 0.
var variables = []variable{
	{"JOB_COMPLETION_INDEX", ""},
	{"AWS_BATCH_JOB_ARRAY_INDEX", ""},
	{"SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN"},
}

// ParseShard reads I/N: shard I, from 0, of N. auto/N takes I from the scheduler that has started the program.
func ParseShard(s string, lookup func(string) (string, bool)) (Shard, error) {
	index, count, ok := strings.Cut(s, "/")
	if !ok {
		return Shard{}, errors.New("want I/N or auto/N")
	}
	n, err := parseNumber(count)
	if err != nil || n < 1 || n > MaxShards {
		return Shard{}, fmt.Errorf("the number of shards is %q, want 1 to %d", count, MaxShards)
	}
	i, from := 0, ""
	if index == "auto" {
		i, from, err = scheduled(lookup)
	} else if i, err = parseNumber(index); err != nil {
		err = fmt.Errorf("the shard is %q, want a number or auto", index)
	}
	if err != nil {
		return Shard{}, err
	}
	if i >= n {
		return Shard{}, fmt.Errorf("there is no shard %d of %d: the first is 0, the last %d%s", i, n, n-1, from)
	}
	return Shard{i, n}, nil
}

// parseNumber reads a number of digits alone.
func parseNumber(s string) (int, error) {
	if s == "" || len(s) > 9 || strings.Trim(s, "0123456789") != "" {
		return 0, strconv.ErrSyntax
	}
	return strconv.Atoi(s)
}

// scheduled returns the number of this task, and for messages where it is from.
func scheduled(lookup func(string) (string, bool)) (index int, from string, err error) {
	var names []string
	for _, v := range variables {
		text, ok := lookup(v.index)
		if !ok || text == "" {
			continue
		}
		i, err := parseNumber(text)
		if err != nil {
			return 0, "", fmt.Errorf("%s is %q, want a number", v.index, text)
		}
		if first, ok := lookup(v.first); v.first != "" && ok && first != "" {
			least, err := parseNumber(first)
			if err != nil || least > i {
				return 0, "", fmt.Errorf("%s is %q, want a number that is not above %s, %d", v.first, first, v.index, i)
			}
			i -= least
		}
		names = append(names, v.index)
		if len(names) > 1 && i != index {
			return 0, "", fmt.Errorf("%s say different shards, %d and %d", strings.Join(names, " and "), index, i)
		}
		index = i
	}
	if names == nil {
		var all []string
		for _, v := range variables {
			all = append(all, v.index)
		}
		return 0, "", fmt.Errorf("no scheduler has set %s", strings.Join(all, ", "))
	}
	return index, " (from " + strings.Join(names, ", ") + ")", nil
}
