/* SPDX-License-Identifier: MIT */
#include "vmm/sys.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>

long bzv_sys_ioctl(int fd, unsigned long request, void *arg)
{
	int r = ioctl(fd, request, arg);

	return r < 0 ? -errno : r;
}

/* Every exit of a guest comes by here, and each `ret` behind a system call costs. What
 * relay_sig.c wants of it is a `syscall` with these registers. */
long bzv_sys_run(int vcpu_fd)
{
	long r;

	__asm__ volatile("syscall"
			 : "=a"(r)
			 : "0"((long)SYS_ioctl), "D"((long)vcpu_fd),
			   "S"((long)KVM_RUN), "d"(0l)
			 : "rcx", "r11", "memory");
	return r;
}

int bzv_sys_linux(void)
{
	struct utsname u;

	return uname(&u) ? 0 : atoi(u.release);
}
