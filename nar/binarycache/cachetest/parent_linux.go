package cachetest

import (
	"os/exec"
	"syscall"
)

// dieWithParent ends a program that is started when the test is killed.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
