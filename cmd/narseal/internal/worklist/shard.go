package worklist

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// MaxShards is the maximum number of shards.
const MaxShards = 1 << 20

// variables holds the names of a scheduler's environment variables for the tasks of an array: the number of this task,
// the number of the first task, and the number of tasks.
type variables struct{ index, first, count string }

// schedulers lists Kubernetes (Indexed Job, which does not tell the number of tasks), AWS Batch (array job) and Slurm
// (job array, whose first task need not be number 0).
var schedulers = []variables{
	{index: "JOB_COMPLETION_INDEX"},
	{index: "AWS_BATCH_JOB_ARRAY_INDEX", count: "AWS_BATCH_JOB_ARRAY_SIZE"},
	{index: "SLURM_ARRAY_TASK_ID", first: "SLURM_ARRAY_TASK_MIN", count: "SLURM_ARRAY_TASK_COUNT"},
}

// ParseShard parses I/N: shard I, from 0, of N. auto/N gets I from the scheduler that started the program.
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
		i, from, err = scheduled(lookup, n)
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

// parseNumber parses a number that consists only of digits.
func parseNumber(s string) (int, error) {
	if s == "" || len(s) > 9 || strings.Trim(s, "0123456789") != "" {
		return 0, strconv.ErrSyntax
	}
	return strconv.Atoi(s)
}

// scheduled returns the number of this task of n, and, for messages, the name of the variable that it comes from.
func scheduled(lookup func(string) (string, bool), n int) (index int, from string, err error) {
	var names []string
	for _, v := range schedulers {
		if text, ok := lookup(v.index); !ok || text == "" {
			continue
		}
		i, err := v.task(lookup, n)
		if err != nil {
			return 0, "", err
		}
		names = append(names, v.index)
		if len(names) > 1 && i != index {
			return 0, "", fmt.Errorf("%s say different shards, %d and %d", strings.Join(names, " and "), index, i)
		}
		index = i
	}
	if names == nil {
		var all []string
		for _, v := range schedulers {
			all = append(all, v.index)
		}
		return 0, "", fmt.Errorf("no scheduler has set %s", strings.Join(all, ", "))
	}
	return index, " (from " + strings.Join(names, ", ") + ")", nil
}

// task returns the number of this task of n, from 0. An array of another size is an error. For example, if only failed
// tasks are started again, their numbers may differ, and they are not all of the work.
func (v *variables) task(lookup func(string) (string, bool), n int) (int, error) {
	number := func(name string, missing int) (int, error) {
		text, ok := lookup(name)
		if name == "" || !ok || text == "" {
			return missing, nil
		}
		i, err := parseNumber(text)
		if err != nil {
			return 0, fmt.Errorf("%s is %q, want a number", name, text)
		}
		return i, nil
	}
	i, err := number(v.index, 0)
	if err != nil {
		return 0, err
	}
	count, err := number(v.count, n)
	if err != nil {
		return 0, err
	}
	if count != n {
		return 0, fmt.Errorf("%s is %d, want %d, the number of shards; a part of an array needs its shards named, such as 3/%d", v.count, count, n, n)
	}
	first, err := number(v.first, 0)
	if err != nil {
		return 0, err
	}
	if first > i {
		return 0, fmt.Errorf("%s is %d, want a number that is not above %s, %d", v.first, first, v.index, i)
	}
	return i - first, nil
}
