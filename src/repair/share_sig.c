/* SPDX-License-Identifier: MIT */
#include "repair/share.h"

#include <linux/falloc.h>

#include "core/core.h"
#include "repair/uffd.h"

#define LOCK_NAP_NS	100000u		/* the kernel has no lock with a deadline */

static uint64_t in_file(const struct bz_share *share, struct bz_extent x)
{
	return share->offset + (x.start - share->start);
}

/* Programs close descriptors that are not theirs. */
static int is_there(const struct bz_share *share)
{
	struct bz_file_id id;

	return !bz_file_id(share->fd, &id) && id.dev == share->dev &&
	       id.ino == share->ino;
}

static long set_lock(const struct bz_share *share, struct bz_extent x,
		     short type)
{
	struct flock lock = {
		.l_type = type,
		.l_whence = SEEK_SET,
		.l_start = (off_t)in_file(share, x),
		.l_len = (off_t)x.width,
	};

	return bz_sys(SYS_fcntl, share->fd, F_OFD_SETLK, (long)&lock, 0, 0, 0);
}

enum bez_outcome bz_share_lock(struct bz_mm *mm, const struct bz_share *share,
			       struct bz_extent x, uint64_t deadline_ns)
{
	_Atomic uint32_t nobody = 0;
	long r;

	if (!share->disk && bz_fence_of(mm, share) < 0)
		return BEZ_OUTCOME_REFUSED_SHARED;
	if (share->fd < 0)		/* nobody else can have it */
		return BEZ_OUTCOME_NONE;
	if (!is_there(share))
		return BEZ_OUTCOME_REFUSED_FILE;
	if (share->flags & BEZ_SHARED_EXCLUSIVE)
		return BEZ_OUTCOME_NONE;
	for (;;) {
		r = set_lock(share, x, F_WRLCK);
		if (!r)
			return BEZ_OUTCOME_NONE;
		if (r != -EAGAIN && r != -EACCES && r != -EINTR)
			return BEZ_OUTCOME_REFUSED_SYSTEM;
		if (bz_now_ns() >= deadline_ns)
			return BEZ_OUTCOME_CLAIM_TIMEOUT;
		bz_futex_wait(&nobody, 0, LOCK_NAP_NS);
	}
}

void bz_share_unlock(const struct bz_share *share, struct bz_extent x)
{
	if (share->fd >= 0 && !(share->flags & BEZ_SHARED_EXCLUSIVE))
		set_lock(share, x, F_UNLCK);
}

static long drop_entry(struct bz_extent x)
{
	long r = bz_madvise(x.start, x.width, MADV_DONTNEED_LOCKED);

	if (r == -EINVAL)		/* before 5.18 */
		r = bz_madvise(x.start, x.width, MADV_DONTNEED);
	return r;
}

/* 0: cannot be known. */
static uint64_t size_of(const struct bz_share *share)
{
	struct stat st;

	if (share->fd < 0 ||
	    bz_sys(SYS_fstat, share->fd, (long)&st, 0, 0, 0, 0))
		return 0;
	return (uint64_t)st.st_size;
}

static int is_cut(const struct bz_share *share, struct bz_extent x)
{
	return share->fd >= 0 && in_file(share, x) >= size_of(share);
}

enum bz_look bz_share_look(const struct bz_share *share, struct bz_extent x)
{
	/* of a file on a disk the entry is all that keeps others from reading
	 * what the disk has, which is older */
	if (!share->disk && drop_entry(x) == -ENOMEM)
		return BZ_LOOK_UNMAPPED;
	for (;;) {
		switch (bz_madvise(x.start, x.width, MADV_POPULATE_READ)) {
		case 0:
			return BZ_LOOK_GOOD;
		case -EHWPOISON:
			return BZ_LOOK_LOST;
		case -ENOMEM:
			return BZ_LOOK_UNMAPPED;
		case -EFAULT:
			if (is_cut(share, x))
				return BZ_LOOK_CUT;
			return share->disk ? BZ_LOOK_UNREADABLE : BZ_LOOK_HOLE;
		case -EAGAIN:
		case -EINTR:
			break;
		default:
			/* no access is no loss */
			return BZ_LOOK_GOOD;
		}
	}
}

static long punch(const struct bz_share *share, struct bz_extent x)
{
	if (share->fd < 0)
		return bz_madvise(x.start, x.width, MADV_REMOVE);
	return bz_sys(SYS_fallocate, share->fd,
		      FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		      (long)in_file(share, x), (long)x.width, 0, 0);
}

static enum bez_outcome put_memory(struct bz_mm *mm,
				   const struct bz_share *share,
				   struct bz_extent x, const void *from,
				   int lost)
{
	int fd = bz_fence_of(mm, share);
	long r;

	if (fd < 0)
		return BEZ_OUTCOME_REFUSED_SHARED;
	if (lost && punch(share, x))
		return BEZ_OUTCOME_REFUSED_SYSTEM;
	r = bz_uffd_copy(fd, x, from);
	switch (r) {
	case 0:
		return BEZ_OUTCOME_NONE;
	case -EEXIST:			/* the program has put a page there */
		return BEZ_OUTCOME_ALREADY_GOOD;
	case -ENOMEM:
	case -ENOSPC:
		return x.width > bz_core.page ? BEZ_OUTCOME_REFUSED_HUGE :
						BEZ_OUTCOME_REFUSED_NOMEM;
	default:
		return BEZ_OUTCOME_REFUSED_SYSTEM;
	}
}

/* All of it, but no further than the file goes. */
static long write_back(const struct bz_share *share, struct bz_extent x,
		       const void *from)
{
	uint64_t at = in_file(share, x), size = size_of(share), done = 0, len;
	long r;

	if (at >= size)
		return -ENODATA;
	len = size - at < x.width ? size - at : x.width;
	while (done < len) {
		r = bz_sys(SYS_pwrite64, share->fd, (long)from + (long)done,
			   (long)(len - done), (long)(at + done), 0, 0);
		if (r == -EINTR)
			continue;
		if (r <= 0)
			return r ? r : -EIO;
		done += (uint64_t)r;
	}
	return 0;
}

enum bez_outcome bz_share_put(struct bz_mm *mm, const struct bz_share *share,
			      struct bz_extent x, const void *from, int lost,
			      int reread)
{
	if (!share->disk)
		return put_memory(mm, share, x, from, lost);
	if (!reread) {
		if (!(share->flags & BEZ_SHARED_EXCLUSIVE))
			return BEZ_OUTCOME_REFUSED_SHARED;
		if (write_back(share, x, from))
			return BEZ_OUTCOME_REFUSED_SYSTEM;
	}
	return drop_entry(x) ? BEZ_OUTCOME_REFUSED_SYSTEM : BEZ_OUTCOME_NONE;
}
