/* SPDX-License-Identifier: MIT */
#include "hunt/around.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#include <bezoar/bezoar.h>

#include "core/core.h"
#include "core/own.h"
#include "hunt/around_form.h"
#include "region/lost.h"
#include "sys/sys.h"

/* ---------------------------------------------------------- its own memory */

static uint64_t up(uint64_t n)
{
	return (n + 63) & ~(uint64_t)63;
}

int bz_around_open(struct bz_around *a, size_t most)
{
	uint64_t list = up(most * sizeof(struct bez_hole));
	uint64_t trailer = up(bz_around_size(most));
	unsigned char *at;
	long r;

	*a = (struct bz_around){ .most = most };
	a->size = 2 * BZ_AROUND_CHUNK + list + trailer + sizeof(*a->digest);
	a->size = (a->size + bz_core.page - 1) & -bz_core.page;
	r = bz_mmap(0, a->size, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
	if (r < 0)
		return -ENOMEM;
	bz_madvise((uint64_t)r, a->size, MADV_DONTDUMP);
	bz_madvise((uint64_t)r, a->size, MADV_WIPEONFORK);
	a->own = bz_own_add((void *)r, a->size);
	at = (unsigned char *)r;
	a->buf = at;
	a->zeros = at + BZ_AROUND_CHUNK;
	a->hole = (void *)(at + 2 * BZ_AROUND_CHUNK);
	a->trailer = at + 2 * BZ_AROUND_CHUNK + list;
	a->digest = (void *)(a->trailer + trailer);
	XXH3_64bits_reset(a->digest);
	return 0;
}

void bz_around_close(struct bz_around *a)
{
	bz_own_drop(a->own);
	bz_munmap((uint64_t)a->buf, a->size);
}

int bz_around_add(struct bz_around *a, uint64_t offset, uint64_t len)
{
	struct bez_hole *last = a->count ? &a->hole[a->count - 1] : NULL;

	if (last && last->offset + last->len == offset) {
		last->len += len;
		return 0;
	}
	if (a->count == a->most)
		return -E2BIG;
	a->hole[a->count++] = (struct bez_hole){ offset, len };
	return 0;
}

int bz_around_check(const struct bez_holes *holes)
{
	return holes && holes->room && !holes->hole ? -EINVAL : 0;
}

void bz_around_tell(const struct bz_around *a, struct bez_holes *ret)
{
	size_t i;

	if (!ret)
		return;
	ret->count = a->count;
	ret->bytes = 0;
	for (i = 0; i < a->count; i++) {
		ret->bytes += a->hole[i].len;
		if (i < ret->room)
			ret->hole[i] = a->hole[i];
	}
}

/*
 * A page that is in no inventory (of memory that is in no region, say) counts as
 * one of base pages: if it was a huge one, the next that is copied is lost as well.
 */
uint64_t bz_around_lost(const void *addr, size_t left, const void *own)
{
	uint64_t at = (uint64_t)addr, end;
	struct bz_lost_at found;

	if (bz_lost_find(at, &found))
		end = found.x.start + found.x.width;
	else if (bez_recover(own, 1))
		return 0;
	else
		end = (at & -bz_core.page) + bz_core.page;
	return end - at < left ? end - at : left;
}

/* -------------------------------------------------------------- descriptors */

/* A descriptor that does not block. */
static int wait_for(int fd, short what)
{
	struct pollfd p = { .fd = fd, .events = what };
	long r;

	do
		r = bz_sys(SYS_ppoll, (long)&p, 1, 0, 0, 0, 0);
	while (r == -EINTR);
	return r < 0 ? (int)r : 0;
}

static int all(int fd, long nr, uint64_t at, size_t len, uint64_t offset)
{
	short what = nr == SYS_write ? POLLOUT : POLLIN;
	int r;

	while (len) {
		long n = bz_sys(nr, fd, (long)at, (long)len, (long)offset, 0,
				0);

		if (n == -EINTR)
			continue;
		if (n == -EAGAIN) {
			r = wait_for(fd, what);
			if (r)
				return r;
			continue;
		}
		if (n < 0)
			return (int)n;
		if (!n)
			return nr == SYS_write ? -EIO : -EBADMSG;
		at += (uint64_t)n;
		offset += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

int bz_around_write(int fd, const void *from, size_t len)
{
	return all(fd, SYS_write, (uint64_t)from, len, 0);
}

int bz_around_read(int fd, void *to, size_t len)
{
	return all(fd, SYS_read, (uint64_t)to, len, 0);
}

int bz_around_pread(int fd, void *to, size_t len, uint64_t offset)
{
	return all(fd, SYS_pread64, (uint64_t)to, len, offset);
}

int bz_around_is_file(int fd, uint64_t *ret_at)
{
	struct stat st;
	long at;

	if (bz_sys(SYS_fstat, fd, (long)&st, 0, 0, 0, 0) ||
	    !S_ISREG(st.st_mode))
		return 0;
	at = bz_sys(SYS_lseek, fd, 0, SEEK_CUR, 0, 0, 0);
	if (at < 0)
		return 0;
	*ret_at = (uint64_t)at;
	return 1;
}
