/* SPDX-License-Identifier: MIT */
/*
 * bezoar - copies that survive a lost page; <bezoar/bezoar.h> includes this.
 *
 * These do what memcpy(3) and its kin do, at the same speed, and come back with
 * a count when they meet a lost page that cannot be replaced: in memory that
 * is in no region, or whose source has failed. A page that can be replaced is
 * replaced as anywhere else, and the copy goes on.
 *
 *	size_t left = bez_copy(to, page_of_somebody, len);
 *
 *	if (left)
 *		forget(to, len - left);	 (so many bytes are there)
 *
 * They work on any memory and in any thread in which SIGBUS is not blocked,
 * attached or not. Before bez_start(), and when another handler has taken
 * SIGBUS and does not hand on, a lost page is what it always was. Nothing else
 * is caught: a bad pointer raises SIGSEGV. The page that ended a copy is not
 * touched again, nor one in the inventory (<bezoar/lost.h>) at all; the former action is not called, and the event says
 * BEZ_OUTCOME_COPY_SHORT.
 */
#ifndef BEZOAR_COPY_H
#define BEZOAR_COPY_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/*
 * Copy @len bytes, which may overlap as for memmove(3). Returns how many were
 * not copied, 0 if all were: the first @len - ret bytes of @dst are what those
 * of @src were, and the byte behind them is lost, in @src or in @dst. What is
 * behind that in @dst was not written. (But where @dst lies inside the source,
 * and a page goes during the call or can be read and not written, it may have
 * been.)
 * Context: any, handler-safe.
 */
size_t bez_copy(void *dst, const void *src, size_t len);

/* Set @len bytes to @c. Returns how many were not, as above.
 * Context: any, handler-safe. */
size_t bez_set(void *dst, int c, size_t len);

/*
 * Compare as memcmp(3) does. Returns 0, and *@ret_order is negative, 0 or
 * positive; or how many bytes could not be compared, when all before them are
 * the same. A difference before the first lost byte decides.
 * Context: any, handler-safe.
 */
size_t bez_compare(const void *a, const void *b, size_t len, int *ret_order);

/*
 * One aligned word at once: a load that acquires, a store that releases, a
 * compare-and-swap that is sequentially consistent. cas: 0 if it was
 * *@expected and is @desired now, -EAGAIN if it was not, and *@expected is
 * what it was.
 *
 * -EFAULT: it is lost. -EINVAL: not a multiple of 8.
 * Context: any, handler-safe.
 */
int bez_load_u64(const uint64_t *from, uint64_t *ret_value);
int bez_store_u64(uint64_t *to, uint64_t value);
int bez_cas_u64(uint64_t *at, uint64_t *expected, uint64_t desired);

/*
 * A system call does not raise SIGBUS when it meets a lost page: it says
 * EFAULT, or is short. Then call this with its buffer: lost pages of regions in
 * there are replaced as at a fault, up to the first that cannot be. 0: all of
 * it can be read now, so call again, with what is left. Once or twice, not for
 * ever: EFAULT has other reasons as well, like a buffer that is to be written
 * and must not be. What was not in memory is brought in.
 *
 *	done = write(fd, buf, len);
 *	if (done < 0 && errno == EFAULT && !bez_recover(buf, len))
 *		done = write(fd, buf, len);
 *
 * -EFAULT: some of it is lost, and was not replaced (the event says why, with
 * BEZ_CAUSE_RECOVER), or is not mapped, or may not be read. -ENOMEM: there was
 * no memory for a fresh page. -EINVAL: the range wraps around. -ESRCH: not
 * started. -EBUSY: too many threads are replacing pages.
 * Context: any, handler-safe; not in bezoar's own handler (-EDEADLK).
 */
int bez_recover(const void *addr, size_t len);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif
