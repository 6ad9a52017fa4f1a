/* SPDX-License-Identifier: MIT */
#include "vmm/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

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

int bzv_sys_sleeps_outside(int32_t tid)
{
	char path[48], text[128];
	unsigned long request;
	ssize_t n;
	long call;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	/* "running", or number and arguments; -1: it sleeps for another reason */
	if (sscanf(text, "%ld 0x%*x 0x%lx", &call, &request) != 2 || call < 0)
		return 0;
	return call != SYS_ioctl || (uint32_t)request != KVM_RUN;
}

int bzv_sys_linux(void)
{
	struct utsname u;

	return uname(&u) ? 0 : atoi(u.release);
}
