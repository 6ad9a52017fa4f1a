/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "memory.h"

#include "huge.h"
#include "live.h"
#include "poison.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void map(struct memory *m, size_t pages, int flags)
{
	m->len = pages * PAGE;
	m->bad = 2 * PAGE;
	m->at = mmap(NULL, m->len, PROT_READ | PROT_WRITE, flags, m->fd, 0);
	CHECKF(m->at != MAP_FAILED, "mmap: %s", strerror(errno));
}

static void make_anon(struct memory *m)
{
	map(m, 4, MAP_PRIVATE | MAP_ANONYMOUS);
}

static void make_memfd(struct memory *m)
{
	m->fd = memfd_create("lab", MFD_CLOEXEC);
	CHECK(m->fd >= 0);
	CHECK_EQ(ftruncate(m->fd, 4 * PAGE), 0);
	map(m, 4, MAP_SHARED);
}

static void make_thp(struct memory *m)
{
	m->at = anon_huge();
	m->len = HUGE_PAGES * PAGE;
	m->bad = 7 * PAGE;
}

static void make_hugetlb(struct memory *m)
{
	huge_need(4);
	map(m, 2 * HUGE_PAGES, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB);
	m->unit = m->bad = HUGE_PAGES * PAGE;
}

const struct kind kinds[KINDS] = {
	[ANON] = { "anon", make_anon, 0 },
	[MEMFD] = { "memfd", make_memfd, 0 },
	[THP] = { "thp", make_thp, 1 },
	[HUGETLB] = { "hugetlb-private", make_hugetlb, 0 },
};

static void fill(unsigned char *at, size_t len)
{
	size_t i;

	for (i = 0; i < len / PAGE; i++)
		memset(at + i * PAGE, fill_of(i), PAGE);
}

void begin(struct memory *m, const struct kind *kind)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	struct bez_shared shared = BEZ_SHARED_INIT;
	struct bez_source from;
	bez_region_t region;

	*m = (struct memory){ .fd = -1, .unit = PAGE };
	take_sigbus();
	live_start(BEZ_START_NO_EARLY_KILL);
	kind->make(m);
	fill(m->at, m->len);
	m->mirror = mmap(NULL, m->len, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(m->mirror != MAP_FAILED);
	fill(m->mirror, m->len);
	from = bez_source_mirror(m->mirror);
	policy.source = &from;
	shared.flags = BEZ_SHARED_EXCLUSIVE;
	shared.fd = m->fd;
	policy.shared = m->fd < 0 ? NULL : &shared;
	CHECK_EQ(bez_region_add(m->at, m->len, &policy, &region), 0);
}

void note(struct memory *m)
{
	m->frame = pagemap(m->at + m->bad) & PAGEMAP_PFN;
	CHECK(m->frame != 0);
	m->corrupted = corrupted_kib();
}

void lose(struct memory *m)
{
	note(m);
	CHECK_EQ(poison_untold(m->at + m->bad), 0);
	CHECK(corrupted_kib() > m->corrupted);
}

/* Of a huge page the first small one has to be asked for first. */
void undo(struct memory *m)
{
	CHECK_EQ(munmap(m->at, m->len), 0);
	if (m->fd >= 0)
		close(m->fd);
	if (m->unit > PAGE)
		unpoison_pfn(m->frame & -(m->unit / PAGE));
	unpoison_pfn(m->frame);
	CHECK_EQ(corrupted_kib(), m->corrupted);
}

uint64_t replaced(void)
{
	return bez_outcome_count(BEZ_OUTCOME_REPLACED);
}

void check_bytes(const struct memory *m, size_t from, size_t n,
		 const unsigned char *by)
{
	CHECK(!memcmp(m->at, m->mirror, from));
	if (n)
		CHECK(!memcmp(m->at + from, by, n));
	CHECK(!memcmp(m->at + from + n, m->mirror + from + n,
		      m->len - from - n));
}

/* A huge page can be neither emptied nor moved before Linux 5.16. */
int can_be_replaced(const struct memory *m)
{
	return m->unit == PAGE || linux_is(5, 16);
}

void check_told(const struct memory *m, unsigned char *at)
{
	unsigned int before = sigbus.count;
	unsigned char value;

	CHECK_EQ(peek(at, &value), -1);
	CHECK_EQ(sigbus.count, before + 1);
	CHECK_EQ(sigbus.code, BUS_MCEERR_AR);
	CHECK_EQ((uintptr_t)sigbus.addr, (uintptr_t)at);
	CHECK_EQ(sigbus.width_bits, m->unit > PAGE ? 21 : 12);
}

void check_good(unsigned char *at, unsigned char want)
{
	unsigned int before = sigbus.count;
	unsigned char value = 0;

	CHECK_EQ(peek(at, &value), 0);
	CHECK_EQ(value, want);
	CHECK_EQ(sigbus.count, before);
}

unsigned char *for_all(size_t len)
{
	unsigned char *at = mmap(NULL, len, PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	CHECK(at != MAP_FAILED);
	return at;
}
