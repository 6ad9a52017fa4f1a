/* SPDX-License-Identifier: MIT */
#include "vmm/sys.h"

#include <errno.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int32_t bzv_sys_tid(void)
{
	return (int32_t)syscall(SYS_gettid);
}

long bzv_sys_kill(int32_t tid, int sig)
{
	return syscall(SYS_tgkill, (pid_t)syscall(SYS_getpid), tid, sig) ? -errno : 0;
}

uint64_t bzv_sys_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}
