/* SPDX-License-Identifier: MIT */
/*
 * A file that ends before the page, or whose disk cannot be read: no poison, and
 * told from it. The page becomes memory without a file, as far as it may; the
 * file stays as it is.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuse_eio.h"
#include "huge.h"
#include "kinds_help.h"
#include "live.h"
#include "replace_see.h"

static const struct variant {
	const struct kinds_kind *kind;
	uint32_t start;			/* BEZ_START_* */
	int shared;
	int unreadable;			/* the disk says EIO; else it is cut */
} *variant(void)
{
	return tap_data();
}

static struct kinds_memory m;
static size_t lost;			/* the first page that the file has not */

static uint16_t cause(void)
{
	return variant()->unreadable ? BEZ_CAUSE_UNREADABLE : BEZ_CAUSE_CUT;
}

static off_t size_now(void)
{
	struct stat st;

	CHECK_EQ(fstat(m.fd, &st), 0);
	return st.st_size;
}

static void make(void)
{
	size_t page = live_page();

	if (variant()->unreadable) {
		m = (struct kinds_memory){ .width = page, .len = 6 * page };
		m.fd = fuse_eio_open(m.len, 3 * page, kinds_bytes(0));
		m.at = mmap(NULL, m.len, PROT_READ | PROT_WRITE,
			    variant()->shared ? MAP_SHARED : MAP_PRIVATE, m.fd,
			    0);
		CHECKF(m.at != MAP_FAILED, "%s", strerror(errno));
	} else {
		if (variant()->kind->huge) {
			live_need_linux(5, 16, "a move of huge pages");
			huge_need(12);
		}
		kinds_make(variant()->kind, &m);
		if (variant()->shared)
			CHECK(mmap(m.at, m.len, PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_FIXED, m.fd, 0) == m.at);
	}
	lost = m.len / 2 & -m.width;
}

static void begin(const struct bez_source *from, uint32_t flags)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	struct bez_source copy = bez_source_mirror(kinds_bytes(0));
	struct bez_source own = bez_source_file(-1, 0);
	bez_region_t region;

	make();
	policy.source = from ? from : &copy;
	if (from && from->kind == BEZ_SOURCE_FILE) {
		own.fd = m.fd;
		policy.source = &own;
	}
	policy.flags = flags;
	see_install();
	see_start(variant()->start);
	CHECK_EQ(bez_region_add(m.at, m.len, &policy, &region), 0);
}

static void lose(void)
{
	if (!variant()->unreadable)
		CHECK_EQ(ftruncate(m.fd, (off_t)lost), 0);
}

static uint64_t replaced(void)
{
	return bez_outcome_count(BEZ_OUTCOME_REPLACED);
}

static void end(void)
{
	CHECK_EQ(size_now(), variant()->unreadable ? m.len : lost);
	kinds_unlink(&m);
}

/* From another source; then it is ordinary memory, and is lost like that. */
static void comes_back(void)
{
	struct kinds_seen before, after;
	size_t i, page = live_page();

	begin(NULL, variant()->shared ? BEZ_POLICY_DETACH : 0);
	CHECK_EQ(madvise(m.at, m.len, MADV_DONTDUMP), 0);
	CHECK_EQ(mprotect(m.at, m.len, PROT_READ), 0);
	kinds_see(m.at + lost, &before);
	lose();
	CHECK_EQ(live_read(m.at + lost + 77), kinds_bytes(0)[lost + 77]);
	CHECK_EQ(see_event(m.at + lost).cause, cause());
	CHECK(!kinds_wrong(&m, 0, m.len));
	CHECK_EQ(replaced(), (m.len - lost) / m.width);
	kinds_see(m.at + lost, &after);
	if (m.width == page && !variant()->shared)
		kinds_alike(&before, &after, 1, "detached");
	CHECK(!after.ino && !strcmp(after.perms, "r--p") &&
	      strstr(after.flags, "dd"));
	/* written, and lost again: as poison */
	CHECK_EQ(mprotect(m.at, m.len, PROT_READ | PROT_WRITE), 0);
	for (i = lost; i < m.len; i++)
		m.at[i] = kinds_bytes(1)[i];
	live_poison(m.at + lost + page);
	CHECK_EQ(live_read(m.at + lost + page), kinds_bytes(0)[lost + page]);
	CHECK_EQ(see_event(m.at + lost + page).width, page);
	CHECK(see_event(m.at + lost + page).cause ==
	      (live_is_real() ? BEZ_CAUSE_POISON_AR : BEZ_CAUSE_ADRERR));
	CHECK(!kinds_wrong(&m, lost + page, lost + 2 * page));
	CHECK(!memcmp(m.at + lost, kinds_bytes(1) + lost, page));
	i = lost + 2 * page;
	CHECK(!memcmp(m.at + i, kinds_bytes(1) + i, m.len - i));
	CHECK(!kinds_wrong(&m, 0, lost));
	end();
}

