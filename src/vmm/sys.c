/* SPDX-License-Identifier: MIT */
#include "vmm/sys.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/utsname.h>

long bzv_sys_ioctl(int fd, unsigned long request, void *arg)
{
	int r = ioctl(fd, request, arg);

	return r < 0 ? -errno : r;
}

long bzv_sys_run(int vcpu_fd)
{
	return bzv_sys_ioctl(vcpu_fd, KVM_RUN, NULL);
}

int bzv_sys_linux(void)
{
	struct utsname u;

	return uname(&u) ? 0 : atoi(u.release);
}
