/* SPDX-License-Identifier: MIT */
#include "repair/repair.h"

#include "core/core.h"

#define PATIENCE_NS 100000000u

/*
 * Is there nothing in the page table? Then it is a hole of a file or behind its end;
 * poison has an entry. Those of huge pages are not shown before they are present.
 */
static int has_no_entry(struct bz_extent x)
{
	long fd, r;
	uint64_t entry;

	if (x.width != bz_core.page)
		return 0;
	fd = bz_openat("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	r = bz_pread((int)fd, &entry, sizeof(entry),
		     (x.start >> bz_core.page_shift) * sizeof(entry));
	bz_close((int)fd);
	return r == (long)sizeof(entry) && !(entry >> 62);
}

/* As a debugger reads it, who needs no access. @unsure: without /proc. */
static enum bz_probe probe_by_force(struct bz_extent x, enum bz_probe unsure)
{
	long fd = bz_openat("/proc/self/mem", O_RDONLY | O_CLOEXEC), r;
	char byte;

	if (fd < 0)
		return unsure;
	r = bz_pread((int)fd, &byte, 1, x.start);
	bz_close((int)fd);
	if (r == 1)
		return BZ_PROBE_GOOD;
	return has_no_entry(x) ? BZ_PROBE_FAULT : BZ_PROBE_LOST;
}

/*
 * Before Linux 5.14: read one byte through the kernel. It says EFAULT for
 * poison that it knows of; poison that nobody has found yet would be found
 * the hard way, but what a handler was called for is known. And it says so for
 * memory without access, which is no loss.
 */
static enum bz_probe probe_by_read(struct bz_extent x, enum bz_probe unsure)
{
	char byte;
	struct iovec here = { &byte, 1 }, there = { (void *)x.start, 1 };
	long r = bz_sys(SYS_process_vm_readv, bz_sys0(SYS_getpid), (long)&here,
			1, (long)&there, 1, 0);

	if (r == 1)
		return BZ_PROBE_GOOD;
	/* a kernel without this call, or a filter: that says nothing, and a
	 * good page must not be replaced */
	return r == -EFAULT ? probe_by_force(x, unsure) : BZ_PROBE_OTHER;
}

/* EINVAL is for memory without access, too. Ask about memory that has it. */
static int old_kernel(void)
{
	uint64_t own = (uint64_t)&bz_core & -bz_core.page;

	return bz_madvise(own, bz_core.page, MADV_POPULATE_READ) == -EINVAL;
}

/* No access is no loss: whoever runs into it again gets the SIGSEGV that he is
 * due. */
enum bz_probe bz_probe_old(struct bz_extent x, enum bz_probe unsure)
{
	return old_kernel() ? probe_by_read(x, unsure) : BZ_PROBE_GOOD;
}

/*
 * MADV_POPULATE_READ (5.14) names poison EHWPOISON, on real entries and on the
 * markers of UFFDIO_POISON alike.
 */
enum bz_probe bz_probe(struct bz_extent x, int patient)
{
	uint64_t end = 0, now;
	enum bz_probe old;
	long r;

	for (;;) {
		r = bz_madvise(x.start, x.width, MADV_POPULATE_READ);
		switch (r) {
		case 0:
			return BZ_PROBE_GOOD;
		case -EHWPOISON:
			return BZ_PROBE_LOST;
		case -ENOMEM:
			return BZ_PROBE_UNMAPPED;
		case -EINVAL:
			old = bz_probe_old(x, BZ_PROBE_LOST);
			if (old != BZ_PROBE_FAULT)
				return old;
			r = -EFAULT;
			/* fall through */
		case -EFAULT:
			if (!patient)
				return BZ_PROBE_FAULT;
			break;
		case -EAGAIN:
		case -EINTR:
			break;
		default:
			return BZ_PROBE_OTHER;
		}
		now = bz_now_ns();
		if (!end)
			end = now + PATIENCE_NS;
		if (now >= end)
			return r == -EFAULT ? BZ_PROBE_FAULT : BZ_PROBE_OTHER;
		bz_yield();
	}
}

/* What an old kernel calls good it has read. */
int bz_probe_readable(struct bz_extent x)
{
	long r = bz_madvise(x.start, x.width, MADV_POPULATE_READ);

	return !r || (r == -EINVAL && old_kernel());
}

/* Present everywhere, by the page tables alone: PAGEMAP_SCAN (6.7). */
static int is_present(struct bz_extent x)
{
	struct page_region all = { .start = 0 };
	struct pm_scan_arg scan = {
		.size = sizeof(scan),
		.start = x.start,
		.end = x.start + x.width,
		.vec = (uint64_t)&all,
		.vec_len = 1,
		.category_mask = PAGE_IS_PRESENT,
		.return_mask = PAGE_IS_PRESENT,
	};
	long fd = bz_openat("/proc/self/pagemap", O_RDONLY | O_CLOEXEC), r;

	if (fd < 0)
		return 0;
	r = bz_ioctl((int)fd, PAGEMAP_SCAN, &scan);
	bz_close((int)fd);
	return r == 1 && all.start == x.start && all.end == x.start + x.width;
}

/* To populate what is there means to look at every page of it, which takes a
 * fifth of the time that it takes to copy it. */
int bz_probe_present(struct bz_extent x)
{
	return is_present(x) ||
	       !bz_madvise(x.start, x.width, MADV_POPULATE_READ);
}
