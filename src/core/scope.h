/* SPDX-License-Identifier: MIT */
/*
 * The way out of a fault to the innermost scope of the thread. A scope is a
 * record of the program's, on its stack, chained from thread-local storage.
 *
 * bez_scope_enter() is a setjmp() of our own: the libc's buffer is scrambled, and
 * longjmp(3) goes there at once, while cleanups want to run before; the compiler's
 * (clang has none for every machine) must not be used in a function that others
 * are inlined into, as those of a program are.
 */
#ifndef BEZOAR_CORE_SCOPE_H
#define BEZOAR_CORE_SCOPE_H

#include <bezoar/scope.h>

#include "core/mm.h"
#include "types.h"

/* Innermost scope. The thread itself, and its handlers. */
extern __thread struct bez_scope *volatile bz_scope_now
	__attribute__((tls_model("initial-exec"), visibility("hidden")));

/*
 * The innermost scope of the calling thread, with @lost in it; NULL: there is
 * none, or it is gone with @x, or what is there is no scope any more; those of
 * frames that are gone are passed over. Context:
 * handler-safe; @w is the thread's own.
 */
struct bez_scope *bz_scope_find(struct bz_walk *w, const struct bz_fault *fault,
				struct bz_extent x, const struct bez_lost *lost);

/*
 * Out of the handler: cut the stack, put back what @context had (the mask, the
 * alternate stack if the kernel disarmed it, protection keys), run the scope's
 * cleanups, come back from bez_scope_enter(). The caller holds nothing.
 */
void bz_scope_jump(struct bez_scope *scope, const void *context)
	__attribute__((noreturn));

/* Go on at @sp with the cleanups, by the control words that were saved. What was
 * around it is not described (core/frames.h). */
void bz_scope_land(struct bez_scope *scope, uint64_t sp)
	__attribute__((noreturn, visibility("hidden")));

#endif
