/* SPDX-License-Identifier: MIT */
/*
 * The one action of a signal: put there, looked at, taken away. By the system
 * call and not by the libc, because the place where a handler returns to is
 * ours: a handler that finds it above its frame knows that the kernel called it
 * by this very action, with this action's mask. Somebody else's handler that
 * hands on to us, even by a jump, was given the libc's.
 */
#ifndef BEZOAR_CORE_ACTION_H
#define BEZOAR_CORE_ACTION_H

#include <stdint.h>

#include "sys/sys.h"

/* Install bz_on_signal() for @sig and remember in bz_core what was there. 0 or
 * a negative errno. Context: normal, under the lock of bez_start(). */
int bz_action_install(int sig);

/* Does @sig still come to us first? Context: handler-safe. */
int bz_action_installed(int sig);

/* What was there before. */
void bz_action_uninstall(int sig);

#if defined(__x86_64__)

/* Where the handler returns to: rt_sigreturn(2). core/action_sig.c */
extern const char bz_restore[] __attribute__((visibility("hidden")));

/* In the handler itself: did the kernel call it? */
#define BZ_CALLED_BY_KERNEL() (__builtin_return_address(0) == bz_restore)

#else

/* arm64 returns by the vDSO, whoever installed what. */
#define BZ_CALLED_BY_KERNEL() 0

#endif
#endif
