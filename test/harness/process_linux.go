package harness

import "syscall"

// dieWithParent has the system kill a child when the test is killed, as it is
// at its time limit, where no clean-up runs.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
