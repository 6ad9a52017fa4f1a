/* SPDX-License-Identifier: MIT */
#include "repair/share.h"

#include <linux/falloc.h>

#include "core/core.h"
#include "repair/uffd.h"

#define LOCK_NAP_NS	100000u		/* the kernel has no lock with a deadline */

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
	       !(claim->share->flags & BEZ_SHARED_EXCLUSIVE);
}

static long set_lock(const struct bz_share_claim *claim, short type)
{
	struct flock lock = {
		.l_type = type,
		.l_whence = SEEK_SET,
		.l_start = (off_t)claim->in_file,
		.l_len = (off_t)claim->x.width,
	};

	return bz_sys(SYS_fcntl, claim->share->fd, F_OFD_SETLK, (long)&lock, 0,
		      0, 0);
}

enum bez_outcome bz_share_lock(struct bz_mm *mm, const struct bz_share *share,
			       struct bz_extent x, uint64_t deadline_ns,
			       struct bz_share_claim *ret_claim)
{
	struct bz_share_claim *c = ret_claim;
	_Atomic uint32_t nobody = 0;
	long r;

	c->share = share;
	c->x = x;
	c->size = UINT64_MAX;
	c->in_file = share->offset + (x.start - share->start);
	c->fence = share->disk ? -1 : bz_fence_of(mm, share);
	if (!share->disk && c->fence < 0)
		return BEZ_OUTCOME_REFUSED_SHARED;
	for (;;) {
		r = is_locked(c) ? set_lock(c, F_WRLCK) : 0;
		if (!r)
			break;
		if (r != -EAGAIN && r != -EACCES && r != -EINTR)
			return r == -EBADF ? BEZ_OUTCOME_REFUSED_FILE :
					     BEZ_OUTCOME_REFUSED_SYSTEM;
		if (bz_now_ns() >= deadline_ns)
			return BEZ_OUTCOME_CLAIM_TIMEOUT;
		bz_futex_wait(&nobody, 0, LOCK_NAP_NS);
	}
	/* a memory file that is ours alone is looked at when it is needed */
	if ((!is_locked(c) && !share->disk) || !find_file(c))
		return BEZ_OUTCOME_NONE;
	if (is_locked(c))
		set_lock(c, F_UNLCK);
	return BEZ_OUTCOME_REFUSED_FILE;
}

void bz_share_unlock(const struct bz_share_claim *claim)
{
	if (is_locked(claim))
		set_lock(claim, F_UNLCK);
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
	struct bz_extent x = claim->x;
	int dropped = 0;

	for (;;) {
		switch (bz_madvise(x.start, x.width, MADV_POPULATE_READ)) {
		case 0:
			return BZ_LOOK_GOOD;
		case -EHWPOISON:
			/* of a file on a disk the entry is all that keeps others
			 * from reading what the disk has, which is older */
			if (dropped || claim->share->disk || drop_entry(x))
				return BZ_LOOK_LOST;
			dropped = 1;
			break;
		case -ENOMEM:
			return BZ_LOOK_UNMAPPED;
		case -EFAULT:
			if (claim->size != UINT64_MAX &&
			    claim->in_file >= claim->size)
				return BZ_LOOK_CUT;
			return claim->share->disk ? BZ_LOOK_UNREADABLE :
						    BZ_LOOK_HOLE;
		case -EAGAIN:
		case -EINTR:
			break;
		default:
			/* no access is no loss */
			return BZ_LOOK_GOOD;
		}
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

static enum bez_outcome put_memory(struct bz_share_claim *claim,
				   const void *from, int lost)
{
	long r = lost ? punch(claim) : 0;

	if (r)
		return r == -ESTALE ? BEZ_OUTCOME_REFUSED_FILE :
				      BEZ_OUTCOME_REFUSED_SYSTEM;
	switch (bz_uffd_copy(claim->fence, claim->x, from)) {
	case 0:
		return BEZ_OUTCOME_NONE;
	case -EEXIST:			/* the program has put a page there */
		return BEZ_OUTCOME_ALREADY_GOOD;
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

/* All of it, but no further than the file goes. */
static long write_back(const struct bz_share_claim *claim, const void *from)
{
	uint64_t len = claim->size - claim->in_file, done = 0;
	long r;

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
