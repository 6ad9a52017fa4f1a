/* SPDX-License-Identifier: MIT */
/*
 * Each kind of shared memory, by its only user and behind a fence: replaced with
 * every attribute of the mapping kept, while other threads read the page all the
 * time and never see a hole for data; and refused where nobody said who else
 * there is.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "huge.h"
#include "live.h"
#include "lost.h"
#include "replace_see.h"

#define HUGE		((size_t)2 << 20)
#define TMPFS_MAGIC	0x01021994
#define THREADS		3
#define ROUNDS		300

struct kind {
	int (*open)(size_t len);	/* -1: no file: MAP_ANONYMOUS */
	size_t width;			/* 0: a base page */
	uint32_t flags;			/* BEZ_SHARED_* */
	int (*give)(void *at, size_t len);	/* attributes; 0 or -1 */
	int prot;
	int mmap_flags;
};

static const struct kind *kind(void)
{
	return tap_data();
}

static int memory_file(size_t len)
{
	int fd = memfd_create("shared", MFD_CLOEXEC);

	CHECK(fd >= 0);
	CHECK_EQ(ftruncate(fd, (off_t)len), 0);
	return fd;
}

static int tmpfs_file(size_t len)
{
	char name[] = "/dev/shm/bezoar-XXXXXX";
	struct statfs fs;
	int fd = mkostemp(name, O_CLOEXEC);

	if (fd < 0)
		tap_skip("/dev/shm: %s", strerror(errno));
	unlink(name);
	CHECK_EQ(fstatfs(fd, &fs), 0);
	if (fs.f_type != TMPFS_MAGIC)
		tap_skip("/dev/shm is no tmpfs");
	CHECK_EQ(ftruncate(fd, (off_t)len), 0);
	return fd;
}

static int huge_file(size_t len)
{
	int fd;

	/* and one to put in its place */
	huge_need(len / HUGE + 1);
	fd = memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB);
	CHECK(fd >= 0);
	CHECK_EQ(ftruncate(fd, (off_t)len), 0);
	return fd;
}

static int no_file(size_t len)
{
	(void)len;
	return -1;
}

static int no_huge_file(size_t len)
{
	huge_need(len / HUGE + 1);
	return -1;
}

static size_t width(void)
{
	return kind()->width ? kind()->width : live_page();
}

static size_t length(void)
{
	return kind()->width ? 2 * kind()->width : 6 * live_page();
}

static int lock_it(void *at, size_t len)
{
	return mlock(at, len);
}

static int advise_it(void *at, size_t len)
{
	return madvise(at, len, MADV_DONTDUMP) ||
	       madvise(at, len, MADV_SEQUENTIAL);
}

