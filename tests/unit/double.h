/* SPDX-License-Identifier: MIT */
/*
 * A double of src/sys/sys_sig.c, linked in its place: the library's system
 * calls go on to the kernel, but a test can count them, let chosen ones fail,
 * look at what was called, and make the kernel look older than it is.
 *
 * It does nothing until double_watch() is called.
 */
#ifndef BEZOAR_TESTS_DOUBLE_H
#define BEZOAR_TESTS_DOUBLE_H

#include <stddef.h>
#include <stdint.h>

struct double_call {
	long nr;
	long arg[6];
	long result;
	int lied;		/* the result is not the kernel's */
};

/* Any system call that can fail at all when its arguments are sound. */
#define DOUBLE_ANY	(-1L)

#define DOUBLE_EXECUTE	1	/* let it happen, and say otherwise */

struct double_rule {
	long nr;		/* SYS_*, or DOUBLE_ANY */
	long what;		/* ioctl's request, madvise's advice, fcntl's
				 * command, futex's operation; 0: any */
	uint32_t nth;		/* the n-th that matches, from 1; 0: each */
	int err;		/* answer -err; with EXECUTE, 0 is an answer */
	uint32_t flags;
};

/*
 * For what code in normal context asks of the libc, see libc.c: counted, traced
 * and failed like a system call. Returns 0: do it; or the errno to answer.
 */
#define DOUBLE_THREAD_CREATE	100001
#define DOUBLE_KEY_CREATE	100002
#define DOUBLE_KEY_SET		100003
#define DOUBLE_ATFORK		100004
int double_asked(long nr, long what);

/* Run @look before each watched call (not for the calls it makes itself). */
void double_before(void (*look)(long nr, const long arg[6]));

/* Older or narrower kernels; bits. */
#define DOUBLE_NO_POPULATE	0x01u	/* MADV_POPULATE_READ: 5.14 */
#define DOUBLE_NO_POISON	0x02u	/* UFFDIO_POISON: 6.6 */
#define DOUBLE_NO_UFFD		0x04u	/* built without userfaultfd */
#define DOUBLE_NOT_FULL		0x08u	/* user mode only, no device */
#define DOUBLE_NO_USER_MODE	0x10u	/* UFFD_USER_MODE_ONLY: 5.11 */
#define DOUBLE_NO_DEVICE	0x20u	/* /dev/userfaultfd: 6.1 */
#define DOUBLE_ONLY_DEVICE	0x40u	/* the system call is filtered */
#define DOUBLE_FREE_KEEPS	0x80u	/* MADV_FREE leaves poison: 6.1 */
#define DOUBLE_NO_NUMA		0x100u
#define DOUBLE_NO_READV		0x200u	/* process_vm_readv left out */
#define DOUBLE_NO_HUGE_MOVE	0x400u	/* by its name: 5.16 */

#define DOUBLE_5_10 (DOUBLE_NO_POPULATE | DOUBLE_NO_POISON | \
		     DOUBLE_NO_USER_MODE | DOUBLE_NO_DEVICE | \
		     DOUBLE_FREE_KEEPS | DOUBLE_NO_HUGE_MOVE)
#define DOUBLE_6_1 (DOUBLE_NO_POISON)

/* From now on, look at the calls of this thread, or of all. Counts begin. */
void double_watch(void);
void double_watch_all(void);
void double_rest(void);

/* Forget the rules, the trace, the kernel, the clock, the text. */
void double_reset(void);

/* Add one; the first that matches a call applies. At most 8. */
void double_rule(const struct double_rule *rule);

/* The n-th call that can fail at all (from 1) says -err and does nothing. */
void double_fail(uint32_t n, int err);

void double_kernel(uint32_t bits);

/* Each look at the clock finds it this much later than it would be. */
void double_clock(uint64_t step_ns);

/* It stands still from now on, but for those steps. */
void double_stop_clock(void);

/* What /proc/self/smaps reads as; NULL: the real one. Reads of it, or of any
 * file if @chunk is not 0, return at most @chunk bytes. */
void double_smaps(const char *text, size_t chunk);

/* How many calls that can fail were watched, and was any rule applied? */
uint32_t double_calls(void);
uint32_t double_lies(void);

/* The watched calls, in order, those that cannot fail included. */
uint32_t double_traced(void);
const struct double_call *double_trace(uint32_t i);

/* How many of them were @nr with @what (0: any). */
uint32_t double_count(long nr, long what);

/* What a call was, for a message. */
const char *double_name(long nr);

#endif
