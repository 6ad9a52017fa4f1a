/* SPDX-License-Identifier: MIT */
/*
 * The door for SIGSEGV: an end that could not be helped is said, and others are
 * not; it is there when it was asked for, and goes again.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "chain_help.h"

#define PAGES 5
#define HOLE 2

static unsigned char *at, *copy;

static unsigned char *hole(void)
{
	return at + HOLE * live_page();
}

/* Pages in a region that has a copy, and the door. */
static void begin(void)
{
	struct bez_source from;

	at = chain_apart(PAGES);
	copy = chain_apart(PAGES);
	from = bez_source_mirror(copy);
	live_start(BEZ_START_SEGV_DOOR | BEZ_START_NO_EARLY_KILL);
	live_region(at, PAGES * live_page(), &from, "table");
}

static struct bez_status status_now(void)
{
	struct bez_status s = { .size = sizeof(s) };

	CHECK_EQ(bez_status(&s), 0);
	return s;
}

/* ------------------------------------------------------- the last word */

struct end {
	int status;
	char said[512];
};

/* How a child ends that runs @fn, and what it says. */
static struct end end_of(void (*fn)(void))
{
	struct end end = { 0 };
	size_t len = 0;
	int fd[2];
	pid_t pid;
	ssize_t r;

	CHECK_EQ(pipe(fd), 0);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		dup2(fd[1], 2);
		close(fd[0]);
		close(fd[1]);
		fn();
		_exit(33);
	}
	close(fd[1]);
	while ((r = read(fd[0], end.said + len, sizeof(end.said) - 1 - len)) >
	       0)
		len += (size_t)r;
	close(fd[0]);
	CHECK_EQ(waitpid(pid, &end.status, 0), pid);
	return end;
}

static void says(const struct end *end, const char *what)
{
	const char *eol = strchr(end->said, '\n');

	CHECKF(WIFSIGNALED(end->status) && WTERMSIG(end->status) == SIGSEGV,
	       "ends with %#x", end->status);
	CHECKF(!strncmp(end->said, "bezoar: ", 8) && strstr(end->said, what),
	       "says: %s", end->said);
	CHECKF(eol && !eol[1], "one line: %s", end->said);
}

static void no_source(void)
{
	at = chain_apart(PAGES);
	live_start(BEZ_START_SEGV_DOOR);
	live_region(at, PAGES * live_page(), NULL, "ta\nble");
	munmap(hole(), live_page());
	live_read(hole() + 9);
}

static void of_a_page(void)
{
	struct end end;
	char want[160];

	end = end_of(no_source);
	snprintf(want, sizeof(want), " of region \"ta?ble\" is no longer "
		 "mapped and could not be restored: no source\n");
	says(&end, want);
}