/* The memory, filled, and a copy of it in *ret_copy; *ret_fd is its file. */
static unsigned char *make(unsigned char **ret_copy, int *ret_fd)
{
	int flags = MAP_SHARED | kind()->mmap_flags, prot = kind()->prot;
	size_t len = length();
	unsigned char *at;

	*ret_fd = kind()->open(len);
	if (*ret_fd < 0)
		flags |= MAP_ANONYMOUS;
	at = mmap(NULL, len, PROT_READ | PROT_WRITE, flags, *ret_fd, 0);
	CHECKF(at != MAP_FAILED, "mmap: %s", strerror(errno));
	live_fill(at, len, 0);
	*ret_copy = mmap(NULL, len, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(*ret_copy != MAP_FAILED);
	live_fill(*ret_copy, len, 0);
	CHECK(!kind()->give || !kind()->give(at, len));
	if (prot)
		CHECK_EQ(mprotect(at, len, prot), 0);
	return at;
}

static unsigned char *protect(bez_region_t *ret_region)
{
	struct bez_shared shared = BEZ_SHARED_INIT;
	struct bez_policy policy = BEZ_POLICY_INIT;
	unsigned char *copy, *at;
	struct bez_source from;
	int fd;

	see_install();
	at = make(&copy, &fd);
	from = bez_source_mirror(copy);
	see_start(0);
	shared.flags = kind()->flags;
	shared.fd = fd;
	policy.shared = &shared;
	policy.source = &from;
	policy.name = "shared";
	policy.max_repeats = 4095;
	CHECK_EQ(bez_region_add(at, length(), &policy, ret_region), 0);
	lost_begin(fd, at, width());
	if (fd >= 0)
		close(fd);		/* it has one of its own */
	return at;
}

static void replaced(void)
{
	size_t offset = length() / 2;
	struct see_map before, after;
	struct bez_event e;
	bez_region_t region;
	unsigned char *at = protect(&region);
	size_t fds = see_fds(), maps = see_maps();

	before = see_map(at + offset);
	lost_notice(offset);
	CHECK_EQ(live_read(at + offset + 77), live_byte(offset + 77, 0));
	CHECK_EQ(live_wrong(at, length(), 0), 0);
	e = see_event(at + offset);
	CHECK_EQ(e.outcome, BEZ_OUTCOME_REPLACED);
	CHECK_EQ(e.width, width());
	CHECK_EQ(e.source, BEZ_SOURCE_MIRROR);
	CHECK(e.region == region && !strcmp(e.name, "shared"));
	CHECK_EQ(atomic_load(&lost->fills), 1);
	CHECK_EQ(atomic_load(&lost->punches), 1);
	after = see_map(at + offset);
	CHECK(!strcmp(before.perms, after.perms));
	CHECKF(!strcmp(before.flags, after.flags), "%s, %s", before.flags,
	       after.flags);
	CHECK_EQ(before.locked_kb, after.locked_kb);
	CHECK_EQ(see_fds(), fds);
	CHECK_EQ(see_maps(), maps);
	/* what is written goes to the file, and is not taken back */
	if (!kind()->prot) {
		at[offset + 5] = 0x5a;
		CHECK_EQ(live_read(at + offset + 5), 0x5a);
	}
	CHECK_EQ(atomic_load(&lost->fills), 1);
	CHECK_EQ(bez_region_remove(region), 0);
	CHECK_EQ(bez_stop(), 0);
}

/* A bad page in the file that no entry tells of is taken for a hole, and then cannot
 * be filled: out with it. */
static void unseen(void)
{
	size_t offset = length() / 2;
	bez_region_t region;
	unsigned char *at;

	if (live_is_real())
		tap_skip("the kernel does so when it likes");
	at = protect(&region);
	lost->unseen = 1;
	lost_notice(offset);
	CHECK_EQ(live_wrong(at, length(), 0), 0);
	CHECK_EQ(see_event(at + offset).outcome, BEZ_OUTCOME_REPLACED);
	CHECK_EQ(atomic_load(&lost->fills), 1);
	CHECK_EQ(atomic_load(&lost->punches), 1);
}

/* ---------------------------------------------------------------- hammering */

static struct {
	unsigned char *at;
	_Atomic int end;
	_Atomic uint64_t looks, wrong;
} hammer;

static void *reads(void *arg)
{
	size_t offset = length() / 2, i = 0;

	(void)arg;
	CHECK_EQ(bez_thread_attach(), 0);
	while (!atomic_load(&hammer.end)) {
		i = (i + 509) % width();
		if (live_read(hammer.at + offset + i) !=
		    live_byte(offset + i, 0))
			atomic_fetch_add(&hammer.wrong, 1);
		atomic_fetch_add_explicit(&hammer.looks, 1,
					  memory_order_relaxed);
	}
	CHECK_EQ(bez_thread_detach(), 0);
	return NULL;
}

/* A page that is lost before it is filled again is one loss. */
static void hammered(void)
{
	uint32_t i, rounds = live_is_real() ? ROUNDS / 10 : ROUNDS;
	pthread_t thread[THREADS];
	bez_region_t region;

	/* each takes a huge page of the guest's few for good */
	if (kind()->width && live_is_real())
		rounds = 2;
	hammer.at = protect(&region);
	lost->hammered = 1;
	for (i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_create(&thread[i], NULL, reads, NULL), 0);
	for (i = 0; i < rounds; i++) {
		uint64_t looks = atomic_load(&hammer.looks);

		lost_notice(length() / 2);
		while (atomic_load(&lost->fills) <= i)
			sched_yield();
		while (atomic_load(&hammer.looks) < looks + 2 * THREADS)
			sched_yield();
	}
	atomic_store(&hammer.end, 1);
	for (i = 0; i < THREADS; i++)
		CHECK_EQ(pthread_join(thread[i], NULL), 0);
	CHECK_EQ(atomic_load(&hammer.wrong), 0);
	/* real poison is sometimes there although the kernel says that it was
	 * busy, and then comes twice */
	CHECK(atomic_load(&lost->fills) == rounds ||
	      (live_is_real() && atomic_load(&lost->fills) > rounds));
	/* and an old kernel may have taken it out of the file by itself then */
	CHECK(atomic_load(&lost->punches) == atomic_load(&lost->fills) ||
	      (live_is_real() && atomic_load(&lost->fills) > rounds &&
	       atomic_load(&lost->punches) >= rounds));
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_DEFAULT), 0);
	CHECK_EQ(live_wrong(hammer.at, length(), 0), 0);
}

/* Nobody said who else there is: nothing is done. */
static void refused(void)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	unsigned char *copy, *at;
	struct bez_source from;
	bez_region_t region;
	int fd;

	see_install();
	at = make(&copy, &fd);
	from = bez_source_mirror(copy);
	see_start(0);
	policy.source = &from;
	CHECK_EQ(bez_region_add(at, length(), &policy, &region), 0);
	lost_begin(fd, at, width());
	lost_notice(length() / 2);
	see_refused(at + length() / 2 + 9, BEZ_OUTCOME_REFUSED_SHARED);
	CHECK_EQ(atomic_load(&lost->fills), 0);
	CHECK_EQ(atomic_load(&lost->punches), 0);
}

