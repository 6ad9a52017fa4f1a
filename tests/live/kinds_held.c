/* SPDX-License-Identifier: MIT */
/*
 * Memory that somebody else has a hold of: children that share it, a userfaultfd
 * of the program's, stacks that are in use, a device.
 */
#define _GNU_SOURCE
#include <alloca.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "huge.h"
#include "kinds_help.h"
#include "live.h"
#include "replace_see.h"
#include "ring.h"

static const struct variant {
	const struct kinds_kind *kind;
	uint32_t start;			/* BEZ_START_* */
	int mode;			/* UFFDIO_REGISTER_MODE_* */
} *variant(void)
{
	return tap_data();
}

static struct kinds_memory m;

static void begin(void)
{
	struct bez_source from = bez_source_mirror(kinds_bytes(0));

	kinds_can_be_lost(variant()->kind);
	if ((variant()->kind == &kinds_memfd_cow ||
	     variant()->kind == &kinds_memfd) && !variant()->start)
		live_need_linux(5, 14, "minor faults by userfaultfd");
	if (variant()->kind->huge)
		huge_need(24);
	kinds_make(variant()->kind, &m);
	see_install();
	see_start(variant()->start);
	live_region(m.at, m.len, &from, "held");
}

static uint64_t replaced(void)
{
	return bez_outcome_count(BEZ_OUTCOME_REPLACED);
}

/* ----------------------------------------------------------------- children */

static void wait_for(pid_t pid)
{
	int status;

	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
}

/* Lost before the fork: each finds it, and makes its own good. */
static void both_lose(void)
{
	pid_t pid;

	begin();
	kinds_lose(&m, m.width);
	pid = fork();
	if (!pid) {
		CHECK(!kinds_wrong(&m, 0, m.len));
		CHECK_EQ(replaced(), 1);
		m.at[m.width + 3] = 3;
		_exit(0);
	}
	wait_for(pid);
	CHECK(!kinds_wrong(&m, 0, m.len));
	CHECK_EQ(replaced(), 1);
	m.at[m.width + 4] = 4;
	CHECK_EQ(m.at[m.width + 3], kinds_bytes(0)[m.width + 3]);
	kinds_unlink(&m);
}

/*
 * Shared copy-on-write, and one of the two loses it: the other keeps its bytes.
 * (A marker is of one process; where the page itself is bad, both have lost it.)
 */
static void one_loses(void)
{
	int to_child[2], to_parent[2], parent;
	char go = 0;
	pid_t pid;

	if (live_is_real())
		tap_skip("the page itself is bad: both have lost it");
	for (parent = 0; parent < 2; parent++) {
		if (!parent)
			begin();
		CHECK_EQ(pipe(to_child), 0);
		CHECK_EQ(pipe(to_parent), 0);
		pid = fork();
		if (!pid) {
			uint64_t had = replaced();

			if (!parent)
				kinds_lose(&m, m.width);
			if (!parent)
				CHECK_EQ(write(to_parent[1], &go, 1), 1);
			CHECK_EQ(read(to_child[0], &go, 1), 1);
			CHECK(!kinds_wrong(&m, 0, m.len));
			CHECK_EQ(replaced() - had, !parent);
			_exit(0);
		}
		if (parent)
			kinds_lose(&m, m.width);
		else
			CHECK_EQ(read(to_parent[0], &go, 1), 1);
		CHECK(!kinds_wrong(&m, 0, m.len));
		CHECK_EQ(write(to_child[1], &go, 1), 1);
		wait_for(pid);
		CHECK_EQ(replaced(), parent);
	}
	kinds_unlink(&m);
}

/* ------------------------------------------- a userfaultfd of the program's */

static void watched(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = (unsigned int)variant()->mode };
	struct kinds_seen before, after;
	int fd;

	begin();
	kinds_lose(&m, m.width);
	fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	CHECK(fd >= 0);
	reg.range.start = (uintptr_t)m.at;
	reg.range.len = m.len;
	if (ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &reg))
		tap_skip("it cannot be watched: %s", strerror(errno));
	kinds_see(m.at + m.width, &before);
	CHECK(strstr(before.flags, variant()->mode ==
		     UFFDIO_REGISTER_MODE_WP ? "uw" : "um"));
	see_refused(m.at + m.width + 7, BEZ_OUTCOME_REFUSED_ATTRS);
	kinds_see(m.at + m.width, &after);
	kinds_alike(&before, &after, 0, "watched");
	CHECK(!kinds_wrong(&m, 0, m.width));
	CHECK(!kinds_wrong(&m, 2 * m.width, m.len));
	CHECK_EQ(ioctl(fd, UFFDIO_UNREGISTER, &reg.range), 0);
	CHECK(!kinds_wrong(&m, 0, m.len));
	CHECK_EQ(replaced(), 1);
	kinds_unlink(&m);
}

/* ------------------------------------------------------------------- stacks */

static unsigned char *copy;

/* A page of the stack below us, which nothing of ours lies in. */
static __attribute__((noinline)) void lose_stack(int replace)
{
	size_t page = live_page();
	unsigned char *room = alloca(8 * page);
	unsigned char *at = (unsigned char *)((uintptr_t)room & -page) +
			    3 * page;
	struct bez_source from;
	struct kinds_seen before, after;
	bez_region_t region;

	copy = live_pages(1);
	live_fill(at, page, 0);
	live_fill(copy, page, 0);
	from = bez_source_mirror(copy);
	region = live_region(at, page, &from, "stack");
	kinds_see(at, &before);
	live_poison(at);
	if (replace) {
		CHECK_EQ(live_wrong(at, page, 0), 0);
		CHECK_EQ(replaced(), 1);
	} else {
		see_refused(at, BEZ_OUTCOME_REFUSED_ATTRS);
		CHECK_EQ(replaced(), 0);
	}
	kinds_see(at, &after);
	kinds_alike(&before, &after, 0, "stack");
	/* it still grows, and is one */
	if (strstr(before.name, "[stack]"))
		CHECK(strstr(after.flags, "gd"));
	CHECK_EQ(bez_region_remove(region), 0);
	if (!replace)
		CHECK_EQ(madvise(at, page, MADV_DONTNEED), 0);
}

