/* SPDX-License-Identifier: MIT */
/*
 * Save a range of which a part is lost. The bytes go by way of a buffer: what is
 * hashed is what is written, whatever other threads do, and it is bez_copy() that
 * meets a lost page, which comes back to the byte. write(2) of the range itself
 * would find it as well, but not on each kernel in time (before Linux 5.16 there
 * is a signal, too).
 */
#include "hunt/around.h"

#include <errno.h>
#include <linux/falloc.h>

#include <bezoar/bezoar.h>

#include "core/core.h"
#include "hunt/around_form.h"
#include "sys/sys.h"

struct save {
	struct bz_around a;
	int fd;
	int sparse;			/* what is lost is punched out */
};

static int put_zeros(const struct save *s, uint64_t len)
{
	while (len) {
		size_t n = len < BZ_AROUND_CHUNK ? len : BZ_AROUND_CHUNK;
		int r = bz_around_write(s->fd, s->a.zeros, n);

		if (r)
			return r;
		len -= n;
	}
	return 0;
}

/* What the file had there must not be taken for what was in the range. */
static int put_hole(struct save *s, uint64_t len)
{
	long at, r;

	if (!s->sparse)
		return put_zeros(s, len);
	at = bz_sys(SYS_lseek, s->fd, 0, SEEK_CUR, 0, 0, 0);
	if (at < 0)
		return (int)at;
	r = bz_sys(SYS_fallocate, s->fd,
		   FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, (long)len,
		   0, 0);
	if (r) {
		s->sparse = 0;
		return put_zeros(s, len);
	}
	r = bz_sys(SYS_lseek, s->fd, (long)len, SEEK_CUR, 0, 0, 0);
	return r < 0 ? (int)r : 0;
}

static int put_bytes(struct save *s, size_t len)
{
	if (!len)
		return 0;
	XXH3_64bits_update(s->a.digest, s->a.buf, len);
	return bz_around_write(s->fd, s->a.buf, len);
}

static int save(struct save *s, const unsigned char *addr, size_t len)
{
	size_t done = 0;
	int r;

	while (done < len) {
		size_t n = len - done < BZ_AROUND_CHUNK ? len - done :
							  BZ_AROUND_CHUNK;
		size_t left = bez_copy(s->a.buf, addr + done, n);
		uint64_t lost;

		r = put_bytes(s, n - left);
		if (r)
			return r;
		done += n - left;
		if (!left)
			continue;
		lost = bz_around_lost(addr + done, len - done,
				      s->a.buf + (n - left));
		if (!lost)
			return -EFAULT;
		r = bz_around_add(&s->a, done, lost);
		if (!r)
			r = put_hole(s, lost);
		if (r)
			return r;
		done += lost;
	}
	bz_around_put(s->a.trailer, len, s->a.hole, s->a.count,
		      XXH3_64bits_digest(s->a.digest));
	return bz_around_write(s->fd, s->a.trailer,
			       bz_around_size(s->a.count));
}

/* Each ends where a page does, or the range, and no two touch. */
static size_t most_holes(size_t len)
{
	size_t most = len / bz_core.page / 2 + 2;

	return most < BEZ_HOLES_MAX ? most : BEZ_HOLES_MAX;
}

static int is_sparse(int fd)
{
	long flags = bz_sys(SYS_fcntl, fd, F_GETFL, 0, 0, 0, 0);
	uint64_t at;

	return flags >= 0 && !(flags & O_APPEND) && bz_around_is_file(fd, &at);
}

int bez_write_around(int fd, const void *addr, size_t len,
		     struct bez_holes *ret_holes)
{
	struct save s = { .fd = fd };
	int r;

	if (!atomic_load(&bz_core.mm))
		return -ESRCH;
	if ((uint64_t)addr + len < (uint64_t)addr ||
	    bz_around_check(ret_holes))
		return -EINVAL;
	if (bz_inside())
		return -EDEADLK;
	r = bz_around_open(&s.a, most_holes(len));
	if (r)
		return r;
	s.sparse = is_sparse(fd);
	r = save(&s, addr, len);
	if (!r)
		bz_around_tell(&s.a, ret_holes);
	bz_around_close(&s.a);
	return r;
}
