/* SPDX-License-Identifier: MIT */
#include "repair/share.h"

#include <linux/falloc.h>
#include <linux/mman.h>

#include "core/core.h"
#include "repair/repair.h"
#include "repair/uffd.h"

#define LOCK_NAP_NS	100000u		/* the kernel has no lock with a deadline */
#define GONE_TRIES	64

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

/* @far: 0, or BZ_SHARE_SAID. */
static long set_lock(const struct bz_share *share, struct bz_extent x,
		     uint64_t far, short type)
{
	struct flock lock = {
		.l_type = type,
		.l_whence = SEEK_SET,
		.l_start = (off_t)(in_file(share, x) + far),
		.l_len = (off_t)x.width,
	};

	return bz_sys(SYS_fcntl, share->fd, F_OFD_SETLK, (long)&lock, 0, 0, 0);
}

static enum bez_outcome wait_for_lock(const struct bz_share *share,
				      struct bz_extent x, uint64_t deadline_ns,
				      int *said)
{
	_Atomic uint32_t nobody = 0;
	long r;

	for (;;) {
		r = set_lock(share, x, 0, F_WRLCK);
		if (!r)
			return BEZ_OUTCOME_NONE;
		if (r != -EAGAIN && r != -EACCES && r != -EINTR)
			return BEZ_OUTCOME_REFUSED_SYSTEM;
		if (bz_now_ns() >= deadline_ns)
			return BEZ_OUTCOME_CLAIM_TIMEOUT;
		if (!*said)
			*said = !set_lock(share, x, BZ_SHARE_SAID, F_WRLCK);
		bz_futex_wait(&nobody, 0, LOCK_NAP_NS);
	}
}

enum bez_outcome bz_share_lock(struct bz_mm *mm, struct bz_share *share,
			       struct bz_extent x, uint64_t deadline_ns)
{
	enum bez_outcome why;
	int said = 0;

	if (!share->disk && bz_fence_of(mm, share) < 0)
		return BEZ_OUTCOME_REFUSED_SHARED;
	if (share->fd < 0)		/* nobody else can have it */
		return BEZ_OUTCOME_NONE;
	if (!is_there(share))
		return BEZ_OUTCOME_REFUSED_FILE;
	if (!(share->flags & BEZ_SHARED_FENCED))
		return BEZ_OUTCOME_NONE;
	why = wait_for_lock(share, x, deadline_ns, &said);
	if (said)
		set_lock(share, x, BZ_SHARE_SAID, F_UNLCK);
	return why;
}

void bz_share_unlock(const struct bz_share *share, struct bz_extent x)
{
	if (share->fd >= 0 && (share->flags & BEZ_SHARED_FENCED))
		set_lock(share, x, 0, F_UNLCK);
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
	switch (bz_probe(x, 0)) {
	case BZ_PROBE_GOOD:
		return BZ_LOOK_GOOD;
	case BZ_PROBE_LOST:
		return BZ_LOOK_LOST;
	case BZ_PROBE_UNMAPPED:
		return BZ_LOOK_UNMAPPED;
	case BZ_PROBE_FAULT:
		if (is_cut(share, x))
			return BZ_LOOK_CUT;
		return share->disk ? BZ_LOOK_UNREADABLE : BZ_LOOK_HOLE;
	case BZ_PROBE_OTHER:
	default:
		return BZ_LOOK_OTHER;
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

/*
 * With the bad page goes its place in the pool, and if no other is free then, the
 * good part of it is gone for nothing. So one is kept for us, without being
 * touched, until the last moment. NULL: there is none.
 */
static void *set_aside(struct bz_extent x)
{
	long at = bz_mmap(0, x.width, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB |
				  __builtin_ctzll(x.width) << MAP_HUGE_SHIFT,
			  -1);

	return at < 0 && at > -4096 ? NULL : (void *)at;
}

static enum bez_outcome empty(const struct bz_share *share, struct bz_extent x)
{
	void *kept = NULL;
	long r;

	if (x.width > bz_core.page) {
		kept = set_aside(x);
		if (!kept)
			return BEZ_OUTCOME_REFUSED_HUGE;
	}
	r = punch(share, x);
	if (kept)
		bz_munmap((uint64_t)kept, x.width);
	return r ? BEZ_OUTCOME_REFUSED_SYSTEM : BEZ_OUTCOME_NONE;
}

/*
 * A program that closes our descriptor takes the fence away, and who touches
 * the hole then puts zeros there. That cannot be prevented, only be mended:
 * the fence is raised again, and what came in meanwhile goes.
 */
static long fill(struct bz_mm *mm, struct bz_share *share, struct bz_extent x,
		 const void *from, int fd)
{
	uint32_t i;
	long r = -EBADF;

	for (i = 0; i < GONE_TRIES; i++) {
		r = bz_uffd_copy(fd, x, from);
		if (!r || bz_fence_stands(mm, share, fd))
			return r;
		fd = bz_fence_of(mm, share);
		if (fd < 0 || punch(share, x))
			break;
	}
	/* no fence: then nobody here may read what is no data */
	bz_sys(SYS_mprotect, (long)x.start, (long)x.width, PROT_NONE, 0, 0, 0);
	return r;
}

static enum bez_outcome put_memory(struct bz_mm *mm, struct bz_share *share,
				   struct bz_extent x, const void *from,
				   int lost)
{
	int fd = bz_fence_of(mm, share);
	enum bez_outcome why;

	if (fd < 0)
		return BEZ_OUTCOME_REFUSED_SHARED;
	why = lost ? empty(share, x) : BEZ_OUTCOME_NONE;
	if (why != BEZ_OUTCOME_NONE)
		return why;
	switch (fill(mm, share, x, from, fd)) {
	case 0:
		return BEZ_OUTCOME_NONE;
	case -EEXIST:			/* the program has put a page there */
		return BEZ_OUTCOME_ALREADY_GOOD;
	case -ENOENT:
		return BEZ_OUTCOME_REFUSED_UNMAPPED;
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

enum bez_outcome bz_share_put(struct bz_mm *mm, struct bz_share *share,
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
