/* SPDX-License-Identifier: MIT */
/*
 * The hunt: which words of this process still point into what is lost?
 * <bezoar/bezoar.h> includes this.
 *
 *	static int strike_out(const struct bez_hunt_found *found, void *arg)
 *	{
 *		index_mark_lost(arg, found->at);
 *		return 0;
 *	}
 *
 *	struct bez_range heap = { pool, pool_bytes };
 *	struct bez_hunt_options o = BEZ_HUNT_OPTIONS_INIT;
 *
 *	o.ranges = &heap;
 *	o.range_count = 1;
 *	o.fn = strike_out;
 *	bez_hunt(&o, NULL);
 *
 * A word is found if it lies at a multiple of 8 and its value, after @mask, is an
 * address in a lost extent. It need not be a pointer: numbers that look like one
 * are found, too, and so are values that nobody will use again. What is not found:
 * pointers with a tag outside of @mask, those that are packed, compressed, or not
 * aligned, and those that are in other processes or in files.
 *
 * What is lost is taken once, at the beginning: what is lost later is not looked
 * for. Other threads may run. A word that they write meanwhile is seen as it was
 * before or after; a pointer that they move from what was not looked at yet to
 * what was is missed. So to find all of them, keep those who could move one away,
 * or hunt again until nothing is found.
 */
#ifndef BEZOAR_HUNT_H
#define BEZOAR_HUNT_H

#include <bezoar/lost.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* Where to look, beside the ranges that are given; what is named twice is looked
 * at once. */
#define BEZ_HUNT_REGIONS	0x1u	/* all regions that are registered */
#define BEZ_HUNT_MAPPINGS	0x2u	/* all writable private mappings: heap,
					 * data, stacks. What lies below a stack
					 * pointer is found as well */
#define BEZ_HUNT_THREADS	0x4u	/* registers of all threads, and their
					 * stacks from the stack pointer on */
#define BEZ_HUNT_REPLACE	0x8u	/* store @tombstone in each word that is
					 * found, if it is still that, or another
					 * one that points there by now */

/* What became of a word. The numbers are pinned. */
enum bez_hunt_what {
	BEZ_HUNT_FOUND = 1,		/* without BEZ_HUNT_REPLACE; a register */
	BEZ_HUNT_REPLACED = 2,		/* it is the tombstone now */
	BEZ_HUNT_CHANGED = 3,		/* somebody else has written to it since */
	BEZ_HUNT_READ_ONLY = 4,		/* it may not be written; left alone */
	BEZ_HUNT_GONE = 5		/* its page was lost, or unmapped, since */
};

/* bez_hunt_found.reg: from here on a word of a vector register. Below, the place
 * of a register in the machine context of ucontext_t (gregs on x86-64, regs on
 * aarch64). */
#define BEZ_HUNT_REG_VECTOR	64u
/* One of those that the caller of bez_hunt() has kept over the call. */
#define BEZ_HUNT_REG_KEPT	65535u

struct bez_hunt_found {
	uint64_t *at;			/* the word; NULL: it is in a register */
	uint64_t value;			/* what was found there, with its tag */
	void *extent;			/* what it points into: start */
	size_t width;			/* and bytes */
	int32_t tid;			/* register: of this thread; else 0 */
	uint16_t reg;			/* register: which one; else 0 */
	uint16_t what;			/* enum bez_hunt_what */
};

/*
 * Told of each word that is found, once, in no order, after it was replaced. Calls
 * come one at a time: from the thread that hunts, and with @threads from others,
 * of which the library makes some. It may do what any thread may, but call
 * bez_hunt() or bez_stop(), and must not leave by a jump. Not 0: enough; the hunt
 * ends with -ECANCELED.
 */
typedef int (*bez_hunt_fn)(const struct bez_hunt_found *found, void *arg);

