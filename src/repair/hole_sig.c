/* SPDX-License-Identifier: MIT */
/*
 * A page of a region that is not mapped any more: map one again that has its
 * bytes before anybody can see it, and never over what another thread maps
 * there meanwhile. mremap(2) cannot be told not to, so the place is taken
 * first (MAP_FIXED_NOREPLACE), and what takes it is a file without a page: who
 * touches that gets SIGBUS, comes to us, and waits for the claim. (Memory
 * without access would do as well, but for that: SIGSEGV by what the program
 * itself has closed could not be told from SIGSEGV by what we have.) Then the
 * page that was built aside is moved over it.
 *
 * Aside is on the bench: addresses kept since bez_start(), a page for each
 * slot and depth. What mmap(2) chooses freely may lie in a hole of a region,
 * which is where somebody else looks for other bytes. Hence MREMAP_DONTUNMAP
 * (5.7), too: the bench has no holes.
 *
 * A child of fork(2) made in between would have the file there for good,
 * closed: the gate (core/gate.h) keeps it out, but for one that has waited too
 * long.
 */
#include "repair/repair.h"

#include <string.h>

#include "core/core.h"
#include "repair/attrs.h"
#include "repair/staged.h"

enum bz_probe bz_probe_hole(struct bz_extent x)
{
	unsigned char in_memory;
	enum bz_probe old;

	if (bz_sys(SYS_mincore, (long)x.start, (long)x.width,
		   (long)&in_memory, 0, 0, 0) == -ENOMEM)
		return BZ_PROBE_UNMAPPED;
	/* no patience: whoever has claimed it does not wait for himself */
	switch (bz_madvise(x.start, x.width, MADV_POPULATE_READ)) {
	case -ENOMEM:
		return BZ_PROBE_UNMAPPED;
	case -EHWPOISON:
		return BZ_PROBE_LOST;
	case -EFAULT:
		return BZ_PROBE_OTHER;
	case -EINVAL:
		old = bz_probe_old(x, BZ_PROBE_GOOD);
		if (old == BZ_PROBE_OTHER)	/* no telling: as below */
			return BZ_PROBE_GOOD;
		return old == BZ_PROBE_FAULT ? BZ_PROBE_OTHER : old;
	default:
		return BZ_PROBE_GOOD;	/* or the next touch tells */
	}
}

/* The mappings of the region on both sides of the hole; 0: none. */
struct near {
	uint64_t below, above;		/* a page in each */
};

static void consider(struct near *n, struct bz_extent x,
		     const struct bz_hit *hit, uint64_t start, uint64_t end)
{
	if (end <= hit->start || start >= hit->end)
		return;
	if (end <= x.start)
		n->below = end - bz_core.page;
	else if (start > x.start && !n->above)
		n->above = start;
}

/* "7f00-7f01 rw-p ...", one mapping a line, in the order of their addresses. */
static long look_around(struct bz_extent x, const struct bz_hit *hit,
			char *buf, struct near *ret)
{
	enum { START, END, REST } field = START;
	uint64_t value = 0, start = 0;
	long fd = bz_openat("/proc/self/maps", O_RDONLY | O_CLOEXEC), r;

	memset(ret, 0, sizeof(*ret));
	if (fd < 0)
		return fd;
	while ((r = bz_read((int)fd, buf, bz_core.page)) > 0 || r == -EINTR) {
		long i;

		for (i = 0; i < r; i++) {
			char c = buf[i];

			if (field == START && c == '-') {
				start = value;
				field = END;
				value = 0;
			} else if (field == END && c == ' ') {
				consider(ret, x, hit, start, value);
				field = REST;
				value = 0;
			} else if (c == '\n') {
				field = START;
			} else if (field != REST) {
				value = value << 4 |
					(uint64_t)(c <= '9' ? c - '0' :
							      c - 'a' + 10);
			}
		}
	}
	bz_close((int)fd);
	return r;
}