static __attribute__((noinline)) unsigned char grow(size_t pages)
{
	unsigned char *room = alloca(pages * live_page());
	size_t i;

	for (i = pages * live_page(); i; i -= live_page())
		((volatile unsigned char *)room)[i - 1] = 1;
	return live_read(room + pages * live_page() - 1);
}

static void main_stack(void)
{
	see_install();
	see_start(variant()->start);
	/* to grow down cannot be given to another mapping */
	lose_stack(!variant()->start);
	CHECK_EQ(grow(300), 1);
}

static void *on_a_stack(void *arg)
{
	CHECK_EQ(bez_thread_attach(), 0);
	lose_stack(1);
	return arg;
}

static void thread_stack(void)
{
	pthread_t thread;

	see_install();
	see_start(variant()->start);
	CHECK_EQ(pthread_create(&thread, NULL, on_a_stack, NULL), 0);
	pthread_join(thread, NULL);
	CHECK_EQ(replaced(), 1);
}

/* ----------------------------------------------------------------- a device */

static uint64_t pinned_now(void)
{
	struct bez_status s = { .size = sizeof(s) };

	CHECK_EQ(bez_status(&s), 0);
	return s.pinned;
}

/*
 * What the kernel pinned for a ring stays the ring's, and is not what the program
 * has there after a repair. bezoar cannot change that, but says that there is
 * such memory.
 */
static void pinned(void)
{
	size_t page = live_page();
	unsigned char *at = live_pages(2), *twin = live_pages(2), back[16];
	struct bez_source from = bez_source_mirror(twin);
	struct io_uring_sqe request = { .opcode = IORING_OP_WRITE_FIXED };
	uint64_t before, held;
	int pipes[2];

	ring_open();
	before = pinned_now();
	held = before + 2 * page;
	CHECK_EQ(pipe(pipes), 0);
	see_install();
	see_start(variant()->start);
	live_region(at, 2 * page, &from, "pinned");
	live_fill(at, 2 * page, 0);
	CHECK_EQ(ring_fix(at, 2 * page), 0);
	if (live_linux(7, 0) && pinned_now() == before) {
		tap_diag("VmPin is without what is pinned for a ring");
		held = before;
	}
	CHECK_EQ(pinned_now(), held);
	see_poison(at);		/* a child would have another page */
	CHECK_EQ(live_wrong(at, 2 * page, 0), 0);
	CHECK_EQ(replaced(), 1);
	/* still said, as it is still so */
	CHECK_EQ(pinned_now(), held);
	live_fill(at, 2 * page, 2);
	request.fd = pipes[1];
	request.off = (uint64_t)-1;
	request.addr = (uint64_t)at;
	request.len = sizeof(back);
	CHECK_EQ(ring_do(&request), (int)sizeof(back));
	CHECK_EQ(read(pipes[0], back, sizeof(back)), (int)sizeof(back));
	CHECK_EQ(live_wrong(back, sizeof(back), 0), 0);	/* the old page */
	/* registered anew, it is the program's again */
	CHECK_EQ(ring_unfix(), 0);
	CHECK_EQ(pinned_now(), before);
	CHECK_EQ(ring_fix(at, 2 * page), 0);
	CHECK_EQ(ring_do(&request), (int)sizeof(back));
	CHECK_EQ(read(pipes[0], back, sizeof(back)), (int)sizeof(back));
	CHECK_EQ(live_wrong(back, sizeof(back), 2), 0);
}

#define V(kind, start, mode) \
	(&(const struct variant){ &kinds_##kind, start, mode })
#define CASE(what, function, ...) \
	{ .name = what, .run = function, .data = V(__VA_ARGS__),	\
	  .timeout_s = 120 }
#define BOTH(what, function, kind)					\
	CASE(what ", userfaultfd", function, kind, 0, 0),		\
	CASE(what ", mremap", function, kind, BEZ_START_NO_UFFD, 0)
#define WATCHED(what, kind)						\
	CASE("watched for misses, " what, watched, kind, 0,		\
	     UFFDIO_REGISTER_MODE_MISSING),				\
	CASE("watched for writes, " what, watched, kind, 0,		\
	     UFFDIO_REGISTER_MODE_WP)

static const struct tap_case cases[] = {
	BOTH("lost before the fork, anonymous", both_lose, anon),
	CASE("lost before the fork, memfd", both_lose, memfd_cow, 0, 0),
	BOTH("lost before the fork, tmpfs", both_lose, tmpfs_cow),
	BOTH("lost before the fork, hugetlb", both_lose, huge),
	CASE("lost before the fork, disk", both_lose, disk_cow, 0, 0),
	BOTH("lost by one of two, anonymous", one_loses, anon),
	CASE("lost by one of two, memfd", one_loses, memfd_cow, 0, 0),
	BOTH("lost by one of two, tmpfs", one_loses, tmpfs_cow),
	BOTH("lost by one of two, hugetlb", one_loses, huge),
	WATCHED("anonymous", anon),
	WATCHED("memfd", memfd),
	WATCHED("tmpfs, copied", tmpfs_cow),
	WATCHED("hugetlb", huge),
	BOTH("the main stack", main_stack, anon),
	BOTH("a thread's stack", thread_stack, anon),
	BOTH("pinned for a ring", pinned, anon),
};
TAP_MAIN(cases)
