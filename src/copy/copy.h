/* SPDX-License-Identifier: MIT */
/*
 * Beside the rooms: copies that come back with a count when they meet a lost
 * page. What may meet one is assembly or, on other machines, a few loops in C;
 * it lies in sections of its own, by which the handler knows it (fix_sig.c). A
 * fault there that nobody could repair goes on at a fix-up, which is told the
 * address; what is left up to that page is copied by the steps below, and the
 * lost page is not touched again (rest_sig.c).
 *
 *	move.h steps.S		x86-64: by exception table (table.h)
 *	scope_sig.c		any: by a record that says where to come back to
 */
#ifndef BEZOAR_COPY_COPY_H
#define BEZOAR_COPY_COPY_H

#include <bezoar/bezoar.h>
#include <stddef.h>
#include <stdint.h>

/* In two registers. */
struct bz_stop {
	size_t left;		/* bytes that were not done; 0: all were */
	uint64_t addr;		/* then: what was lost; 0: not known */
};

/*
 * Each begins at the front, and tells how far it came. Never behind that has it
 * stored anything, and the source is as it was from there on. forward() is for
 * memory that may be copied that way; those that return int do a byte and say 0
 * or -EFAULT.
 */
struct bz_steps {
	struct bz_stop (*forward)(void *dst, const void *src, size_t n);
	struct bz_stop (*fill)(void *dst, int c, size_t n);
	/* how many bytes before the first lost page; n > 0 */
	size_t (*touch)(const void *at, size_t n);
	size_t (*touch_write)(void *at, size_t n);
	int (*byte)(void *dst, const void *src);
	int (*byte_set)(void *dst, int c);
	int (*byte_order)(const void *a, const void *b, int *ret_order);
};

/* Copies from the end: bz_stop.left bytes at the front are not done. */
typedef struct bz_stop (*bz_backward_fn)(void *dst, const void *src, size_t n);

/*
 * After a fault at @addr (0: not known), when the first @done bytes were done:
 * do what there is before the lost page. Return what the public functions do.
 */
size_t bz_rest_copy(const struct bz_steps *steps, void *dst, const void *src,
		    size_t len, size_t done, uint64_t addr);
size_t bz_rest_set(const struct bz_steps *steps, void *dst, int c, size_t len,
		   size_t done, uint64_t addr);
size_t bz_rest_compare(const struct bz_steps *steps, const void *a,
		       const void *b, size_t len, size_t done, uint64_t addr,
		       int *ret_order);
/* The same when nothing was done and memory may overlap in any way. */
size_t bz_rest_again(const struct bz_steps *steps, void *dst, const void *src,
		     size_t len, uint64_t addr, bz_backward_fn backward);

/* Go on behind @done bytes of a copy that was not stopped. */
size_t bz_rest_on(const struct bz_steps *steps, void *dst, const void *src,
		  size_t len, size_t done);

/* Copy to a @dst inside of the source, or the source itself. */
size_t bz_rest_overlap(const struct bz_steps *steps, void *dst,
		       const void *src, size_t len, bz_backward_fn backward);

/*
 * The same with a look into the inventory of what is lost (region/lost.h) before:
 * @go for what lies in front of that. bz_ask_copy() is for when something is; the
 * others see for themselves. bz_ask_word(): 0 or -EFAULT.
 */
size_t bz_ask_copy(void *dst, const void *src, size_t len,
		   size_t (*go)(void *dst, const void *src, size_t len));
size_t bz_ask_set(void *dst, int c, size_t len,
		  size_t (*go)(void *dst, int c, size_t len));
size_t bz_ask_compare(const void *a, const void *b, size_t len, int *ret_order,
		      size_t (*go)(const void *a, const void *b, size_t len,
				   int *ret_order));
int bz_ask_word(const void *at);

/* One way to do it all. */
struct bz_copier {
	const char *name;
	int (*usable)(void);		/* by this processor */
	size_t (*copy)(void *dst, const void *src, size_t len);
	size_t (*set)(void *dst, int c, size_t len);
	size_t (*compare)(const void *a, const void *b, size_t len,
			  int *ret_order);
	int (*load)(const uint64_t *from, uint64_t *ret_value);
	int (*store)(uint64_t *to, uint64_t value);
	int (*cas)(uint64_t *at, uint64_t *expected, uint64_t desired);
};

/* All that there are here, the best first, the portable one and NULL last. The
 * library takes the first that is usable; tests take each. */
extern const struct bz_copier *const bz_copiers[];
extern const struct bz_copier bz_copier_scope;

/* Its copy without a look into the inventory: for who has looked. An aligned word
 * is copied at once. */
size_t bz_scope_copy(void *dst, const void *src, size_t len);

#if defined(__x86_64__)
/* From so many bytes on rep movsb is used. Written before main(). */
extern size_t bz_copy_rep_from;
#endif

/*
 * Where the code that @context was interrupted in goes on if the fault cannot
 * be repaired; 0: it is none of ours, or its own page is what was lost.
 * Context: handler-safe.
 */
uint64_t bz_copy_fix(const void *context, uint64_t addr);

/*
 * The same after SIGSEGV: not 0 for the one instruction that is promised to come
 * back from that as well, the compare-and-swap of a hunt (hunt/).
 */
uint64_t bz_copy_fix_unmapped(const void *context);

/* Let it go on there when the handler returns. */
void bz_copy_go(void *context, uint64_t fix, uint64_t addr);

#endif
