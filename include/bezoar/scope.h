/* SPDX-License-Identifier: MIT */
/*
 * Scopes: where a thread goes on when it touches memory that is lost and
 * cannot be replaced; <bezoar/bezoar.h> includes this.
 *
 *	BEZ_TRY {
 *		sum = add_up(table);
 *	} BEZ_CATCH(lost) {
 *		sum = 0;
 *		forget(lost->addr, lost->width);
 *	}
 *
 * A region whose ladder names BEZ_ACTION_DEGRADE enters what could not be
 * replaced in the inventory (<bezoar/lost.h>); the thread that touched it leaves
 * by a jump to its innermost scope, which is over then: the catch runs outside of
 * it, and what is lost in there goes to the next scope further out. Without a
 * scope the ladder goes on. To enter and leave one takes a few nanoseconds and no
 * system call. It works in any thread, and in signal handlers.
 *
 * A jump is a jump, as by siglongjmp(3): variables of the function that were
 * changed in the TRY have to be volatile to be of use in the CATCH; no C++
 * destructor and no cleanup attribute of what lies in between runs. What must be
 * done all the same (a lock given back) is for bez_scope_cleanup().
 *
 * Afterwards all is as the code had it that touched the memory: signal mask,
 * protection keys, errno, rounding and exception masks. The alternate stack is free
 * again.
 *
 * `break` and `continue` end the TRY or the CATCH they are in, `return` and `goto`
 * leave it as well. A jump (longjmp(3), an exception) out of a TRY must end in an
 * outer scope of the same thread; leaving that leaves all within. One that ends
 * outside of every scope has to be followed by bez_scope_none(). A scope belongs
 * to a stack: leave it before switching to another (swapcontext(3)). No jump is made
 * to a function that is not under way any more; bez_scope(3) says how that is known.
 * But one that a jump has left, and that is called again at the same depth, is under
 * way: what it touches before its TRY lands in the CATCH of the earlier call. So is one
 * that the jump ends in itself: leave the scope by bez_scope_leave() before that.
 */
#ifndef BEZOAR_SCOPE_H
#define BEZOAR_SCOPE_H

/* A TRY in a TRY has a variable of the same name: no -Wshadow for that. */
#pragma GCC system_header

#include <stddef.h>
#include <stdint.h>

#include <bezoar/lost.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* Run by the jump out of a scope, see bez_scope_cleanup(). Yours to keep until
 * the scope is left; its content is the library's. */
struct bez_scope_cleanup {
	struct bez_scope_cleanup *next;
	void (*fn)(void *arg);
	void *arg;
};

struct bez_scope {
	struct bez_scope *outer;	/* all of these are the library's */
	struct bez_scope_cleanup *cleanup;
	struct bez_scope *self;
	uint64_t saved[29];
	struct bez_lost lost;		/* filled before the jump */
};

/* Called through a pointer, not by way of a jump to one: a quarter of the cost. */
#if defined(__GNUC__) && !defined(__clang__)
#define BEZ_SCOPE_DIRECT __attribute__((noplt))
#else
#define BEZ_SCOPE_DIRECT
#endif

/*
 * The scope is entered: 0. It comes back a second time, with 1, when something was
 * lost inside; then @scope->lost says what, and the scope is over. As setjmp(3),
 * to be called in a condition, by a function that does not return before it has
 * left. @scope need not be initialised. Context: any, handler-safe.
 */
int bez_scope_enter(struct bez_scope *scope)
	__attribute__((returns_twice)) BEZ_SCOPE_DIRECT;

/* The scope is over, and all that were entered after it. Nothing if it is
 * already, be it with one around it. Context: any, handler-safe. */
void bez_scope_leave(struct bez_scope *scope) BEZ_SCOPE_DIRECT;

/* The calling thread is in no scope any more. Context: any, handler-safe. */
void bez_scope_none(void);

/*
 * For languages without setjmp(3): @fn(@arg) in a scope. 0, or -EFAULT: it was
 * left, and *@ret_lost (which may be NULL) says why.
 * Context: any, handler-safe.
 */
int bez_scope_run(void (*fn)(void *arg), void *arg, struct bez_lost *ret_lost);

/*
 * Have @fn(@arg) called if the innermost scope of the calling thread is left by a
 * jump: before the catch, in normal context, on the stack of the code that is
 * left, which is still there; the last one first. Not when the scope is left
 * otherwise. -EINVAL: there is no scope, or a NULL.
 *
 *	pthread_mutex_lock(&m);
 *	bez_scope_cleanup(&c, unlock, &m);
 *	...
 *	bez_scope_cleanup_done(&c);
 *	pthread_mutex_unlock(&m);
 *
 * Context: any, handler-safe.
 */
int bez_scope_cleanup(struct bez_scope_cleanup *cleanup, void (*fn)(void *arg),
		      void *arg);

/* @cleanup is not called any more, nor those that came after it. It has to be
 * one of the innermost scope, else nothing happens: -ENOENT.
 * Context: any, handler-safe. */
int bez_scope_cleanup_done(struct bez_scope_cleanup *cleanup);

#define BEZ_TRY								\
	for (struct bez_scope bez_scope_					\
		     __attribute__((cleanup(bez_scope_leave))),		\
	     *bez_scope_once_ = &bez_scope_;				\
	     bez_scope_once_; bez_scope_once_ = NULL)			\
		if (!bez_scope_enter(&bez_scope_))

#define BEZ_CATCH(name)							\
		else							\
			for (const struct bez_lost *name = &bez_scope_.lost; \
			     name; name = NULL)

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif
