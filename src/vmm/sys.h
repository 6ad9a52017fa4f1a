/* SPDX-License-Identifier: MIT */
/*
 * What the library asks of the kernel, each a small function that returns its
 * result or a negative errno. The tests put another one in their place.
 */
#ifndef BEZOAR_VMM_SYS_H
#define BEZOAR_VMM_SYS_H

#include <stdint.h>

long bzv_sys_ioctl(int fd, unsigned long request, void *arg);
/* KVM_RUN. */
long bzv_sys_run(int vcpu_fd);
int32_t bzv_sys_tid(void);
/* To a thread of this process. Handler-safe. */
long bzv_sys_kill(int32_t tid, int sig);
/* Does that thread of this process sleep in a system call, and not in KVM_RUN? 0 also where
 * the kernel does not tell; proc_pid_syscall(5). */
int bzv_sys_sleeps_outside(int32_t tid);
/* The first number of the kernel's version. */
int bzv_sys_linux(void);
/* CLOCK_MONOTONIC. Handler-safe. */
uint64_t bzv_sys_now_ns(void);

#endif
