/* SPDX-License-Identifier: MIT */
/*
 * What nobody can save: a page of the library's own memory, or of the C library's.
 * The process goes on where that page is not needed, with right bytes, or it ends as
 * it would have without bezoar; it reads nothing wrong, and does not hang.
 */
#define _GNU_SOURCE
#include "live.h"
#include "memory.h"
#include "poison.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST 512			/* mappings */
enum { GOES_ON, WRONG, NO_MORE };	/* exit status of a child */

struct range {
	unsigned long start, end;
};

/* Of this process: private memory of nobody that it may write to. No stdio, whose
 * buffers would be new memory. */
static size_t ranges(struct range *r)
{
	static char text[256 << 10];
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	size_t have = 0, n = 0;
	char *line, *next = text, how[8];
	unsigned long inode;
	ssize_t got;

	CHECK(fd >= 0);
	while ((got = read(fd, text + have, sizeof(text) - 1 - have)) > 0)
		have += (size_t)got;
	close(fd);
	text[have] = '\0';
	while ((line = strsep(&next, "\n")) && n < MOST)
		if (sscanf(line, "%lx-%lx %7s %*s %*s %lu", &r[n].start,
			   &r[n].end, how, &inode) == 4 &&
		    !strcmp(how, "rw-p") && !inode)
			n++;
	return n;
}

static int is_in(const struct range *r, size_t n, unsigned long at)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (r[i].start <= at && at < r[i].end)
			return 1;
	return 0;
}

/* The page number @which of what there is now and was not then. */
static unsigned char *own_page(const struct range *was, size_t n, size_t which)
{
	static struct range is[MOST];
	size_t m = ranges(is), i;
	unsigned long at;

	for (i = 0; i < m; i++)
		for (at = is[i].start; at < is[i].end; at += PAGE)
			if (!is_in(was, n, at) &&
			    pagemap((void *)at) & PAGEMAP_PRESENT && !which--)
				return (void *)at;
	return NULL;
}

/* A region has lost a page, and the library one of its own. */
static void __attribute__((noreturn)) both(size_t which)
{
	static struct range was[MOST];
	struct bez_policy policy = BEZ_POLICY_INIT;
	unsigned char *at = anon(3, MAP_PRIVATE), *mirror = anon(3, MAP_PRIVATE);
	struct bez_status s = { .size = sizeof(s) };
	struct bez_source from = bez_source_mirror(mirror);
	struct bez_event e[8];
	unsigned char *own;
	bez_region_t region;
	uint64_t seq = 0;
	size_t n = ranges(was);

	signal(SIGBUS, SIG_DFL);
	live_start(BEZ_START_NO_EARLY_KILL);
	policy.source = &from;
	policy.name = "own";
	CHECK_EQ(bez_region_add(at, 3 * PAGE, &policy, &region), 0);
	own = own_page(was, n, which);
	if (!own)
		_exit(NO_MORE);
	CHECK_EQ(poison_untold(at + PAGE), 0);
	CHECK_EQ(poison_untold(own), 0);
	if (at[PAGE + 123] != fill_of(1) || memcmp(at, mirror, 3 * PAGE))
		_exit(WRONG);
	bez_events(&seq, e, 8);
	bez_status(&s);
	_exit(bez_region_remove(region) || bez_stop() ? WRONG : GOES_ON);
}

static void own_memory(void)
{
	size_t which, on = 0, bus = 0, segv = 0;
	int status = 0;
	pid_t pid;

	for (which = 0;; which++) {
		pid = fork();
		CHECK(pid >= 0);
		if (!pid) {
			tap_apart();
			prctl(PR_SET_DUMPABLE, 0);
			alarm(20 * tap_patience());
			both(which);
		}
		CHECK_EQ(waitpid(pid, &status, 0), pid);
		if (WIFEXITED(status) && WEXITSTATUS(status) == NO_MORE)
			break;
		CHECKF(WIFSIGNALED(status) || !status, "page %zu: status %#x",
		       which, (unsigned int)status);
		on += !status;
		bus += WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS;
		segv += WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV;
		CHECKF(on + bus + segv == which + 1, "page %zu: signal %d",
		       which, WTERMSIG(status));
	}
	tap_diag("of %zu pages %zu were not needed; %zu ends by SIGBUS, %zu by "
		 "SIGSEGV", which, on, bus, segv);
	CHECK(bus > 0);
}

/* ---------------------------------------------------------------------- libc's data */

static unsigned char *lost;

/* The former action: told of that page, and of nothing else. */
static void told(int sig, siginfo_t *si, void *context)
{
	const size_t where = (size_t)((unsigned char *)si->si_addr - lost);

	(void)sig;
	(void)context;
	_exit(si->si_code == BUS_MCEERR_AR && where < PAGE ? 42 : 43);
}

/* In a static program the last of the C library's data has pages of its own: where
 * the environment is, say. Before the library has been started nothing is lost. */
static void __attribute__((noreturn)) environment(int saved)
{
	struct sigaction sa = { .sa_sigaction = told, .sa_flags = SA_SIGINFO };
	struct bez_policy policy = BEZ_POLICY_INIT;
	unsigned char *copy = anon(1, MAP_PRIVATE);
	struct bez_source from = bez_source_mirror(copy);
	bez_region_t region;
	const char *value;

	alarm(20 * tap_patience());
	CHECK_EQ(setenv("BEZOAR_LAB", "here", 1), 0);
	CHECK_EQ(sigaction(SIGBUS, &sa, NULL), 0);
	lost = (unsigned char *)((uintptr_t)&environ & -PAGE);
	live_start(BEZ_START_NO_EARLY_KILL);
	policy.source = &from;
	if (saved)
		CHECK_EQ(bez_region_add(lost, PAGE, &policy, &region), 0);
	memcpy(copy, lost, PAGE);
	CHECK_EQ(poison_untold(lost), 0);
	value = getenv("BEZOAR_LAB");
	_exit(value && !strcmp(value, "here") &&
	      bez_outcome_count(BEZ_OUTCOME_REPLACED) == 1 ? GOES_ON : WRONG);
}

/* The program is told, as by any page of its own; or has it back, if it is a region. */
static void libc_data(void)
{
	const int *saved = tap_data();
	int status;
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (!pid) {
		tap_apart();
		prctl(PR_SET_DUMPABLE, 0);
		environment(*saved);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECKF(WIFEXITED(status), "status %#x", (unsigned int)status);
	CHECK_EQ(WEXITSTATUS(status), *saved ? GOES_ON : 42);
}

static const int alone, saved = 1;

static const struct tap_case cases[] = {
	{ .name = "bezoar's own memory", .run = own_memory, .timeout_s = 300 },
	{ .name = "libc's data", .run = libc_data, .data = &alone },
	{ .name = "libc's data, in a region", .run = libc_data, .data = &saved },
};
TAP_MAIN(cases)
