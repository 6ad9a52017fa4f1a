/* SPDX-License-Identifier: MIT */
/*
 * Bring a range back that was saved with what was lost left out. Nothing of the
 * memory is changed before all that was read is known to be right. A file is read
 * twice for that; what comes once is kept aside.
 */
#include "hunt/around.h"

#include <errno.h>

#include <bezoar/bezoar.h>

#include "core/core.h"
#include "core/own.h"
#include "hunt/around_form.h"
#include "sys/sys.h"

#define OPENS	32768u			/* what the inventory has room for */

struct back {
	struct bz_around a;		/* its holes are those told in the end */
	struct bz_around file;		/* its holes are those of the file */
	int fd;
	int is_file;
	uint64_t base;			/* of a file: where the range begins */
	unsigned char *aside;		/* else: the range */
	unsigned char *to;
	size_t len;
	uint64_t digest;		/* that the good bytes must have */
	struct bez_range *opened;	/* what was lost, and is open */
	size_t opens;
	uint32_t own;			/* bz_own_add() of aside */
};

static int read_at(struct back *b, uint64_t offset, void *to, size_t len)
{
	return b->is_file ? bz_around_pread(b->fd, to, len, b->base + offset) :
			    bz_around_read(b->fd, to, len);
}

/* ------------------------------------------------------------ look at it all */

static int keep_aside(struct back *b)
{
	long at;

	if (b->is_file || !b->len)
		return 0;
	at = bz_mmap(0, b->len, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1);
	if (at < 0)
		return -ENOMEM;
	b->aside = (unsigned char *)at;
	b->own = bz_own_add(b->aside, b->len);
	bz_madvise((uint64_t)at, b->len, MADV_DONTDUMP);
	bz_madvise((uint64_t)at, b->len, MADV_WIPEONFORK);
	return read_at(b, 0, b->aside, b->len);
}

static int read_trailer(struct back *b)
{
	unsigned char head[BZ_AROUND_HEAD];
	size_t count, i;
	int r = read_at(b, b->len, head, sizeof(head));

	if (!r)
		r = bz_around_head(head, b->len, &count);
	if (!r)
		r = bz_around_open(&b->file, count);
	if (r)
		return r;
	for (i = 0; i < sizeof(head); i++)
		b->file.trailer[i] = head[i];
	r = read_at(b, b->len + sizeof(head), b->file.trailer + sizeof(head),
		    bz_around_size(count) - sizeof(head));
	if (!r)
		r = bz_around_get(b->file.trailer, bz_around_size(count),
				  b->len, b->file.hole, &b->digest);
	b->file.count = count;
	return r;
}

/* Do @what with the good bytes, in pieces of at most a chunk; and *@lost, if not
 * NULL, with each hole. */
static int each_piece(struct back *b,
		      int (*what)(struct back *b, uint64_t offset,
				  const unsigned char *from, size_t len),
		      int (*lost)(struct back *b, uint64_t offset,
				  uint64_t len))
{
	const struct bez_hole *hole = b->file.hole;
	const struct bez_hole *last = hole + b->file.count;
	uint64_t at = 0;
	int r = 0;

	XXH3_64bits_reset(b->a.digest);
	while (!r && (at < b->len || hole < last)) {
		uint64_t end = hole < last ? hole->offset : b->len;
		size_t n = end - at < BZ_AROUND_CHUNK ? end - at :
							BZ_AROUND_CHUNK;
		const unsigned char *from = b->aside ? b->aside + at : b->a.buf;

		if (!n) {
			r = lost ? lost(b, at, hole->len) : 0;
			at += hole++->len;
			continue;
		}
		if (b->is_file)
			r = read_at(b, at, b->a.buf, n);
		if (r)
			return r;
		XXH3_64bits_update(b->a.digest, from, n);
		r = what ? what(b, at, from, n) : 0;
		at += n;
	}
	if (!r && XXH3_64bits_digest(b->a.digest) != b->digest)
		r = what ? -ESTALE : -EBADMSG;
	return r;
}

static int look(struct back *b)
{
	int r = keep_aside(b);

	if (!r)
		r = read_trailer(b);
	return r ? r : each_piece(b, NULL, NULL);
}

/* ------------------------------------------------------------ then change it */

static int whole_pages(const struct back *b)
{
	uint64_t mask = bz_core.page - 1;
	size_t i;

	for (i = 0; i < b->file.count; i++)
		if ((((uint64_t)b->to + b->file.hole[i].offset) & mask) ||
		    (b->file.hole[i].len & mask))
			return 0;
	return 1;
}

