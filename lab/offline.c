/* SPDX-License-Identifier: MIT */
/*
 * A page is taken out of use by an administrator, or by the daemon that counts a
 * page's corrected errors (sysfs-memory-page-offline): softly, while it is good,
 * or hard, as if it were lost.
 */
#define _GNU_SOURCE
#include "live.h"
#include "memory.h"
#include "poison.h"
#include "ring.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SYS "/sys/devices/system/memory/"

/* By its physical address. 0 or a negative errno. */
static int offline(const char *path, uint64_t frame)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), r;

	CHECKF(fd >= 0, "%s: %s", path, strerror(errno));
	r = dprintf(fd, "%#llx", (unsigned long long)(frame * PAGE)) < 0 ?
		    -errno : 0;
	close(fd);
	return r;
}

/* Nobody was told of anything. */
static void check_untold(void)
{
	struct bez_status s = { .size = sizeof(s) };

	CHECK_EQ(sigbus.count, 0);
	CHECK_EQ(bez_status(&s), 0);
	CHECK_EQ(s.faults, 0);
}

/* Its bytes are somewhere else, and nobody gets the frame again before he is
 * given it back. */
static void soft(void)
{
	struct memory m;

	begin(&m, tap_data());
	note(&m);
	CHECK_EQ(offline(SYS "soft_offline_page", m.frame), 0);
	CHECK((pagemap(m.at + m.bad) & PAGEMAP_PFN) != m.frame);
	CHECK(is_bad_pfn(m.frame));
	CHECK_EQ(corrupted_kib(), m.corrupted + 4);
	check_bytes(&m, m.len, 0, NULL);
	memset(m.at + m.bad, 0x33, PAGE);
	CHECK(page_is(m.at + m.bad, 0x33));
	check_untold();
	undo(&m);
	CHECK(!is_bad_pfn(m.frame));
}

/* Whoever has it pinned keeps it, and it is refused: nothing has changed. */
static void soft_pinned(void)
{
	struct memory m;
	int r;

	begin(&m, tap_data());
	ring_open();
	CHECK_EQ(ring_fix(m.at, m.len), 0);
	note(&m);
	r = offline(SYS "soft_offline_page", m.frame);
	CHECKF(r == -EBUSY || r == -EIO, "%s", strerror(-r));
	CHECK_EQ(pagemap(m.at + m.bad) & PAGEMAP_PFN, m.frame);
	CHECK(!is_bad_pfn(m.frame));
	CHECK_EQ(corrupted_kib(), m.corrupted);
	check_bytes(&m, m.len, 0, NULL);
	check_untold();
	CHECK_EQ(ring_unfix(), 0);
	undo(&m);
}

/* As if another had lost it: the next touch is told, and the library has its
 * bytes. */
static void hard(void)
{
	struct memory m;
	size_t touch;

	begin(&m, tap_data());
	touch = m.bad + 123;
	note(&m);
	CHECK_EQ(offline(SYS "hard_offline_page", m.frame), 0);
	CHECK(is_bad_pfn(m.frame));
	CHECK_EQ(corrupted_kib(), m.corrupted + 4);
	check_untold();
	if (can_be_replaced(&m)) {
		check_good(m.at + touch, fill_of(m.bad / PAGE));
		CHECK_EQ(replaced(), 1);
		check_bytes(&m, m.len, 0, NULL);
		CHECK((pagemap(m.at + m.bad) & PAGEMAP_PFN) != m.frame);
	} else {
		check_told(&m, m.at + touch);
	}
	undo(&m);
	CHECK(!is_bad_pfn(m.frame));
}

static const struct tap_case cases[] = {
	{ .name = "soft, anon", .run = soft, .data = &kinds[ANON] },
	{ .name = "soft, memfd", .run = soft, .data = &kinds[MEMFD] },
	{ .name = "soft, thp", .run = soft, .data = &kinds[THP] },
	{ .name = "soft, hugetlb-private", .run = soft, .data = &kinds[HUGETLB] },
	{ .name = "soft, pinned, anon", .run = soft_pinned, .data = &kinds[ANON] },
	{ .name = "soft, pinned, memfd", .run = soft_pinned,
	  .data = &kinds[MEMFD] },
	{ .name = "soft, pinned, thp", .run = soft_pinned, .data = &kinds[THP] },
	{ .name = "soft, pinned, hugetlb-private", .run = soft_pinned,
	  .data = &kinds[HUGETLB] },
	{ .name = "hard, anon", .run = hard, .data = &kinds[ANON] },
	{ .name = "hard, memfd", .run = hard, .data = &kinds[MEMFD] },
	{ .name = "hard, thp", .run = hard, .data = &kinds[THP] },
	{ .name = "hard, hugetlb-private", .run = hard, .data = &kinds[HUGETLB] },
};
TAP_MAIN(cases)
