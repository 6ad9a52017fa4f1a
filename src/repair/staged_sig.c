/* SPDX-License-Identifier: MIT */
/*
 * The way without userfaultfd: build the page in a mapping of its own, make
 * that like the one that lost it, move it over the place. The move is atomic
 * for everybody else: they wait for the kernel's lock on the mappings. It
 * costs two more mappings each, and every attribute must be made again.
 */
#include "repair/repair.h"

#include <string.h>

#include "core/core.h"
#include "repair/attrs.h"

static enum bez_outcome errno_to_outcome(long r)
{
	switch (r) {
	case -ENOMEM:
		return BEZ_OUTCOME_REFUSED_MAPS;
	case -ENOENT:
		return BEZ_OUTCOME_REFUSED_UNMAPPED;
	case -EOPNOTSUPP:
		return BEZ_OUTCOME_REFUSED_ATTRS;
	default:
		return BEZ_OUTCOME_REFUSED_SYSTEM;
	}
}

/* mremap(2) takes the old mapping out before it knows that the new one can
 * go in. If that ever fails, at least nothing else may land there. */
static long move(uint64_t from, struct bz_extent x)
{
	long r = bz_sys(SYS_mremap, (long)from, (long)x.width, (long)x.width,
			MREMAP_MAYMOVE | MREMAP_FIXED, (long)x.start, 0);

	if (r == (long)x.start)
		return 0;
	bz_mmap(x.start, x.width, PROT_NONE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1);
	return r;
}

enum bez_outcome bz_staged_place(struct bz_extent x, const void *stage,
				 void *scratch)
{
	struct bz_attrs attrs;
	long page, r;

	r = bz_attrs_read(x.start, scratch, &attrs);
	if (r == -ENOMEM)
		return BEZ_OUTCOME_REFUSED_NOMEM;
	if (r)
		return errno_to_outcome(r);
	if (!attrs.private_anonymous)
		return BEZ_OUTCOME_REFUSED_KIND;
	if (attrs.unkept)
		return BEZ_OUTCOME_REFUSED_ATTRS;
	page = bz_mmap(0, x.width, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS |
		       (attrs.noreserve ? MAP_NORESERVE : 0), -1);
	if (page < 0 && page > -4096)
		return errno_to_outcome(page);
	r = bz_attrs_apply((uint64_t)page, x.width, &attrs, stage);
	if (r) {
		bz_munmap((uint64_t)page, x.width);
		/* to be another page than its neighbours it needs a mapping
		 * of its own; madvise(2) says EAGAIN if there is none left */
		return r == -ENOMEM || r == -EAGAIN ?
		       BEZ_OUTCOME_REFUSED_MAPS : BEZ_OUTCOME_REFUSED_ATTRS;
	}
	r = move((uint64_t)page, x);
	if (r) {
		bz_munmap((uint64_t)page, x.width);
		return errno_to_outcome(r);
	}
	return BEZ_OUTCOME_NONE;
}
