/* SPDX-License-Identifier: MIT */
#include "vmm/sys.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stddef.h>
#include <sys/ioctl.h>

long bzv_sys_ioctl(int fd, unsigned long request, void *arg)
{
	int r = ioctl(fd, request, arg);

	return r < 0 ? -errno : r;
}

long bzv_sys_run(int vcpu_fd)
{
	return bzv_sys_ioctl(vcpu_fd, KVM_RUN, NULL);
}