static volatile sig_atomic_t told;

static void former(int sig)
{
	told += sig == SIGBUS;
}

/*
 * A huge page that could not be split is bad, can be read, and can not be punched
 * out of the file, only be zeroed there: it is nobody's to replace.
 */
static void wide_report(void)
{
	struct bez_shared shared = BEZ_SHARED_INIT;
	struct bez_policy policy = BEZ_POLICY_INIT;
	unsigned char *copy, *at;
	struct bez_source from;
	bez_region_t region;
	struct bez_event e;
	int fd;

	at = make(&copy, &fd);
	live_fill(copy, length(), 1);
	from = bez_source_mirror(copy);
	CHECK(signal(SIGBUS, former) != SIG_ERR);
	see_start(0);
	shared.flags = kind()->flags;
	shared.fd = fd;
	policy.shared = &shared;
	policy.source = &from;
	CHECK_EQ(bez_region_add(at, length(), &policy, &region), 0);
	see_report(at + length() / 2, BUS_MCEERR_AR, 21);
	/* others may have mended it since: at first it goes on over it */
	if (kind()->flags & BEZ_SHARED_FENCED) {
		CHECK_EQ(told, 0);
		e = see_event(at + length() / 2);
		CHECK_EQ(e.outcome, BEZ_OUTCOME_ALREADY_GOOD);
		see_report(at + length() / 2, BUS_MCEERR_AR, 12);
	}
	CHECK_EQ(told, 1);
	e = see_event(at + length() / 2);
	CHECK_EQ(e.outcome, BEZ_OUTCOME_DEFAULT);
	CHECK_EQ(e.why, BEZ_OUTCOME_REFUSED_KIND);
	CHECK_EQ(e.width, live_page());
	CHECK_EQ(live_wrong(at, length(), 0), 0);
}

#define KIND(what, how, ...)						\
	{ .name = what ", " #how, .run = how, .timeout_s = 120,	\
	  .data = &(const struct kind){ __VA_ARGS__ } }

#define ALL(what, opens, w, ...)					\
	KIND("exclusive " what, replaced, opens, w,			\
	     BEZ_SHARED_EXCLUSIVE, __VA_ARGS__),			\
	KIND("exclusive " what, hammered, opens, w,			\
	     BEZ_SHARED_EXCLUSIVE, __VA_ARGS__)
#define FENCED(what, opens, w, ...)					\
	KIND("fenced " what, replaced, opens, w, BEZ_SHARED_FENCED,	\
	     __VA_ARGS__),						\
	KIND("fenced " what, hammered, opens, w, BEZ_SHARED_FENCED,	\
	     __VA_ARGS__)

static const struct tap_case cases[] = {
	ALL("memfd", memory_file, 0, NULL, 0, 0),
	FENCED("memfd", memory_file, 0, NULL, 0, 0),
	ALL("tmpfs", tmpfs_file, 0, NULL, 0, 0),
	FENCED("tmpfs", tmpfs_file, 0, NULL, 0, 0),
	ALL("shared anonymous", no_file, 0, NULL, 0, 0),
	ALL("hugetlb memfd", huge_file, HUGE, NULL, 0, 0),
	FENCED("hugetlb memfd", huge_file, HUGE, NULL, 0, 0),
	ALL("shared anonymous hugetlb", no_huge_file, HUGE, NULL, 0,
	    MAP_HUGETLB),
	KIND("exclusive memfd, read-only", replaced, memory_file, 0,
	     BEZ_SHARED_EXCLUSIVE, NULL, PROT_READ, 0),
	KIND("fenced memfd, read-only", replaced, memory_file, 0,
	     BEZ_SHARED_FENCED, NULL, PROT_READ, 0),
	KIND("exclusive memfd, locked", replaced, memory_file, 0,
	     BEZ_SHARED_EXCLUSIVE, lock_it, 0, 0),
	KIND("exclusive memfd, advised", replaced, memory_file, 0,
	     BEZ_SHARED_EXCLUSIVE, advise_it, 0, 0),
	KIND("exclusive memfd", unseen, memory_file, 0, BEZ_SHARED_EXCLUSIVE,
	     NULL, 0, 0),
	KIND("fenced memfd", unseen, memory_file, 0, BEZ_SHARED_FENCED, NULL, 0,
	     0),
	KIND("exclusive memfd", wide_report, memory_file, 0,
	     BEZ_SHARED_EXCLUSIVE, NULL, 0, 0),
	KIND("fenced memfd", wide_report, memory_file, 0, BEZ_SHARED_FENCED,
	     NULL, 0, 0),
	KIND("nobody said: memfd", refused, memory_file, 0, 0, NULL, 0, 0),
	KIND("nobody said: hugetlb", refused, huge_file, HUGE, 0, NULL, 0, 0),
};
TAP_MAIN(cases)
