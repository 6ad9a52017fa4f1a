/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "huge.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tap.h"

#define POOL "/sys/kernel/mm/hugepages/hugepages-"

struct pool {
	const char *name;		/* of the pages, in messages */
	const char *all;		/* files of sysfs */
	const char *free;
	const char *promised;
	const char *surplus;
};

static const struct pool two_mib = {
	"2 MiB", POOL "2048kB/nr_hugepages", POOL "2048kB/free_hugepages",
	POOL "2048kB/resv_hugepages", POOL "2048kB/surplus_hugepages",
}, one_gib = {
	"1 GiB", POOL "1048576kB/nr_hugepages", POOL "1048576kB/free_hugepages",
	POOL "1048576kB/resv_hugepages", POOL "1048576kB/surplus_hugepages",
};

static size_t get(const struct pool *pool, const char *path)
{
	FILE *f = fopen(path, "re");
	size_t n = 0;
	int got;

	if (!f)
		tap_skip("no huge pages of %s on this machine", pool->name);
	got = fscanf(f, "%zu", &n);
	fclose(f);
	CHECKF(got == 1, "%s holds no number", path);
	return n;
}

static void set(const struct pool *pool, size_t n)
{
	FILE *f = fopen(pool->all, "we");

	if (f) {
		fprintf(f, "%zu\n", n);
		fclose(f);
	}
}

static size_t free_of(const struct pool *pool)
{
	size_t free = get(pool, pool->free);
	size_t promised = get(pool, pool->promised);

	return free > promised ? free - promised : 0;
}

/* Of all processes that have to do with it: also of the one below, until it has
 * put the number back. */
static void have_alone(void)
{
	static int turn = -1;

	if (turn >= 0)
		return;
	turn = open("/tmp/.bezoar-huge", O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	if (turn < 0)			/* another user's */
		turn = open("/tmp/.bezoar-huge", O_RDONLY | O_CLOEXEC);
	CHECK(turn >= 0);
	tap_waits(1);
	while (flock(turn, LOCK_EX))
		CHECK_EQ(errno, EINTR);
	tap_waits(0);
}

/* A process that outlives the case holds the other end of a pipe. */
static void undo_later(const struct pool *pool, size_t was)
{
	int ends[2];
	char byte;
	pid_t pid;

	CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
	pid = _Fork();
	CHECK(pid >= 0);
	if (pid) {
		close(ends[0]);
		return;			/* the other stays open until the end */
	}
	/* those of a case that is killed as a group must not reach us */
	setsid();
	signal(SIGTERM, SIG_IGN);
	close(ends[1]);
	while (read(ends[0], &byte, 1) < 0 && errno == EINTR)
		continue;
	set(pool, was);
	_exit(0);
}

static void need(const struct pool *pool, size_t pages)
{
	size_t now, all;

	have_alone();
	now = free_of(pool);
	if (now >= pages)
		return;
	all = get(pool, pool->all);
	if (!geteuid()) {
		undo_later(pool, all);
		/* to make room among files takes the kernel as long as it does */
		tap_waits(1);
		set(pool, all + pages - now);
		tap_waits(0);
	}
	if (free_of(pool) < pages)
		tap_skip("%zu free huge pages of %s, not %zu: as root they are "
			 "set aside", free_of(pool), pool->name, pages);
}

void huge_need(size_t pages)
{
	need(&two_mib, pages);
}

void huge_need_gib(size_t pages)
{
	need(&one_gib, pages);
}

size_t huge_free(void)
{
	return free_of(&two_mib);
}

size_t huge_free_gib(void)
{
	return free_of(&one_gib);
}

void huge_say_gib(char *text, size_t size)
{
	snprintf(text, size, "pages of 1 GiB: %zu, free %zu, promised %zu, "
		 "surplus %zu", get(&one_gib, one_gib.all),
		 get(&one_gib, one_gib.free), get(&one_gib, one_gib.promised),
		 get(&one_gib, one_gib.surplus));
}

/* Each taken page holds the address of the one before. */
static void **drained;

void huge_drain(void)
{
	void **page;

	/* one by one, as others may give some back meanwhile */
	for (;;) {
		page = mmap(NULL, HUGE_PAGE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
		if (page == MAP_FAILED)
			break;
		*page = drained;
		drained = page;
	}
	CHECK_EQ(errno, ENOMEM);
}

void huge_refill(void)
{
	while (drained) {
		void *page = drained;

		drained = *drained;
		CHECK_EQ(munmap(page, HUGE_PAGE), 0);
	}
}
