// Package state remembers what runs on a binary cache have finished, so that a run that was cut short is continued.
package state
