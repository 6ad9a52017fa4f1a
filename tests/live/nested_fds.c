/* SPDX-License-Identifier: MIT */
/*
 * A program closes descriptors that it does not know, and opens others under
 * the same numbers. bezoar must notice, and never work on what is not its own.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "live.h"
#include "replace_see.h"

#ifndef SYS_close_range			/* Linux 5.9 */
#define SYS_close_range 436
#endif

#define PAGES 8
#define LEAST 10			/* rounds, where one takes long */

static unsigned char *at, *copy;
static size_t page, len;

static void prepare(void)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	struct bez_source from;
	bez_region_t region;

	page = live_page();
	len = PAGES * page;
	at = live_pages(PAGES);
	copy = live_pages(PAGES);
	from = bez_source_mirror(copy);
	see_install();
	see_start(*(const uint32_t *)tap_data());
	policy.source = &from;
	policy.max_repeats = 1000000;
	CHECK_EQ(bez_region_add(at, len, &policy, &region), 0);
}

/* The number of bezoar's userfaultfd; the only one that lies high. */
static int bezoars_uffd(void)
{
	struct dirent *entry;
	int found = -1;
	DIR *dir = opendir("/proc/self/fd");

	CHECK(dir);
	while ((entry = readdir(dir))) {
		char path[300], to[64] = "";

		snprintf(path, sizeof(path), "/proc/self/fd/%s", entry->d_name);
		if (readlink(path, to, sizeof(to) - 1) > 0 &&
		    strstr(to, "userfaultfd") && atoi(entry->d_name) >= 1000)
			found = atoi(entry->d_name);
	}
	closedir(dir);
	CHECK(found >= 0);
	return found;
}

static void close_all(void)
{
	if (syscall(SYS_close_range, 3, ~0u, 0))
		tap_skip("no close_range(2): %s", strerror(errno));
}

/* Lost first: the test's own descriptor goes as well. */
static void lose_all(void)
{
	size_t i;

	for (i = 0; i < PAGES; i++)
		live_poison(at + i * page);
}

static void all_closed(void)
{
	struct bez_status s = { .size = sizeof(s) };

	prepare();
	lose_all();
	close_all();
	CHECK_EQ(live_wrong(at, len, 0), 0);
	CHECK_EQ(bez_status(&s), 0);
	CHECK_EQ(s.replaced, PAGES);
}

/* Every number up to bezoar's stands for one and the same other file. */
static void all_reused(void)
{
	char name[] = "/tmp/bezoar-fds-XXXXXX";
	struct bez_status s = { .size = sizeof(s) };
	char byte = 'x', back;
	int fd, i;

	prepare();
	lose_all();
	close_all();
	fd = mkstemp(name);
	CHECK(fd >= 0);
	unlink(name);
	CHECK_EQ(write(fd, &byte, 1), 1);
	for (i = fd + 1; i < 1010; i++)
		dup2(fd, i);		/* as far as the limit allows */
	CHECK_EQ(live_wrong(at, len, 0), 0);
	CHECK_EQ(bez_status(&s), 0);
	CHECK_EQ(s.replaced, PAGES);
	/* and the file is as it was */
	CHECK_EQ(pread(fd, &back, 1, 0), 1);
	CHECK_EQ(back, byte);
	CHECK_EQ(lseek(fd, 0, SEEK_END), 1);
	CHECK_EQ(fcntl(fd + 1, F_GETFD), 0);
}

static int some_uffd(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	CHECK(fd >= 0);
	CHECK_EQ(ioctl(fd, UFFDIO_API, &api), 0);
	return fd;
}

/*
 * The number stands for a userfaultfd again, but one of the parent's memory,
 * which it inherited: to work with that is to write into the parent.
 */
