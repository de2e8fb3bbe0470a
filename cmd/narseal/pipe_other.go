//go:build !linux

package main

import "os"

// enlargePipe does nothing: pipes of this system grow by themselves.
func enlargePipe(*os.File) {}