struct bez_hunt_options {
	uint32_t size;			/* sizeof(struct bez_hunt_options) */
	uint32_t flags;			/* BEZ_HUNT_* */
	const struct bez_range *ranges; /* to look at; may be NULL */
	size_t range_count;
	const struct bez_range *extents; /* what is lost: as if it were
					 * these; NULL: the whole inventory */
	size_t extent_count;
	uint64_t mask;			/* bits of a word that are its address,
					 * for tagged pointers; 0: all */
	uint64_t tombstone;		/* BEZ_HUNT_REPLACE: what to store */
	uint32_t threads;		/* that look; 0: 1, most 64 */
	int32_t signal;			/* BEZ_HUNT_THREADS: SIGRTMIN to SIGRTMAX,
					 * that nobody uses; the library's from
					 * then on */
	uint64_t patience_ns;		/* BEZ_HUNT_THREADS: for threads to answer
					 * it; 0: 1 s */
	struct bez_hunt_found *found;	/* room for what is found first; or NULL */
	size_t room;			/* entries */
	bez_hunt_fn fn;			/* told of all; or NULL */
	void *arg;			/* passed to fn */
};

#define BEZ_HUNT_OPTIONS_INIT \
	{ sizeof(struct bez_hunt_options), 0, NULL, 0, NULL, 0, 0, 0, 0, 0, 0, \
	  NULL, 0, NULL, NULL }

struct bez_hunt_result {
	uint32_t size;			/* sizeof(struct bez_hunt_result) */
	uint32_t threads_seen;		/* BEZ_HUNT_THREADS: answered, or called */
	uint32_t threads_unseen;	/* did not in time, or block the signal */
	uint32_t reserved;		/* 0 */
	uint64_t generation;		/* bez_lost_generation() of what is lost */
	uint64_t found;			/* words, all of them: what is below, and
					 * registers */
	uint64_t replaced;
	uint64_t changed;
	uint64_t read_only;
	uint64_t gone;
	uint64_t bytes;			/* of memory that were looked at */
	uint64_t bytes_absent;		/* nothing was ever there, or a lost page
					 * is just replaced: not touched */
	uint64_t bytes_skipped;		/* lost, unmapped, or without access */
};

#define BEZ_HUNT_RESULT_INIT \
	{ sizeof(struct bez_hunt_result), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }

/*
 * Hunt. @ret_result may be NULL; it is filled for 0 and -ECANCELED. Of @found the
 * first min(found, room) entries are filled; what more there was is counted.
 *
 * Lost pages are not touched, nor what is lost meanwhile a second time. Given
 * ranges are read where they are: what is not mapped at the beginning, or may not
 * be read, is skipped; it must not be unmapped or closed during the call. What
 * the library looks for itself (the flags) other threads may unmap at any time: it
 * is copied by the kernel (process_vm_writev(2)), at half the speed, and then the
 * given ranges are as well. Memory of the library and of the call (options,
 * ranges, extents, results) is left out.
 *
 * With BEZ_HUNT_REPLACE each word is compared and swapped as a whole, by one
 * instruction: who writes to it meanwhile does not lose what he wrote. It takes
 * numbers for pointers as any hunt does: only where every such word may become a
 * tombstone. A private mapping gets a page of its own, a shared one changes for
 * all who have it. With BEZ_HUNT_MAPPINGS or BEZ_HUNT_THREADS, where the word may
 * be unmapped before it is replaced, it needs BEZ_START_SEGV_DOOR; without these a
 * region must not lose its access during the call.
 *
 * Of a memory file all is read, and so its holes take memory; bez_hunt(3) has a way
 * around that. With BEZ_HUNT_THREADS a stack goes to the end of the mapping
 * that it lies in, whatever else is there; sleeps and polls of other threads end with
 * EINTR, as with any signal; and no thread may call execve(2) meanwhile: the signal would
 * end the new program. Up to 16 KiB below the caller's frame are the call's own, and left
 * out. bez_stop() may not run meanwhile. It is no point of cancellation.
 *
 * -EINVAL: unknown flags, nowhere to look, an empty extent or one that @mask cuts
 * off, a tombstone that would be found, a bad signal. -ESRCH: not started.
 * -EBUSY: the signal is used by somebody else, or another hunt asks threads.
 * -EOPNOTSUPP: replace needs the door (and x86-64) here. -ENOMEM, -E2BIG: as
 * anywhere. Or what open(2) of /proc/self/maps or process_vm_writev(2) said.
 * Context: any; on_lost; not in a handler, a source or bez_hunt_fn (-EDEADLK).
 */
int bez_hunt(const struct bez_hunt_options *options,
	     struct bez_hunt_result *ret_result);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif
