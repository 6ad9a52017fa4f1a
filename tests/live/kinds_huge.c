/* SPDX-License-Identifier: MIT */
/*
 * Huge pages: all of one is lost at once, and there may be no other to put in
 * its place. Then base pages are, if they may; else it stays closed, all of it,
 * until there is one.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "huge.h"
#include "kinds_help.h"
#include "live.h"
#include "replace_see.h"
#include "uapi.h"

static struct kinds_memory m;
static bez_region_t region;

static uint32_t start(void)
{
	return *(const uint32_t *)tap_data();
}

static void begin(const struct kinds_kind *kind, uint32_t flags,
		  const struct bez_source *from)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	struct bez_source copy = bez_source_mirror(kinds_bytes(0));

	kinds_can_be_lost(kind);
	huge_need(12);
	kinds_make(kind, &m);
	policy.source = from ? from : &copy;
	policy.flags = flags;
	see_install();
	see_start(start());
	CHECK_EQ(bez_region_add(m.at, m.len, &policy, &region), 0);
}

static uint64_t replaced(void)
{
	return bez_outcome_count(BEZ_OUTCOME_REPLACED);
}

static void closed(size_t offset)
{
	size_t at = kinds_extent(&m, offset), end = at + m.width;
	unsigned char byte;
	int lost;

	/* not one page of it reads as anything */
	for (; at < end; at += m.width / 4) {
		lost = see_lost(m.at + at, &byte);
		CHECKF(lost, "%zx reads %d, replaced %d", at, byte,
		       (int)bez_outcome_count(BEZ_OUTCOME_REPLACED));
	}
}

static int fill(void *dst, size_t len, uint64_t offset, void *arg)
{
	(void)arg;
	memcpy(dst, kinds_bytes(0) + offset, len);
	return 0;
}

/* None left: it stays as it is, its neighbours too; and comes when there is. */
static void none_left_for(const struct bez_source *from)
{
	if (!start())		/* by a protection instead: SIGSEGV, for good */
		live_need_linux(6, 6, "closing of an empty place by poison");
	begin(&kinds_huge_unreserved, 0, from);
	CHECK_EQ(mprotect(m.at, m.len, PROT_READ), 0);
	kinds_lose(&m, m.width);
	huge_drain();
	see_refused(m.at + m.width + 12345, BEZ_OUTCOME_REFUSED_HUGE);
	CHECK_EQ(see_event(m.at + m.width + 12345).width, m.width);
	closed(m.width);
	CHECK(!kinds_wrong(&m, 0, m.width));
	CHECK(!kinds_wrong(&m, 2 * m.width, m.len));
	CHECK_EQ(replaced(), 0);
	huge_refill();
	CHECK(!kinds_wrong(&m, 0, m.len));
	CHECK_EQ(replaced(), 1);
}

/* What is used where it lies, and what is built first. */
static void none_left(void)
{
	none_left_for(NULL);
}

static void none_left_built(void)
{
	struct bez_source from = bez_source_callback(fill, NULL);

	none_left_for(&from);
}

/* The same, and base pages will do: with all that the huge one had. */
static void base_pages(void)
{
	struct kinds_seen before, after;
	size_t lost = m.width, at;

	begin(&kinds_huge_unreserved, BEZ_POLICY_BASE_PAGES, NULL);
	lost = m.width + m.width / 2;
	CHECK_EQ(madvise(m.at, m.len, MADV_DONTDUMP), 0);
	CHECK_EQ(mprotect(m.at, m.len, PROT_READ), 0);
	kinds_see(m.at + lost, &before);
	kinds_lose(&m, lost);
	huge_drain();
	CHECK_EQ(live_read(m.at + lost), kinds_bytes(0)[lost]);
	CHECK_EQ(see_event(m.at + lost).width, m.width);
	CHECK(!kinds_wrong(&m, 0, m.len));
	CHECK_EQ(replaced(), 1);
	kinds_see(m.at + lost, &after);
	CHECK_EQ(after.page_kb * 1024, live_page());
	CHECK(!strcmp(after.perms, "r--p") && strstr(after.flags, "dd") &&
	      strstr(after.flags, "nr") && !strstr(after.flags, "ht") &&
	      !strstr(after.flags, "um"));
	CHECK(!strcmp(after.policy, before.policy));
	/* one of them is lost again: that one only */
	CHECK_EQ(mprotect(m.at + m.width, m.width, PROT_READ | PROT_WRITE), 0);
	for (at = m.width; at < 2 * m.width; at++)
		m.at[at] = kinds_bytes(1)[at];
	live_poison(m.at + lost);
	CHECK_EQ(live_read(m.at + lost), kinds_bytes(0)[lost]);
	CHECK_EQ(see_event(m.at + lost).width, live_page());
	CHECK(!kinds_wrong(&m, lost, lost + live_page()));
	CHECK(!memcmp(m.at + m.width, kinds_bytes(1) + m.width, m.width / 2));
	at = lost + live_page();
	CHECK(!memcmp(m.at + at, kinds_bytes(1) + at, 2 * m.width - at));
	/* and a huge one beside it still is one */
	huge_refill();
	kinds_lose(&m, 0);
	CHECK_EQ(live_read(m.at + 7), kinds_bytes(0)[7]);
	CHECK_EQ(see_event(m.at + 7).width, m.width);
	kinds_see(m.at, &after);
	CHECK_EQ(after.page_kb * 1024, KINDS_HUGE);
	CHECK_EQ(replaced(), 3);
}

