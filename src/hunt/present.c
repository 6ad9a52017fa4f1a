/* SPDX-License-Identifier: MIT */
/*
 * Which pages there are. To read memory that was never written would bring in page
 * tables and zeros for all of it. mincore(2) is asked first, which takes 2 ns for a
 * page, where to look at it takes 200: it knows of no page that is swapped out, but
 * mostly all are there. Else proc_pid_pagemap(5): by PAGEMAP_SCAN (6.7), 10 ns a
 * page, or page by page. A lost page shows as swapped out, or not at all.
 */
#include "core/core.h"
#include "hunt/hunt.h"

#define THERE	((uint64_t)3 << 62)	/* of an entry: present, swapped */
#define ENTRIES	512u
#define PAGES	1025u			/* asked about at once: 4 MiB, not
					 * aligned */

static _Atomic uint32_t no_scan;	/* the kernel does not have it */

int bz_present_all(uint64_t from, uint64_t end)
{
	uint64_t start = from & -bz_core.page, pages;
	unsigned char there[PAGES];

	pages = (end - start + bz_core.page - 1) >> bz_core.page_shift;
	if (pages > PAGES ||
	    bz_sys(SYS_mincore, (long)start,
		   (long)(pages << bz_core.page_shift), (long)there, 0, 0, 0))
		return 0;
	/* the other bits are not said to be anything */
	for (start = 0; start < pages; start++)
		if (!(there[start] & 1))
			return 0;
	return 1;
}

/* -ENOTTY: ask page by page. */
static int by_scan(int fd, uint64_t *from, uint64_t end, uint64_t *ret_start,
		   uint64_t *ret_end)
{
	struct page_region run = { .start = 0 };
	struct pm_scan_arg scan = {
		.size = sizeof(scan),
		.start = *from & -bz_core.page,
		.end = (end + bz_core.page - 1) & -bz_core.page,
		.vec = (uint64_t)&run,
		.vec_len = 1,
		.category_anyof_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
		.return_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
	};
	long r;

	if (atomic_load_explicit(&no_scan, memory_order_relaxed))
		return -ENOTTY;
	do {
		r = bz_ioctl(fd, PAGEMAP_SCAN, &scan);
	} while (r == -EINTR);
	if (r < 0) {
		if (r == -ENOTTY)
			atomic_store_explicit(&no_scan, 1,
					      memory_order_relaxed);
		return -ENOTTY;
	}
	if (!r)
		return 0;
	*ret_start = run.start > *from ? run.start : *from;
	*ret_end = run.end < end ? run.end : end;
	*from = *ret_end;
	return 1;
}

static int by_entry(int fd, uint64_t *from, uint64_t end, uint64_t *ret_start,
		    uint64_t *ret_end)
{
	uint64_t entry[ENTRIES], page = *from & -bz_core.page, start = 0;

	while (page < end) {
		uint64_t want = (end - page + bz_core.page - 1) >>
				bz_core.page_shift, i;
		long got = bz_pread(fd, entry,
				    (want < ENTRIES ? want : ENTRIES) *
					    sizeof(*entry),
				    (page >> bz_core.page_shift) *
					    sizeof(*entry));

		/* it does not say: then all may be there */
		if (got < (long)sizeof(*entry))
			break;
		for (i = 0; i < (uint64_t)got / sizeof(*entry);
		     i++, page += bz_core.page) {
			if ((entry[i] & THERE) && !start)
				start = page;
			if (!(entry[i] & THERE) && start)
				goto found;
		}
	}
	if (page < end) {
		start = start ? start : page;
		page = end;
	}
	if (!start)
		return 0;
found:
	*ret_start = start > *from ? start : *from;
	*ret_end = page < end ? page : end;
	*from = *ret_end;
	return 1;
}

int bz_present_scan(int fd, uint64_t from, uint64_t end, uint64_t *ret_start,
		    uint64_t *ret_end)
{
	int r = by_scan(fd, &from, end, ret_start, ret_end);

	if (r == -ENOTTY) {
		*ret_start = from;
		*ret_end = end;
	}
	return r != 0;
}

int bz_present_next(int fd, uint64_t *from, uint64_t end, uint64_t *ret_start,
		    uint64_t *ret_end)
{
	int r;

	if (*from >= end)
		return 0;
	if (fd < 0) {
		*ret_start = *from;
		*ret_end = *from = end;
		return 1;
	}
	r = by_scan(fd, from, end, ret_start, ret_end);
	return r != -ENOTTY ? r : by_entry(fd, from, end, ret_start, ret_end);
}
