/* SPDX-License-Identifier: MIT */
/*
 * The way without userfaultfd: build the page in a mapping of its own, make
 * that like the one that lost it, move it over the place. The move is atomic
 * for everybody else: they wait for the kernel's lock on the mappings. It
 * costs two more mappings each, and every attribute must be made again.
 */
#include "repair/repair.h"

#include <linux/mman.h>
#include <string.h>
#include <sys/utsname.h>

#include "core/core.h"
#include "repair/attrs.h"
#include "repair/staged.h"

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
long bz_move(uint64_t from, struct bz_extent x)
{
	long r = bz_sys(SYS_mremap, (long)from, (long)x.width, (long)x.width,
			MREMAP_MAYMOVE | MREMAP_FIXED, (long)x.start, 0);

	if (r == (long)x.start)
		return 0;
	bz_mmap(x.start, x.width, PROT_NONE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1);
	return r;
}

static uint32_t number(const char **at)
{
	uint32_t n = 0;

	for (; **at >= '0' && **at <= '9'; (*at)++)
		n = n * 10 + (uint32_t)(**at - '0');
	return n;
}

/* A kernel that does not say which it is counts as old. Not inlined: frames are
 * small here, and the struct is not. */
static __attribute__((noinline)) int moves_huge(void)
{
	struct utsname name;
	const char *at = name.release;
	uint32_t major, minor;

	if (bz_sys(SYS_uname, (long)&name, 0, 0, 0, 0, 0))
		return 0;
	major = number(&at);
	if (*at)
		at++;
	minor = number(&at);
	return major > 5 || (major == 5 && minor >= 16);
}

/* There is no other way to ask: it says EINVAL when the place is empty already. */
int bz_can_move(uint64_t width)
{
	return width == bz_core.page || moves_huge();
}

/* May it be made anew, in this way? */
static enum bez_outcome allowed(const struct bz_placing *p, enum bz_staged how,
				const struct bz_attrs *attrs)
{
	int huge = attrs->memory.shift > bz_core.page_shift;

	switch (attrs->memory.kind) {
	case BZ_MEMORY_ANON:
		if (how == BZ_STAGED_DETACHED)
			return BEZ_OUTCOME_REFUSED_KIND;
		if (huge && how == BZ_STAGED_ALIKE && !bz_can_move(p->x.width))
			return BEZ_OUTCOME_REFUSED_HUGE;
		break;
	case BZ_MEMORY_PRIVATE:
		/* a huge page that was copied from a file could only come back
		 * without the file */
		if (huge && how == BZ_STAGED_ALIKE)
			return BEZ_OUTCOME_REFUSED_ATTRS;
		break;
	case BZ_MEMORY_SHARED:
		if (how != BZ_STAGED_DETACHED)
			return BEZ_OUTCOME_REFUSED_SHARED;
		break;
	default:
		return BEZ_OUTCOME_REFUSED_KIND;
	}
	/* it was taken for something else: what is to be lost is wider */
	if (attrs->memory.shift &&
	    p->x.width != (uint64_t)1 << attrs->memory.shift)
		return BEZ_OUTCOME_REFUSED_KIND;
	/* by a userfaultfd of the program's, unless it is ours */
	if (attrs->unkept ||
	    (attrs->watched && how != BZ_STAGED_BASE_WATCHED &&
	     !(how == BZ_STAGED_DETACHED && p->fenced)))
		return BEZ_OUTCOME_REFUSED_ATTRS;
	return BEZ_OUTCOME_NONE;
}

/* Memory of the same kind, elsewhere. Not inlined: frames are small here, and
 * struct stat is not. */
