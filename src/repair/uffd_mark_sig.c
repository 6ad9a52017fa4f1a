/* SPDX-License-Identifier: MIT */
/*
 * Poison because its owner says so, where the kernel can put it (UFFDIO_POISON, Linux
 * 6.6): private memory without a file keeps its mapping and all attributes, a child of
 * fork(2) inherits it, and KVM_RUN tells whose guest touches it with the address, as of a
 * page that was met. A cover (cover_sig.c) can do none of that.
 *
 * Nobody may see the page empty: it is registered before, so that who comes waits, and
 * the caller has passed the gate, so that no child inherits it.
 */
#include "repair/uffd.h"

#include "core/core.h"

#define TRIES	100

static long poison(int fd, struct bz_extent x)
{
	uint32_t i;
	long r = -EAGAIN;

	for (i = 0; i < TRIES && r; i++) {
		struct uffdio_poison p = {
			.range = { .start = x.start, .len = x.width },
		};

		r = bz_ioctl(fd, UFFDIO_POISON, &p);
		/* a huge page is done by pieces, or something was put there */
		if ((r == -EEXIST && bz_discard(x)) || r == -EBADF ||
		    r == -ENOENT)
			return r;
		if (r)
			bz_yield();
	}
	return r;
}

enum bez_outcome bz_mark(struct bz_mm *mm, struct bz_extent x)
{
	enum bez_outcome why = BEZ_OUTCOME_REFUSED_KIND;
	int fd = bz_uffd_get(mm);
	long r;

	if (fd < 0 || !atomic_load(&mm->uffd_closes) ||
	    bz_uffd_register(fd, x, UFFDIO_REGISTER_MODE_MISSING))
		return why;
	if (!bz_discard(x)) {
		r = poison(fd, x);
		why = !r ? BEZ_OUTCOME_NONE : r == -ENOENT ?
		      BEZ_OUTCOME_REFUSED_UNMAPPED : BEZ_OUTCOME_REFUSED_SYSTEM;
	}
	/* where it was unmapped meanwhile there may be something else by now */
	if (why == BEZ_OUTCOME_REFUSED_SYSTEM)
		bz_uffd_close_page(fd, x);
	bz_uffd_unregister(fd, x);
	return why;
}
