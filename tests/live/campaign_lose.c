/* SPDX-License-Identifier: MIT */
/*
 * Losing a page of each kind: by poison where the kernel and the kind allow it;
 * else by a marker in the page table; shared memory by a hole, as if a repairer
 * had died; a file by cutting it.
 */
#define _GNU_SOURCE
#include "campaign.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/userfaultfd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "huge.h"
#include "live.h"
#include "uapi.h"

/* Each loss of a huge page is one that the machine has no more. */
#define SPARE_HUGE 6

void camp_lose_ready(void)
{
	if (!live_is_real())
		live_mark_ready();
}

static void by_hole(struct camp *m, size_t page)
{
	CHECKF(!fallocate(m->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			  (off_t)(page * m->width), (off_t)m->width),
	       "no hole: %s", strerror(errno));
}

/* The same where there is no descriptor; and locked, as it may be, the kernel
 * refuses to take it out. */
static void by_removal(struct camp *m, size_t page)
{
	unsigned char *at = m->at + page * m->width;

	if (m->c.lock)
		CHECK_EQ(munlock(at, m->width), 0);
	CHECKF(!madvise(at, m->width, MADV_REMOVE), "MADV_REMOVE: %s",
	       strerror(errno));
	/* it is locked again, even if it says that it is not there */
	if (m->c.lock)
		mlock(at, m->width);
}

/* All that lies behind it goes, too, but what is not the file's any more. */
static int by_cut(struct camp *m, size_t page)
{
	size_t i;

	if (page >= m->in_file)
		return 0;
	CHECK_EQ(ftruncate(m->fd, (off_t)(page * m->width)), 0);
	m->in_file = page;
	atomic_fetch_add(&camp_progress->losses, 1);
	for (i = page; i < m->pages; i++)
		m->lost[i] = !m->apart[i];
	return 1;
}

static int by_poison(struct camp *m, size_t page)
{
	unsigned char *at = m->at + page * m->width;

	if (camp_is_huge(&m->c) && huge_free() < SPARE_HUGE)
		return 0;
	/* it is written to first, to be there */
	if (m->c.prot == CAMP_R)
		camp_protect(m, page * m->width, m->width,
			     PROT_READ | PROT_WRITE);
	live_poison(at);
	if (m->c.prot == CAMP_R)
		camp_protect(m, page * m->width, m->width, PROT_READ);
	return 1;
}

int camp_lose(struct camp *m, size_t page)
{
	if (m->lost[page])
		return 1;
	if (camp_is_file(&m->c))
		return by_cut(m, page);
	if (live_is_real()) {
		if (!by_poison(m, page))
			return 0;
	} else if (m->c.kind == CAMP_SHARED) {
		by_removal(m, page);
	} else if (camp_is_shared(&m->c)) {
		by_hole(m, page);
	} else {
		live_mark(m->at + page * m->width, m->width);
	}
	m->lost[page] = 1;
	atomic_fetch_add(&camp_progress->losses, 1);
	return 1;
}
