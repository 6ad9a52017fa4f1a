/* SPDX-License-Identifier: MIT */
#include "repair/share.h"

#include <linux/falloc.h>
#include <linux/mman.h>

#include "core/core.h"
#include "repair/repair.h"
#include "repair/uffd.h"

#define LOCK_NAP_NS	100000u		/* the kernel has no lock with a deadline */
#define GONE_TRIES	64
#define BAD_TRIES	8

/* Programs close descriptors that are not theirs. How long the file is comes with
 * the answer. Not inlined: frames are small here, and struct stat is not. */
static __attribute__((noinline)) int find_file(struct bz_share_claim *claim)
{
	const struct bz_share *share = claim->share;
	struct stat st;

	if (share->fd < 0)
		return 0;
	if (bz_sys(SYS_fstat, share->fd, (long)&st, 0, 0, 0, 0) ||
	    st.st_dev != share->dev || st.st_ino != share->ino)
		return -ESTALE;
	claim->size = (uint64_t)st.st_size;
	return 0;
}

static int is_locked(const struct bz_share_claim *claim)
{
	/* without a file nobody else can have it */
	return claim->share->fd >= 0 &&
	       (claim->share->flags & BEZ_SHARED_FENCED);
}

/* @far: 0, or BZ_SHARE_SAID. */
static long set_lock(const struct bz_share_claim *claim, uint64_t far,
		     short type)
{
	struct flock lock = {
		.l_type = type,
		.l_whence = SEEK_SET,
		.l_start = (off_t)(claim->in_file + far),
		.l_len = (off_t)claim->x.width,
	};

	return bz_sys(SYS_fcntl, claim->share->fd, F_OFD_SETLK, (long)&lock, 0,
		      0, 0);
}

/* A source may jump out of the handler: then it goes with the claim. */
static struct bz_file_lock *noted(const struct bz_share_claim *claim)
{
	return &claim->walk->lock[claim->walk->depth - 1];
}

static enum bez_outcome wait_for_lock(const struct bz_share_claim *claim,
				      uint64_t deadline_ns, int *said)
{
	_Atomic uint32_t nobody = 0;
	long r;

	for (;;) {
		r = set_lock(claim, 0, F_WRLCK);
		if (!r)
			return BEZ_OUTCOME_NONE;
		if (r != -EAGAIN && r != -EACCES && r != -EINTR)
			return r == -EBADF ? BEZ_OUTCOME_REFUSED_FILE :
					     BEZ_OUTCOME_REFUSED_SYSTEM;
		if (bz_now_ns() >= deadline_ns)
			return BEZ_OUTCOME_CLAIM_TIMEOUT;
		if (!*said)
			*said = !set_lock(claim, BZ_SHARE_SAID, F_WRLCK);
		bz_futex_wait(&nobody, 0, LOCK_NAP_NS);
	}
}

enum bez_outcome bz_share_lock(struct bz_mm *mm, struct bz_walk *w,
			       struct bz_share *share, struct bz_extent x,
			       uint64_t deadline_ns,
			       struct bz_share_claim *ret_claim)
{
	struct bz_share_claim *c = ret_claim;
	enum bez_outcome why;
	int said = 0;

	c->mm = mm;
	c->walk = w;
	c->share = share;
	c->x = x;
	c->size = UINT64_MAX;
	c->in_file = share->offset + (x.start - share->start);
	c->fence = share->disk ? -1 : bz_fence_of(mm, share);
	if (!share->disk && c->fence < 0)
		return BEZ_OUTCOME_REFUSED_SHARED;
	/* a memory file that is ours alone is looked at when it is needed */
	if ((is_locked(c) || share->disk) && find_file(c))
		return BEZ_OUTCOME_REFUSED_FILE;
	if (!is_locked(c))
		return BEZ_OUTCOME_NONE;
	why = wait_for_lock(c, deadline_ns, &said);
	if (said)
		set_lock(c, BZ_SHARE_SAID, F_UNLCK);
	if (why == BEZ_OUTCOME_NONE)
		*noted(c) = (struct bz_file_lock){ .fd = share->fd,
						   .dev = share->dev,
						   .ino = share->ino,
						   .start = c->in_file,
						   .len = x.width };
	return why;
}