/* What the page was like nobody knows: like its neighbour in the region. */
static enum bez_outcome attributes(struct bz_extent x, const struct bz_hit *hit,
				   void *scratch, struct bz_attrs *ret,
				   int *ret_known)
{
	struct near near;

	if (look_around(x, hit, scratch, &near))
		return BEZ_OUTCOME_REFUSED_SYSTEM;
	*ret_known = near.below || near.above;
	if (!*ret_known) {
		memset(ret, 0, sizeof(*ret));
		return BEZ_OUTCOME_NONE;
	}
	if (bz_attrs_read(near.below ? near.below : near.above, scratch, ret))
		return BEZ_OUTCOME_REFUSED_SYSTEM;
	if (ret->memory.kind != BZ_MEMORY_ANON ||
	    ret->memory.shift > bz_core.page_shift)
		return BEZ_OUTCOME_REFUSED_KIND;
	return ret->unkept || !(ret->prot & PROT_READ) ?
	       BEZ_OUTCOME_REFUSED_ATTRS : BEZ_OUTCOME_NONE;
}

static enum bez_outcome errno_to_outcome(long r)
{
	return r == -ENOMEM || r == -EAGAIN ? BEZ_OUTCOME_REFUSED_MAPS :
					      BEZ_OUTCOME_REFUSED_SYSTEM;
}

long bz_empty_file(void)
{
	long fd = bz_sys(SYS_memfd_create, (long)"bezoar",
			 MFD_CLOEXEC | MFD_NOEXEC_SEAL, 0, 0, 0, 0);

	return fd == -EINVAL ?
	       bz_sys(SYS_memfd_create, (long)"bezoar", MFD_CLOEXEC, 0, 0, 0,
		      0) : fd;
}

enum bez_outcome bz_hole_take(struct bz_extent x)
{
	long fd = bz_empty_file(), r;

	if (fd < 0)
		return errno_to_outcome(fd);
	r = bz_mmap(x.start, x.width, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_FIXED_NOREPLACE, (int)fd);
	bz_close((int)fd);
	if (r == (long)x.start)
		return BEZ_OUTCOME_NONE;
	if (r == -EEXIST)		/* somebody was quicker */
		return BEZ_OUTCOME_ALREADY_GOOD;
	return errno_to_outcome(r);
}

/* Ordinary memory, or none, on the bench. Where a failure leaves a hole it is
 * not ours any more. */
static long clear_bench(struct bz_mm *mm, const struct bz_walk *w,
			uint64_t page, int prot, int flags)
{
	long r = bz_mmap(page, bz_core.page, prot,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | flags, -1);

	if (r == (long)page)
		return 0;
	bz_core.bench_gone[w - mm->walk] |= (uint8_t)(1u << (w->depth - 1));
	return r;
}

/* The page at @page over the place of @x. Where the kernel has taken out what
 * was there and not put in what should be, it is a hole again; if not even
 * that, a touch is SIGBUS for good. */
static enum bez_outcome move(uint64_t page, struct bz_extent x)
{
	enum bez_outcome why = bz_hole_take(x);
	long r;

	if (why != BEZ_OUTCOME_NONE)
		return why;
	r = bz_sys(SYS_mremap, (long)page, (long)x.width, (long)x.width,
		   MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP,
		   (long)x.start, 0);
	return r == (long)x.start ? BEZ_OUTCOME_NONE : errno_to_outcome(r);
}

enum bez_outcome bz_hole_place(struct bz_mm *mm, const struct bz_walk *w,
			       struct bz_extent x, const struct bz_hit *hit,
			       const void *stage, void *scratch)
{
	uint64_t page = bz_core.bench +
			((uint64_t)(w - mm->walk) * BZ_DEPTH + w->depth - 1) *
			bz_core.page;
	struct bz_attrs attrs;
	enum bez_outcome why;
	int known;
	long r;

	if (!bz_core.bench ||
	    (bz_core.bench_gone[w - mm->walk] >> (w->depth - 1) & 1))
		return BEZ_OUTCOME_REFUSED_SYSTEM;

	why = attributes(x, hit, scratch, &attrs, &known);
	if (why != BEZ_OUTCOME_NONE)
		return why;
	r = clear_bench(mm, w, page, PROT_READ | PROT_WRITE,
			attrs.noreserve ? MAP_NORESERVE : 0);
	if (r)
		return errno_to_outcome(r);
	if (known)
		r = bz_attrs_apply(page, x.width, &attrs, stage);
	else
		memcpy((void *)page, stage, x.width);
	if (!r)
		why = move(page, x);
	else
		why = r == -ENOMEM || r == -EAGAIN ?
		      BEZ_OUTCOME_REFUSED_MAPS : BEZ_OUTCOME_REFUSED_ATTRS;
	clear_bench(mm, w, page, PROT_NONE, MAP_NORESERVE);
	return why;
}
