// Package state records what runs on a binary cache have finished, so that an interrupted run can be continued.
package state