void bz_share_unlock(const struct bz_share_claim *claim)
{
	if (!is_locked(claim))
		return;
	set_lock(claim, 0, F_UNLCK);
	noted(claim)->dev = noted(claim)->ino = 0;
}

static long drop_entry(struct bz_extent x)
{
	long r = bz_madvise(x.start, x.width, MADV_DONTNEED_LOCKED);

	if (r == -EINVAL)		/* before 5.18 */
		r = bz_madvise(x.start, x.width, MADV_DONTNEED);
	return r;
}

enum bz_look bz_share_look(const struct bz_share_claim *claim)
{
	enum bz_probe probe = bz_probe(claim->x, 0);

	/* of a file on a disk the entry is all that keeps others from reading
	 * what the disk has, which is older */
	if (probe == BZ_PROBE_LOST && !claim->share->disk) {
		if (drop_entry(claim->x))
			return BZ_LOOK_HIDDEN;
		probe = bz_probe(claim->x, 0);
		/* an old kernel takes what is lost out of the file by itself */
		if (probe == BZ_PROBE_FAULT &&
		    bz_probe_old(claim->x, BZ_PROBE_LOST) == BZ_PROBE_FAULT)
			probe = BZ_PROBE_LOST;
	}
	switch (probe) {
	case BZ_PROBE_GOOD:
		return BZ_LOOK_GOOD;
	case BZ_PROBE_LOST:
		return BZ_LOOK_LOST;
	case BZ_PROBE_UNMAPPED:
		return BZ_LOOK_UNMAPPED;
	case BZ_PROBE_FAULT:
		if (claim->size != UINT64_MAX && claim->in_file >= claim->size)
			return BZ_LOOK_CUT;
		return claim->share->disk ? BZ_LOOK_UNREADABLE : BZ_LOOK_HOLE;
	case BZ_PROBE_OTHER:
	default:
		return BZ_LOOK_OTHER;
	}
}

static long punch(struct bz_share_claim *claim)
{
	struct bz_extent x = claim->x;

	if (find_file(claim))
		return -ESTALE;
	if (claim->share->fd < 0)
		return bz_madvise(x.start, x.width, MADV_REMOVE);
	return bz_sys(SYS_fallocate, claim->share->fd,
		      FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		      (long)claim->in_file, (long)x.width, 0, 0);
}

/*
 * With the bad page goes its place in the pool, and if no other is free then, the
 * good part of it is gone for nothing. So one is kept for us, without being
 * touched, until the last moment; another process may still be quicker then. NULL:
 * there is none.
 */
static void *set_aside(struct bz_extent x)
{
	long at = bz_mmap(0, x.width, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB |
				  __builtin_ctzll(x.width) << MAP_HUGE_SHIFT,
			  -1);

	return at < 0 && at > -4096 ? NULL : (void *)at;
}

static enum bez_outcome empty(struct bz_share_claim *claim)
{
	void *kept = NULL;
	long r;

	if (claim->x.width > bz_core.page) {
		kept = set_aside(claim->x);
		if (!kept)
			return BEZ_OUTCOME_REFUSED_HUGE;
	}
	r = punch(claim);
	if (kept)
		bz_munmap((uint64_t)kept, claim->x.width);
	if (r == -ESTALE)
		return BEZ_OUTCOME_REFUSED_FILE;
	return r ? BEZ_OUTCOME_REFUSED_SYSTEM : BEZ_OUTCOME_NONE;
}

/*
 * A program that closes our descriptor takes the fence away, and who touches
 * the hole then puts zeros there. That cannot be prevented, only be mended:
 * the fence is raised again, and what came in meanwhile goes.
 */