static __attribute__((noinline)) long
map_alike(const struct bz_placing *p, enum bz_staged how,
	  const struct bz_attrs *attrs)
{
	int flags = MAP_PRIVATE | (attrs->noreserve ? MAP_NORESERVE : 0);
	int anonymous = attrs->memory.kind == BZ_MEMORY_ANON ||
			how != BZ_STAGED_ALIKE;
	struct stat st;
	uint64_t offset;
	long fd, at;

	if (anonymous) {
		if (attrs->memory.shift > bz_core.page_shift &&
		    how == BZ_STAGED_ALIKE)
			flags |= MAP_HUGETLB |
				 attrs->memory.shift << MAP_HUGE_SHIFT;
		return bz_map_aside(p->x.width, flags | MAP_ANONYMOUS, -1, 0,
				    p->taken);
	}
	fd = bz_attrs_open(p->x.start, p->scratch, attrs);
	if (fd < 0)
		return -ESTALE;
	offset = attrs->offset + (p->x.start - attrs->start);
	/* what lies past its end cannot be written */
	at = bz_sys(SYS_fstat, fd, (long)&st, 0, 0, 0, 0);
	if (!at && offset >= (uint64_t)st.st_size)
		at = -ESTALE;
	if (!at)
		at = bz_map_aside(p->x.width, flags, (int)fd, offset, p->taken);
	bz_close((int)fd);
	return at;
}

/* That there is no huge page, or that the file's own page is bad, must not be
 * found out by SIGBUS. */
static long populate(uint64_t page, const struct bz_placing *p,
		     enum bz_staged how, const struct bz_attrs *attrs)
{
	int of_file = attrs->memory.kind == BZ_MEMORY_PRIVATE &&
		      how == BZ_STAGED_ALIKE;
	long r;

	if (p->x.width == bz_core.page && !of_file)
		return 0;
	r = bz_madvise(page, p->x.width, MADV_POPULATE_WRITE);
	if (!r || (r == -EINVAL && of_file))	/* before 5.14 */
		return 0;
	return of_file ? -ESTALE : -ENOMEM;
}

static enum bez_outcome no_page(long r, const struct bz_attrs *attrs,
				enum bz_staged how)
{
	if (r == -ESTALE)
		return BEZ_OUTCOME_REFUSED_FILE;
	if (r == -ENOMEM && attrs->memory.shift > bz_core.page_shift &&
	    how == BZ_STAGED_ALIKE)
		return BEZ_OUTCOME_REFUSED_HUGE;
	return errno_to_outcome(r);
}

/* All this took its time. The program may have discarded what was lost, and
 * written anew; an empty place that we watch would make us wait for ourselves. */
static int is_good_now(const struct bz_placing *p, enum bz_staged how)
{
	return !p->mapped && how != BZ_STAGED_BASE_WATCHED &&
	       !bz_madvise(p->x.start, p->x.width, MADV_POPULATE_READ);
}

enum bez_outcome bz_staged_place(const struct bz_placing *p, enum bz_staged how)
{
	struct bz_attrs attrs;
	enum bez_outcome why;
	long page, r;

	/* a fault here would leave half of this behind */
	if (p->in_place)
		return BEZ_OUTCOME_SOURCE_LOST;
	r = bz_attrs_read(p->x.start, p->scratch, &attrs);
	if (r == -ENOMEM)
		return BEZ_OUTCOME_REFUSED_NOMEM;
	if (r)
		return errno_to_outcome(r);
	why = allowed(p, how, &attrs);
	if (why != BEZ_OUTCOME_NONE)
		return why;
	page = map_alike(p, how, &attrs);
	if (page < 0 && page > -4096)
		return no_page(page, &attrs, how);
	r = populate((uint64_t)page, p, how, &attrs);
	if (r) {
		bz_munmap((uint64_t)page, p->x.width);
		return no_page(r, &attrs, how);
	}
	r = bz_attrs_apply((uint64_t)page, p->x.width, &attrs, p->stage);
	if (r) {
		bz_munmap((uint64_t)page, p->x.width);
		/* to be another page than its neighbours it needs a mapping
		 * of its own; madvise(2) says EAGAIN if there is none left */
		return r == -ENOMEM || r == -EAGAIN ?
		       BEZ_OUTCOME_REFUSED_MAPS : BEZ_OUTCOME_REFUSED_ATTRS;
	}
	if (is_good_now(p, how)) {
		bz_munmap((uint64_t)page, p->x.width);
		return BEZ_OUTCOME_ALREADY_GOOD;
	}
	r = bz_move((uint64_t)page, p->x);
	if (r) {
		bz_munmap((uint64_t)page, p->x.width);
		return errno_to_outcome(r);
	}
	return BEZ_OUTCOME_NONE;
}