static int lose(const struct back *b)
{
	size_t i;
	int r = 0;

	for (i = 0; !r && i < b->file.count; i++)
		r = bez_lost_add(b->to + b->file.hole[i].offset,
				 b->file.hole[i].len);
	return r;
}

/* Is there a byte for all of [@at, @at + @len)? The first hole that ends behind
 * @at is looked for. */
static int is_there(const struct back *b, uint64_t at, uint64_t len)
{
	size_t low = 0, high = b->file.count, mid;

	while (low < high) {
		mid = low + (high - low) / 2;
		if (b->file.hole[mid].offset + b->file.hole[mid].len <= at)
			low = mid + 1;
		else
			high = mid;
	}
	return low == b->file.count || b->file.hole[low].offset >= at + len;
}

/* What cannot be opened stays lost, and is told as such. */
static void open_lost(struct back *b)
{
	struct bez_lost lost;
	uint64_t walk = 0;

	while (!bez_lost_next(&walk, &lost)) {
		uint64_t at = (uint64_t)lost.addr - (uint64_t)b->to;

		if (b->opens < OPENS && at < b->len &&
		    lost.width <= b->len - at &&
		    is_there(b, at, lost.width) &&
		    !bez_lost_clear(lost.addr, lost.width))
			b->opened[b->opens++] = (struct bez_range){
				lost.addr, lost.width };
	}
}

/* What is in there may be nothing, or from another file. */
static void close_opened(struct back *b)
{
	while (b->opens--)
		bez_lost_add(b->opened[b->opens].addr,
			     b->opened[b->opens].len);
}

static int put(struct back *b, uint64_t offset, const unsigned char *from,
	       size_t len)
{
	size_t done = 0;
	uint64_t lost;
	int r;

	while (done < len) {
		size_t left = bez_copy(b->to + offset + done, from + done,
				       len - done);

		done = len - left;
		if (!left)
			break;
		lost = bz_around_lost(b->to + offset + done, left,
				      from + done);
		if (!lost)
			return -EFAULT;
		r = bz_around_add(&b->a, offset + done, lost);
		if (r)
			return r;
		done += lost;
	}
	return 0;
}

static int skip(struct back *b, uint64_t offset, uint64_t len)
{
	return bz_around_add(&b->a, offset, len);
}

static int bring(struct back *b, uint32_t flags)
{
	size_t size = bz_around_size(b->file.count);
	int r = 0;
	long at;

	if (flags & BEZ_BACK_LOSE)
		r = whole_pages(b) ? lose(b) : -EINVAL;
	if (r)
		return r;
	at = bz_mmap(0, OPENS * sizeof(*b->opened), PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
	if (at < 0)
		return -ENOMEM;
	b->opened = (void *)at;
	open_lost(b);
	r = each_piece(b, put, skip);
	if (r)
		close_opened(b);
	bz_munmap((uint64_t)at, OPENS * sizeof(*b->opened));
	/* it is another file than the one that was looked at */
	if (r == -EBADMSG)
		r = -ESTALE;
	if (!r && b->is_file) {
		long to = (long)(b->base + b->len + size);

		to = bz_sys(SYS_lseek, b->fd, to, SEEK_SET, 0, 0, 0);
		r = to < 0 ? (int)to : 0;
	}
	return r;
}

int bez_read_back(int fd, void *addr, size_t len, uint32_t flags,
		  struct bez_holes *ret_holes)
{
	struct back b = { .fd = fd, .to = addr, .len = len };
	int r;

	if (!atomic_load(&bz_core.mm))
		return -ESRCH;
	if ((uint64_t)addr + len < (uint64_t)addr ||
	    (flags & ~BEZ_BACK_LOSE) || bz_around_check(ret_holes))
		return -EINVAL;
	if (bz_inside())
		return -EDEADLK;
	r = bz_around_open(&b.a, BEZ_HOLES_MAX);
	if (r)
		return r;
	b.is_file = bz_around_is_file(fd, &b.base);
	r = look(&b);
	if (!r)
		r = bring(&b, flags);
	if (!r)
		bz_around_tell(&b.a, ret_holes);
	bz_own_drop(b.own);
	if (b.aside)
		bz_munmap((uint64_t)b.aside, len);
	if (b.file.buf)
		bz_around_close(&b.file);
	bz_around_close(&b.a);
	return r;
}