static long fill(struct bz_share_claim *claim, const void *from)
{
	struct bz_extent x = claim->x;
	uint32_t i;
	long r = -EBADF;

	for (i = 0; i < GONE_TRIES; i++) {
		r = bz_uffd_copy(claim->fence, x, from);
		if (!r || bz_fence_stands(claim->mm, claim->share,
					  claim->fence))
			return r;
		claim->fence = bz_fence_of(claim->mm, claim->share);
		if (claim->fence < 0 || punch(claim))
			break;
	}
	/* no fence: then nobody here may read what is no data */
	bz_sys(SYS_mprotect, (long)x.start, (long)x.width, PROT_NONE, 0, 0, 0);
	return r;
}

static enum bez_outcome put_memory(struct bz_share_claim *claim,
				   const void *from, int lost)
{
	enum bez_outcome why;
	uint32_t tries = 0;
	long r;

	do {
		why = lost ? empty(claim) : BEZ_OUTCOME_NONE;
		if (why != BEZ_OUTCOME_NONE)
			return why;
		r = fill(claim, from);
		/* the program has put a page there */
		if (r == -EEXIST && bz_probe(claim->x, 0) == BZ_PROBE_GOOD)
			return BEZ_OUTCOME_ALREADY_GOOD;
		/* or it is there, and can not be read: bad, although no entry
		 * says so (5.10), or again */
		lost = 1;
	} while (r == -EEXIST && claim->x.width == bz_core.page &&
		 ++tries < BAD_TRIES);
	switch (r) {
	case 0:
		return BEZ_OUTCOME_NONE;
	case -EEXIST:
		/* the pool of huge pages is empty, of which some kernels say the
		 * same */
		return claim->x.width > bz_core.page ?
		       BEZ_OUTCOME_REFUSED_HUGE : BEZ_OUTCOME_REFUSED_SYSTEM;
	case -ENOENT:
		return BEZ_OUTCOME_REFUSED_UNMAPPED;
	case -ENOMEM:
	case -ENOSPC:
		return claim->x.width > bz_core.page ?
		       BEZ_OUTCOME_REFUSED_HUGE : BEZ_OUTCOME_REFUSED_NOMEM;
	case -EFAULT:			/* its end, or @from */
		return !find_file(claim) && claim->in_file >= claim->size ?
		       BEZ_OUTCOME_REFUSED_DETACH : BEZ_OUTCOME_SOURCE_LOST;
	default:
		return BEZ_OUTCOME_REFUSED_SYSTEM;
	}
}

/* All of it, but no further than the file goes by now: a source may take long. */
static long write_back(struct bz_share_claim *claim, const void *from)
{
	uint64_t len, done = 0;
	long r;

	if (find_file(claim) || claim->in_file >= claim->size)
		return -ENODATA;
	len = claim->size - claim->in_file;
	if (len > claim->x.width)
		len = claim->x.width;
	while (done < len) {
		r = bz_sys(SYS_pwrite64, claim->share->fd,
			   (long)from + (long)done, (long)(len - done),
			   (long)(claim->in_file + done), 0, 0);
		if (r == -EINTR)
			continue;
		if (r <= 0)
			return r ? r : -EIO;
		done += (uint64_t)r;
	}
	return 0;
}

enum bez_outcome bz_share_put(struct bz_share_claim *claim,
			      const void *from, int lost, int reread)
{
	if (!claim->share->disk)
		return put_memory(claim, from, lost);
	if (!reread) {
		if (!(claim->share->flags & BEZ_SHARED_EXCLUSIVE))
			return BEZ_OUTCOME_REFUSED_SHARED;
		if (write_back(claim, from))
			return BEZ_OUTCOME_REFUSED_SYSTEM;
	}
	return drop_entry(claim->x) ? BEZ_OUTCOME_REFUSED_SYSTEM :
				      BEZ_OUTCOME_NONE;
}