/* A part of a huge page is nothing that could be replaced. */
static void region_ends_inside(void)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	struct bez_source from;
	size_t i;

	begin(&kinds_huge, 0, NULL);
	CHECK_EQ(bez_region_remove(region), 0);
	for (i = 0; i < 2; i++) {
		unsigned char *at = m.at + (i ? 0 : live_page());
		size_t len = m.width - live_page();

		/* what lies beyond the copy is not there to be read */
		from = bez_source_mirror(at == m.at ? kinds_bytes(0) :
					 kinds_bytes(0) + live_page());
		policy.source = &from;
		CHECK_EQ(bez_region_add(at, len, &policy, &region), 0);
		kinds_lose(&m, 2 * live_page());
		see_refused(m.at + 2 * live_page(), BEZ_OUTCOME_REFUSED_KIND);
		closed(2 * live_page());
		CHECK_EQ(bez_region_remove(region), 0);
		CHECK_EQ(madvise(m.at, m.width, MADV_DONTNEED), 0);
	}
	CHECK_EQ(replaced(), 0);
}

/* ------------------------------------------------------------- each source */

static void each_source(void)
{
	struct bez_source list[2] = { bez_source_of(BEZ_SOURCE_NONE),
				      bez_source_of(BEZ_SOURCE_NONE) };
	int fd = memfd_create("copy", MFD_CLOEXEC);
	struct bez_policy policy = BEZ_POLICY_INIT;
	static uint64_t digests[3 * 512];
	struct bez_source from[6];
	size_t i;

	kinds_bytes(0);
	kinds_bytes(2);
	CHECK_EQ(write(fd, kinds_bytes(0), 3 * KINDS_HUGE), 3 * KINDS_HUGE);
	for (i = 0; i < sizeof(digests) / 8; i++)
		digests[i] = bez_digest(kinds_bytes(0) + i * live_page(),
					live_page());
	list[0] = bez_source_mirror(kinds_bytes(2));
	list[1] = bez_source_file(fd, 0);
	from[0] = bez_source_mirror(kinds_bytes(0));
	from[1] = bez_source_file(fd, 0);
	from[2] = bez_source_callback(fill, NULL);
	from[3] = bez_source_deferred(fill, NULL, 50000000000u);
	from[4] = bez_source_mirror(kinds_bytes(0));
	from[5] = bez_source_first_of(list, 2);
	begin(&kinds_huge, 0, NULL);
	for (i = 0; i < 6; i++) {
		CHECK_EQ(bez_region_remove(region), 0);
		policy.source = &from[i];
		policy.digests = i >= 4 ? digests : NULL;
		CHECK_EQ(bez_region_add(m.at, m.len, &policy, &region), 0);
		kinds_lose(&m, m.width);
		CHECKF(!kinds_wrong(&m, 0, m.len), "source %zu", i);
		CHECK_EQ(replaced(), i + 1);
	}
	/* one page of it is not what was lost: nothing of it comes */
	digests[700]++;
	kinds_lose(&m, m.width);
	see_refused(m.at + m.width, BEZ_OUTCOME_SOURCE_DIGEST);
	closed(m.width);
}

/* The mirror has lost a page itself, which is found out by the kernel when it
 * copies: then the next source is asked, and nothing is left open. */
static void mirror_is_lost(void)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	struct bez_source list[2], from;
	unsigned char *copy;

	begin(&kinds_huge_unreserved, 0, NULL);
	CHECK_EQ(bez_region_remove(region), 0);
	copy = mmap(NULL, m.len, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(copy != MAP_FAILED);
	CHECK_EQ(madvise(copy, m.len, MADV_NOHUGEPAGE), 0);
	memcpy(copy, kinds_bytes(0), m.len);
	live_poison(copy + m.width + 100 * live_page());
	list[0] = bez_source_mirror(copy);
	list[1] = bez_source_callback(fill, NULL);
	from = bez_source_first_of(list, 2);
	policy.source = &from;
	policy.flags = BEZ_POLICY_BASE_PAGES;
	CHECK_EQ(bez_region_add(m.at, m.len, &policy, &region), 0);
	kinds_lose(&m, m.width);
	CHECK(!kinds_wrong(&m, 0, m.len));
	CHECK_EQ(replaced(), 1);
	CHECK_EQ(see_event(m.at + m.width).source, BEZ_SOURCE_CALLBACK);
	/* and when base pages are to take its place */
	kinds_lose(&m, m.width);
	huge_drain();
	CHECK(!kinds_wrong(&m, 0, m.len));
	CHECK_EQ(replaced(), 2);
}