static void refused_with(const struct bez_source *from, uint32_t flags,
			 enum bez_outcome why)
{
	begin(from, flags);
	lose();
	see_refused(m.at + lost + 5, why);
	CHECK_EQ(see_event(m.at + lost).cause, cause());
	CHECK(!kinds_wrong(&m, 0, lost));
	CHECK_EQ(replaced(), 0);
	end();
}

/* What is written to it later would not reach the file: only if asked for. */
static void not_asked(void)
{
	refused_with(NULL, 0, BEZ_OUTCOME_REFUSED_DETACH);
}

static void no_source(void)
{
	struct bez_source own = bez_source_file(-1, 0);

	/* the file has them as little as its mapping */
	refused_with(&own, BEZ_POLICY_DETACH, BEZ_OUTCOME_SOURCE_FAILED);
}

static void zeros(void)
{
	struct bez_source zero = bez_source_zero();
	size_t i;

	begin(&zero, variant()->shared ? BEZ_POLICY_DETACH : 0);
	lose();
	for (i = lost; i < m.len; i++)
		CHECK_EQ(live_read(m.at + i), 0);
	CHECK_EQ(see_event(m.at + lost).cause, cause());
	CHECK(!kinds_wrong(&m, 0, lost));
	end();
}

static _Atomic int ready, wrong;

static void *reads(void *arg)
{
	size_t i = lost + (size_t)arg;

	CHECK_EQ(bez_thread_attach(), 0);
	ready++;
	while (ready < 4)
		continue;
	for (; i < m.len; i += live_page())
		wrong += live_read(m.at + i) != kinds_bytes(0)[i];
	return NULL;
}

static void several(void)
{
	pthread_t thread[4];
	size_t i;

	begin(NULL, variant()->shared ? BEZ_POLICY_DETACH : 0);
	lose();
	for (i = 0; i < 4; i++)
		CHECK_EQ(pthread_create(&thread[i], NULL, reads, (void *)i), 0);
	for (i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	CHECK_EQ(wrong, 0);
	CHECK_EQ(replaced(), (m.len - lost) / m.width);
	CHECK(!kinds_wrong(&m, 0, m.len));
	end();
}

/* Cut and longer again: the file has zeros there, and they are good. */
static void longer_again(void)
{
	unsigned char byte = 1;

	begin(NULL, 0);
	lose();
	CHECK_EQ(ftruncate(m.fd, (off_t)m.len), 0);
	CHECK_EQ(see_lost(m.at + lost, &byte), 0);
	CHECK_EQ(byte, 0);
	CHECK_EQ(replaced(), 0);
	kinds_unlink(&m);
}

#define V(kind, start, shared, unreadable) \
	(&(const struct variant){ &kinds_##kind, start, shared, unreadable })
#define CASE(what, function, ...) \
	{ .name = what, .run = function, .data = V(__VA_ARGS__) }
#define EACH(what, function)						\
	CASE(what ", private", function, disk, 0, 0, 0),		\
	CASE(what ", private, mremap", function, disk,			\
	     BEZ_START_NO_UFFD, 0, 0),					\
	CASE(what ", copied", function, disk_cow, 0, 0, 0),		\
	CASE(what ", memfd", function, memfd, 0, 0, 0),			\
	CASE(what ", hugetlb memfd", function, huge_memfd, 0, 0, 0),	\
	CASE(what ", shared", function, disk, 0, 1, 0),			\
	CASE(what ", shared memfd", function, memfd, 0, 1, 0),		\
	CASE(what ", unreadable", function, disk, 0, 0, 1),		\
	CASE(what ", unreadable, mremap", function, disk,		\
	     BEZ_START_NO_UFFD, 0, 1),					\
	CASE(what ", unreadable and shared", function, disk, 0, 1, 1)

static const struct tap_case cases[] = {
	EACH("it comes back", comes_back),
	EACH("its own file is no source", no_source),
	EACH("zeros, by name", zeros),
	EACH("several threads", several),
	CASE("may not be detached, file", not_asked, disk, 0, 1, 0),
	CASE("may not be detached, memfd", not_asked, memfd, 0, 1, 0),
	CASE("may not be detached, unreadable", not_asked, disk, 0, 1, 1),
	CASE("longer again, private", longer_again, disk, 0, 0, 0),
	CASE("longer again, shared", longer_again, disk, 0, 1, 0),
};
TAP_MAIN(cases)