static void shared_neighbour(void)
{
	struct bez_source from;

	at = mmap(NULL, PAGES * live_page(), PROT_READ | PROT_WRITE,
		  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	copy = chain_apart(PAGES);
	from = bez_source_mirror(copy);
	live_start(BEZ_START_SEGV_DOOR);
	live_region(at, PAGES * live_page(), &from, "shared");
	munmap(hole(), live_page());
	live_read(hole() + 9);
}

static void of_shared_memory(void)
{
	struct end end = end_of(shared_neighbour);

	says(&end, "\"shared\" is no longer mapped and could not be restored: "
		   "refused: kind of memory\n");
}

static void null_pointer(void)
{
	begin();
	chain_load(NULL);
}

static void no_access(void)
{
	begin();
	mprotect(hole(), live_page(), PROT_NONE);
	live_read(hole());
}

/* Ends that are none of ours are not commented on. */
static void says_nothing(void)
{
	void (*fn)(void) = *(void (*const *)(void))tap_data();
	struct end end = end_of(fn);

	CHECK(WIFSIGNALED(end.status) && WTERMSIG(end.status) == SIGSEGV);
	CHECKF(!end.said[0], "says: %s", end.said);
}

static int goes_deep(void *dst, size_t len, uint64_t offset, void *arg)
{
	volatile unsigned char room[1024];

	room[0] = 1;
	return arg ? goes_deep(dst, len, offset, arg) + room[0] : 0;
}

static void deep_source(void)
{
	struct bez_source from = bez_source_callback(goes_deep, &from);

	at = chain_apart(PAGES);
	live_start(BEZ_START_SEGV_DOOR | BEZ_START_NO_EARLY_KILL);
	live_region(at, PAGES * live_page(), &from, "deep");
	live_poison(hole());
	live_read(hole() + 9);
}

static void of_the_stack(void)
{
	struct end end = end_of(deep_source);

	says(&end, ": its alternate stack is too small, it ran into 0x");
}

/* ------------------------------------------------------ start and stop */

static void *handler_now(int sig)
{
	struct sigaction now;

	CHECK_EQ(sigaction(sig, NULL, &now), 0);
	return (void *)now.sa_sigaction;
}

static void former(int sig)
{
	(void)sig;
}

static void later(int sig)
{
	(void)sig;
}

static void off_by_default(void)
{
	struct sigaction action = { .sa_handler = former };

	CHECK_EQ(sigaction(SIGSEGV, &action, NULL), 0);
	live_start(0);
	CHECK(handler_now(SIGSEGV) == (void *)former);
	CHECK(handler_now(SIGBUS) != (void *)SIG_DFL);
	CHECK_EQ(status_now().segv_door, 0);
	CHECK_EQ(bez_stop(), 0);
}

static void put_back(void)
{
	struct sigaction action = { .sa_handler = former };
	struct sigaction other = { .sa_handler = later }, ours;

	CHECK_EQ(sigaction(SIGSEGV, &action, NULL), 0);
	live_start(BEZ_START_SEGV_DOOR);
	CHECK(handler_now(SIGSEGV) != (void *)former);
	CHECK_EQ(sigaction(SIGSEGV, &other, &ours), 0);
	CHECK_EQ(status_now().installed, 1);
	CHECK_EQ(status_now().segv_door, 0);
	CHECK_EQ(bez_stop(), -EBUSY);
	CHECK_EQ(status_now().started, 1);
	CHECK_EQ(sigaction(SIGSEGV, &ours, NULL), 0);
	CHECK_EQ(bez_stop(), 0);
	CHECK(handler_now(SIGSEGV) == (void *)former);
	CHECK(handler_now(SIGBUS) == (void *)SIG_DFL);
	/* and not any more than asked for the next time */
	live_start(0);
	CHECK(handler_now(SIGSEGV) == (void *)former);
	CHECK_EQ(bez_stop(), 0);
}

/* A thread that blocks SIGSEGV would die of it. */
static void *blocks_it(void *arg)
{
	sigset_t set;

	(void)arg;
	sigemptyset(&set);
	sigaddset(&set, SIGSEGV);
	CHECK_EQ(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
	CHECK_EQ(bez_thread_attach(), 0);
	CHECK_EQ(live_read(hole() + 1), live_byte(HOLE * live_page() + 1, 0));
	CHECK_EQ(bez_thread_detach(), 0);
	CHECK(chain_mask() >> (SIGSEGV - 1) & 1);
	return NULL;
}

static void unblocked(void)
{
	pthread_t thread;

	begin();
	CHECK_EQ(munmap(hole(), live_page()), 0);
	CHECK_EQ(pthread_create(&thread, NULL, blocks_it, NULL), 0);
	CHECK_EQ(pthread_join(thread, NULL), 0);
}

static void (*const null)(void) = null_pointer;
static void (*const closed)(void) = no_access;

static const struct tap_case cases[] = {
	{ .name = "last word: a page", .run = of_a_page },
	{ .name = "last word: shared memory", .run = of_shared_memory },
	{ .name = "last word: the alternate stack", .run = of_the_stack },
	{ .name = "no word: null pointer", .run = says_nothing,
	  .data = &null },
	{ .name = "no word: no access", .run = says_nothing,
	  .data = &closed },
	{ .name = "off by default", .run = off_by_default },
	{ .name = "put back", .run = put_back },
	{ .name = "open in a thread that blocked it", .run = unblocked },
};
TAP_MAIN(cases)