/* Before anybody touches it: the worker asks itself. */
static void announced(void)
{
	struct bez_source from = bez_source_deferred(fill, NULL, 50000000000u);
	siginfo_t info;

	begin(&kinds_huge, 0, &from);
	kinds_lose(&m, m.width);
	memset(&info, 0, sizeof(info));
	info.si_signo = SIGBUS;
	info.si_code = BUS_MCEERR_AO;
	info.si_addr = m.at + m.width;
	info.si_addr_lsb = (short)__builtin_ctzl(m.width);
	CHECK_EQ(syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), SIGBUS,
			 &info), 0);
	while (!replaced())
		sched_yield();
	CHECK(!kinds_wrong(&m, 0, m.len));
	CHECK_EQ(replaced(), 1);
}

/* ---------------------------------------------------------------- a gigabyte */

#define GIB ((size_t)1 << 30)

/* No signal has said how wide it is, and no source had to know. */
static void without_a_source(void)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	unsigned char byte;

	kinds_can_be_lost(&kinds_huge);
	huge_need(4);
	kinds_make(&kinds_huge, &m);
	see_install();
	see_start(start());
	CHECK_EQ(bez_region_add(m.at, m.len, &policy, &region), 0);
	kinds_lose(&m, m.width);
	CHECK_EQ(bez_recover(m.at + m.width + 12345, 1), -EFAULT);
	CHECK_EQ(see_event(m.at + m.width + 12345).outcome, BEZ_OUTCOME_LEFT);
	CHECK_EQ(see_event(m.at + m.width + 12345).width, m.width);
	CHECK(see_lost(m.at + m.width + 12345, &byte));
	CHECK_EQ(see_event(m.at + m.width + 12345).width, m.width);
}

/* In KiB, of /proc/meminfo; 0: it does not say. */
static size_t memory_kb(const char *name)
{
	FILE *f = fopen("/proc/meminfo", "re");
	char line[128];
	size_t kb = 0, len = strlen(name);

	while (f && !kb && fgets(line, sizeof(line), f))
		if (!strncmp(line, name, len) && line[len] == ':')
			sscanf(line + len + 1, "%zu", &kb);
	if (f)
		fclose(f);
	return kb;
}

/* It has not come back: then all that is known of why. The page that is emptied
 * is the only one of its size, and a kernel that has not put it back into its
 * pool by then leaves nothing to replace it with. */
static void check_came(const unsigned char *at, double begin)
{
	struct bez_event e;
	unsigned char byte;
	char pool[200];

	if (!see_lost(at, &byte)) {
		CHECK_EQ(byte, 0);
		return;
	}
	huge_say_gib(pool, sizeof(pool));
	e = see_event(at);
	if (e.why == BEZ_OUTCOME_REFUSED_HUGE && !huge_free_gib())
		tap_skip("the kernel has no page of 1 GiB left (%s)", pool);
	CHECKF(0, "%s, \"%s\", width %llu, after %.1f s; %s; KiB available %zu, "
	       "free %zu", bez_outcome_name(e.outcome), bez_outcome_name(e.why),
	       (unsigned long long)e.width, see_seconds() - begin, pool,
	       memory_kb("MemAvailable"), memory_kb("MemFree"));
}

/* Beside its own it takes as much memory while it is replaced. */
static void gigabyte(void)
{
	struct bez_source zero = bez_source_zero();
	unsigned char *at;
	double begin;

	if (see_memory() < 8 * GIB || memory_kb("MemAvailable") < 3 * GIB / 1024)
		tap_skip("not memory enough for pages of 1 GiB");
	huge_need_gib(1);
	at = mmap(NULL, GIB, PROT_READ | PROT_WRITE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | 30u << 26, -1, 0);
	if (at == MAP_FAILED) {
		tap_skip("no huge page of 1 GiB: %s", strerror(errno));
	}
	at[77] = 77;
	see_install();
	see_start(start());
	live_region(at, GIB, &zero, "a gigabyte");
	if (live_is_real())
		live_poison(at);
	else
		live_mark(at, GIB);
	begin = see_seconds();
	check_came(at + GIB / 2, begin);
	CHECK_EQ(live_read(at + 77), 0);
	CHECK_EQ(see_event(at + GIB / 2).width, GIB);
	CHECK_EQ(replaced(), 1);
	CHECK_EQ(munmap(at, GIB), 0);
}

static const uint32_t by_uffd = 0, by_mremap = BEZ_START_NO_UFFD;

#define BOTH(what, function)						\
	{ .name = what ", userfaultfd", .run = function, .data = &by_uffd, \
	  .timeout_s = 120 },						\
	{ .name = what ", mremap", .run = function, .data = &by_mremap,	\
	  .timeout_s = 120 }

static const struct tap_case cases[] = {
	BOTH("none left", none_left),
	BOTH("none left for what was built", none_left_built),
	BOTH("base pages", base_pages),
	BOTH("a region that ends inside one", region_ends_inside),
	BOTH("each source", each_source),
	BOTH("the mirror is lost", mirror_is_lost),
	BOTH("announced", announced),
	BOTH("without a source", without_a_source),
	{ .name = "a gigabyte", .run = gigabyte, .data = &by_uffd,
	  .timeout_s = 120 },
};
TAP_MAIN(cases)
