/* SPDX-License-Identifier: MIT */
#include "copy/copy.h"

#include <errno.h>

/* What is lost is never smaller, and begins at a multiple of it. */
#define PAGE 4096u

/*
 * How many bytes of [@base, @base + @len) lie before the page of @addr, not
 * counting back behind @done. SIZE_MAX: the page is not in there.
 */
static size_t before(const void *base, size_t done, size_t len, uint64_t addr)
{
	uint64_t at = (uint64_t)base, page = addr & -(uint64_t)PAGE;

	if (!addr || page + PAGE <= at + done || page >= at + len)
		return SIZE_MAX;
	return page <= at + done ? done : page - at;
}

static size_t before_both(const void *a, const void *b, size_t done,
			  size_t len, uint64_t addr)
{
	size_t x = before(a, done, len, addr), y = before(b, done, len, addr);

	return x < y ? x : y;
}

/* Where it is not known what was lost: one by one until it shows. */
static size_t copy_bytes(const struct bz_steps *steps, char *dst,
			 const char *src, size_t len, size_t done)
{
	while (done < len && !steps->byte(dst + done, src + done))
		done++;
	return len - done;
}

/*
 * Each turn has an earlier page for its end. Where the destination is a little
 * below the source, the page can be of both; whether it is lost or can only
 * not be written, the address does not say.
 */
size_t bz_rest_copy(const struct bz_steps *steps, void *dst, const void *src,
		    size_t len, size_t done, uint64_t addr)
{
	char *to = dst;
	const char *from = src;
	struct bz_stop stop;
	size_t end, other;

	for (;;) {
		end = before(src, done, len, addr);
		other = before(dst, done, len, addr);
		if (other <= end)
			end = other;
		else if (other == SIZE_MAX)
			other = end;
		if (end == SIZE_MAX)
			return copy_bytes(steps, to, from, len, done);
		stop.left = 0;
		if (end > done)
			stop = steps->forward(to + done, from + done,
					      end - done);
		if (!stop.left)
			return end == other ? len - end :
			       copy_bytes(steps, to, from, len, end);
		done = end - stop.left;
		addr = stop.addr;
	}
}

size_t bz_rest_on(const struct bz_steps *steps, void *dst, const void *src,
		  size_t len, size_t done)
{
	struct bz_stop stop = steps->forward((char *)dst + done,
					     (const char *)src + done,
					     len - done);

	return stop.left ? bz_rest_copy(steps, dst, src, len, len - stop.left,
					stop.addr) : 0;
}

size_t bz_rest_set(const struct bz_steps *steps, void *dst, int c, size_t len,
		   size_t done, uint64_t addr)
{
	char *to = dst;
	struct bz_stop stop;
	size_t end;

	for (;;) {
		end = before(dst, done, len, addr);
		if (end == SIZE_MAX) {
			while (done < len && !steps->byte_set(to + done, c))
				done++;
			return len - done;
		}
		if (end == done)
			return len - done;
		stop = steps->fill(to + done, c, end - done);
		if (!stop.left)
			return len - end;
		done = end - stop.left;
		addr = stop.addr;
	}
}

/* The fast loops come to within a few bytes of the page. */
size_t bz_rest_compare(const struct bz_steps *steps, const void *a,
		       const void *b, size_t len, size_t done, uint64_t addr,
		       int *ret_order)
{
	const char *x = a, *y = b;
	size_t end = before_both(a, b, done, len, addr);
	int order = 0;

	if (end == SIZE_MAX)
		end = len;
	while (done < end) {
		if (steps->byte_order(x + done, y + done, &order))
			return len - done;
		if (order)
			break;
		done++;
	}
	if (!order && done < len)
		return len - done;
	*ret_order = order;
	return 0;
}

/*
 * From the end, what is behind the lost page would be stored before that is
 * met. So each page is looked at first, from the front. A page that goes just
 * then, or that can be read and not written, is met all the same: then bytes
 * behind the count have changed.
 */
static size_t overlap(const struct bz_steps *steps, char *dst,
		      const char *src, size_t len, size_t n,
		      bz_backward_fn backward)
{
	struct bz_stop stop;
	size_t end;

	if (n)
		n = steps->touch(src, n);
	if (n)
		n = steps->touch(dst, n);
	if (dst == src)
		return len - n;
	while (n) {
		stop = backward(dst, src, n);
		if (!stop.left)
			return len - n;
		n = stop.left;
		end = before_both(dst, src, 0, n, stop.addr);
		/* the block that it stopped at can begin in front of the page;
		 * where the kernel says nothing, neither can we */
		if (end == SIZE_MAX)
			return len;
		n = end;
		if (n)
			n = steps->touch_write(dst, n);
	}
	return len;
}

size_t bz_rest_overlap(const struct bz_steps *steps, void *dst,
		       const void *src, size_t len, bz_backward_fn backward)
{
	return overlap(steps, dst, src, len, len, backward);
}

size_t bz_rest_again(const struct bz_steps *steps, void *dst, const void *src,
		     size_t len, uint64_t addr, bz_backward_fn backward)
{
	size_t n;

	if ((uint64_t)dst - (uint64_t)src >= len)
		return bz_rest_copy(steps, dst, src, len, 0, addr);
	n = before_both(dst, src, 0, len, addr);
	return overlap(steps, dst, src, len, n == SIZE_MAX ? len : n,
		       backward);
}
