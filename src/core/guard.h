/* SPDX-License-Identifier: MIT */
/*
 * Code that reads what may itself be lost (a mirror, a digest, a callback's
 * data) runs guarded: a fault in there that cannot be repaired comes back
 * here instead of ending the process. Nested guards are kept per thread.
 *
 * Built on __builtin_setjmp: five words, no system call. A call that was
 * abandoned leaves its locks held; that is said in bezoar.h.
 */
#ifndef BEZOAR_CORE_GUARD_H
#define BEZOAR_CORE_GUARD_H

#include "core/walk.h"

#define BZ_GUARD_LOST 1		/* the call met a lost page and was abandoned */

/* Returns what @fn returned (0 or negative), or BZ_GUARD_LOST. */
int bz_guarded(struct bz_walk *w, int (*fn)(void *), void *arg);

/*
 * From a fault inside a guarded call: go back to the guard, with the signal
 * mask and the protection keys that were there, whatever the call has made of
 * them. Never returns. Context: in the handler of that fault, at any depth
 * below the guard.
 */
void bz_guard_jump(struct bz_walk *w) __attribute__((noreturn));

#endif
