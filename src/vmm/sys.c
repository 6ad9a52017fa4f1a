/* SPDX-License-Identifier: MIT */
#include "vmm/sys.h"

#include <errno.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

long bzv_sys_ioctl(int fd, unsigned long request, void *arg)
{
	int r = ioctl(fd, request, arg);

	return r < 0 ? -errno : r;
}

long bzv_sys_run(int vcpu_fd)
{
	return bzv_sys_ioctl(vcpu_fd, KVM_RUN, NULL);
}

int32_t bzv_sys_tid(void)
{
	return (int32_t)syscall(SYS_gettid);
}

long bzv_sys_kill(int32_t tid, int sig)
{
	return syscall(SYS_tgkill, getpid(), tid, sig) ? -errno : 0;
}

uint64_t bzv_sys_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}