static void another_process_uffd(void)
{
	int parents = some_uffd(), status;
	pid_t pid;

	prepare();
	pid = fork();
	if (!pid) {
		live_poison(at);	/* in the child it opens its own */
		CHECK_EQ(live_read(at), live_byte(0, 0));
		live_poison(at + page);
		CHECK(dup2(parents, bezoars_uffd()) >= 1000);
		live_fill(copy, len, 3);
		CHECK_EQ(see_wrong(at, page, 2 * page, 3), 0);
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECKF(WIFEXITED(status) && !WEXITSTATUS(status),
	       "the child ended with %#x", status);
	CHECK_EQ(live_wrong(at, len, 0), 0);
}

/* One of the program's own: its handler would be asked to serve our page. */
static void own_uffd(void)
{
	size_t i;
	int own;

	prepare();
	own = some_uffd();
	for (i = 0; i < 3; i++) {
		CHECK(dup2(own, bezoars_uffd()) >= 1000);
		live_poison(at + i * page);
		CHECK_EQ(live_wrong(at, len, 0), 0);
		/* it must have opened a new one then */
		CHECK(bezoars_uffd() >= 1000);
	}
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_REPLACED), 3);
}

/* bez_stop() does not close what is not its own. */
static void stop_after_reuse(void)
{
	bez_region_t region;
	int number, other;

	prepare();
	number = bezoars_uffd();
	other = open("/dev/null", O_RDONLY);
	CHECK_EQ(dup2(other, number), number);
	CHECK_EQ(bez_region_at(at, &region), 0);
	CHECK_EQ(bez_region_remove(region), 0);
	CHECK_EQ(bez_stop(), 0);
	CHECK_EQ(fcntl(number, F_GETFD), 0);
}

/* ------------------------------------------------------ while faults go on */

static _Atomic int stop;
static _Atomic size_t closings;

static void *closes(void *arg)
{
	(void)arg;
	while (!stop) {
		syscall(SYS_close_range, 1000, ~0u, 0);
		closings++;
		usleep(200);
	}
	return NULL;
}

/* By a lost page or by no access at all, of which a touch would die. */
static int is_closed(unsigned char *where)
{
	unsigned char byte;
	struct iovec here = { &byte, 1 }, there = { where, 1 };

	return process_vm_readv(getpid(), &here, 1, &there, 1, 0) < 0;
}

/*
 * At any moment of a repair. Nobody may read a byte that is not good. A page
 * may be refused if its descriptor goes right between two steps; but then it
 * stays closed.
 */
static void closed_meanwhile(void)
{
	double end = see_seconds() + 3;
	size_t rounds = 0, refused = 0;
	pthread_t thread;
	unsigned char byte;

	prepare();
	live_poison(at);
	CHECK_EQ(live_wrong(at, len, 0), 0);
	CHECK_EQ(pthread_create(&thread, NULL, closes, NULL), 0);
	while (rounds <= LEAST || closings <= LEAST ||
	       (see_seconds() < end && rounds < 20000)) {
		size_t offset = rounds++ % PAGES * page;

		see_poison_at_once(at + offset);
		if (see_lost(at + offset, &byte)) {
			refused++;
			CHECK(is_closed(at + offset));
			CHECK(mmap(at + offset, page, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
				   0) == at + offset);
			memcpy(at + offset, copy + offset, page);
		}
		CHECK_EQ(see_wrong(at, offset, offset + page, 0), 0);
	}
	stop = 1;
	pthread_join(thread, NULL);
	tap_diag("%zu rounds, %zu times closed, %zu refused", rounds,
		 (size_t)closings, refused);
	CHECK(refused <= 10 + rounds / 1000);
}

static const uint32_t by_uffd = 0, by_mremap = BEZ_START_NO_UFFD;

#define EACH_WAY(what, function)					\
	{ .name = what ", userfaultfd", .run = function, .data = &by_uffd }, \
	{ .name = what ", mremap", .run = function, .data = &by_mremap }

static const struct tap_case cases[] = {
	EACH_WAY("all closed", all_closed),
	EACH_WAY("all reused", all_reused),
	{ .name = "another process' userfaultfd", .run = another_process_uffd,
	  .data = &by_uffd },
	{ .name = "own userfaultfd", .run = own_uffd, .data = &by_uffd },
	{ .name = "stop after reuse", .run = stop_after_reuse,
	  .data = &by_uffd },
	EACH_WAY("closed meanwhile", closed_meanwhile),
};
TAP_MAIN(cases)
