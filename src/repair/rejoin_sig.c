/* SPDX-License-Identifier: MIT */
/*
 * A page of a shared file that lies under a cover is made good aside, where nobody
 * looks, behind a fence of its own, and its mapping moved over the cover: so other
 * threads see nothing in between, and other processes what they see of any repair.
 */
#include "repair/share.h"

#include <sys/uio.h>

#include "core/core.h"
#include "repair/attrs.h"
#include "repair/staged.h"
#include "repair/uffd.h"

/* By the kernel: the file may be cut meanwhile, which is no fault of ours then. */
enum bez_outcome bz_write_over(struct bz_extent x, const void *from)
{
	struct iovec out = { (void *)from, x.width };
	struct iovec in = { (void *)x.start, x.width };
	long r = bz_sys(SYS_process_vm_writev, bz_sys0(SYS_getpid), (long)&out,
			1, (long)&in, 1, 0);

	return r == (long)x.width ? BEZ_OUTCOME_ALREADY_GOOD :
				    BEZ_OUTCOME_REFUSED_SYSTEM;
}

/* @aside: the claim, of the mapping that is to be moved. */
static enum bez_outcome make_good(struct bz_share_claim *aside,
				  const void *from, int over)
{
	if (aside->share->disk && aside->in_file >= aside->size)
		return BEZ_OUTCOME_REFUSED_DETACH;
	/* what the disk has is older, and no sign of anything */
	if (aside->share->disk)
		return bz_share_put(aside, from, 0, 0);
	switch (bz_share_look(aside)) {
	case BZ_LOOK_GOOD:
		return over ? bz_write_over(aside->x, from) :
			      BEZ_OUTCOME_ALREADY_GOOD;
	case BZ_LOOK_LOST:
		return bz_share_put(aside, from, 1, 0);
	case BZ_LOOK_HOLE:
		return bz_share_put(aside, from, 0, 0);
	case BZ_LOOK_CUT:
		return BEZ_OUTCOME_REFUSED_DETACH;
	default:
		return BEZ_OUTCOME_REFUSED_FILE;
	}
}

/*
 * Without one another process may empty it, and who touches it here then reads
 * zeros. So it is covered again where there can be none.
 */
static enum bez_outcome fence(const struct bz_share_claim *aside,
			      struct bz_extent x, void *scratch,
			      bz_taken_fn taken)
{
	int shared;

	if (!bz_uffd_register(aside->fence, x, UFFDIO_REGISTER_MODE_MISSING) ||
	    !bz_fence_raise(aside->mm, aside->share))
		return BEZ_OUTCOME_NONE;
	/* the next who needs it raises all of it */
	atomic_store(&aside->share->fenced, 0);
	if (bz_cover(x, 1, scratch, taken, &shared) != BEZ_OUTCOME_NONE)
		bz_sys(SYS_mprotect, (long)x.start, (long)x.width, PROT_NONE,
		       0, 0, 0);
	return BEZ_OUTCOME_REFUSED_SYSTEM;
}

/*
 * The fence does not move along, and is taken down first: where the kernel merges
 * what was moved with its new neighbours, it would take down theirs as well (6.18).
 * As long as the range of the file is claimed it gets no hole, so a new one
 * afterwards is in time.
 */
static enum bez_outcome put(struct bz_share_claim *aside, struct bz_extent x,
			    const struct bz_attrs *attrs)
{
	struct uffdio_range range = { .start = aside->x.start,
				      .len = x.width };
	long r = aside->share->disk ? 0 :
		 bz_ioctl(aside->fence, UFFDIO_UNREGISTER, &range);

	if (!r)
		r = bz_attrs_apply(aside->x.start, x.width, attrs, NULL);
	if (r)
		return r == -ENOMEM || r == -EAGAIN ?
		       BEZ_OUTCOME_REFUSED_MAPS : BEZ_OUTCOME_REFUSED_ATTRS;
	r = bz_move(aside->x.start, x);
	if (r)
		return r == -ENOMEM ? BEZ_OUTCOME_REFUSED_MAPS :
				      BEZ_OUTCOME_REFUSED_SYSTEM;
	aside->x.width = 0;
	return BEZ_OUTCOME_NONE;
}

enum bez_outcome bz_share_rejoin(const struct bz_share_claim *claim,
				 const void *from, int over, void *scratch,
				 bz_taken_fn taken)
{
	struct bz_share_claim aside = *claim;
	enum bez_outcome did, why;
	struct bz_attrs attrs;
	long at;

	if (bz_attrs_read(claim->x.start, scratch, &attrs))
		return BEZ_OUTCOME_REFUSED_SYSTEM;
	/* before 5.16; or a cover that went when something was to be moved over it */
	if (!bz_can_move(claim->x.width) ||
	    (attrs.memory.kind == BZ_MEMORY_ANON && attrs.prot == PROT_NONE))
		return BEZ_OUTCOME_REFUSED_KIND;
	at = bz_map_aside(claim->x.width, MAP_SHARED, claim->share->fd,
			  claim->in_file, taken);
	if (at < 0 && at > -4096)
		return at == -ENOMEM ? BEZ_OUTCOME_REFUSED_MAPS :
				       BEZ_OUTCOME_REFUSED_FILE;
	aside.x.start = (uint64_t)at;
	if (!claim->share->disk &&
	    bz_uffd_register(claim->fence, aside.x,
			     UFFDIO_REGISTER_MODE_MISSING))
		did = BEZ_OUTCOME_REFUSED_SYSTEM;
	else
		did = make_good(&aside, from, over);
	if (did == BEZ_OUTCOME_NONE || did == BEZ_OUTCOME_ALREADY_GOOD) {
		why = put(&aside, claim->x, &attrs);
		if (why == BEZ_OUTCOME_NONE && !claim->share->disk)
			why = fence(&aside, claim->x, scratch, taken);
		if (why != BEZ_OUTCOME_NONE)
			did = why;
	}
	if (aside.x.width)
		bz_munmap(aside.x.start, aside.x.width);
	return did;
}
