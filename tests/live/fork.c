/* SPDX-License-Identifier: MIT */
/*
 * A child has its own memory, and repairs its own: whatever was open, held or
 * under way in its parent.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "live.h"
#include "replace_see.h"

#define PAGES	8
#define SECONDS	2.0
#define LEAST	5			/* rounds, where one takes long */

static unsigned char *at, *copy;
static size_t page, len;
static _Atomic int stop;

static bez_region_t add_lasting(const struct bez_source *from)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	bez_region_t region = 0;

	policy.source = from;
	policy.max_repeats = 1000000;
	CHECK_EQ(bez_region_add(at, len, &policy, &region), 0);
	return region;
}

static void prepare(void)
{
	struct bez_source from;

	page = live_page();
	len = PAGES * page;
	at = live_pages(PAGES);
	copy = live_pages(PAGES);
	from = bez_source_mirror(copy);
	see_install();
	see_start(*(const uint32_t *)tap_data());
	add_lasting(&from);
}

/* The child's checks count as the case's: it is one process tree. */
static void joins(pid_t pid)
{
	int status = 0;

	CHECK(pid > 0);
	while (waitpid(pid, &status, 0) < 0)
		CHECK_EQ(errno, EINTR);
	CHECKF(WIFEXITED(status) && !WEXITSTATUS(status),
	       "the child ended with %#x", status);
}

static void meet(pthread_barrier_t *both)
{
	pthread_barrier_wait(both);
}

static pthread_barrier_t *shared_barrier(unsigned int count)
{
	pthread_barrier_t *b = mmap(NULL, sizeof(*b), PROT_READ | PROT_WRITE,
				    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_barrierattr_t attr;

	CHECK(b != MAP_FAILED);
	pthread_barrierattr_init(&attr);
	pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(b, &attr, count);
	return b;
}

/* Lose and replace the same pages as the other process, at the same time;
 * each of the two has other bytes. */
static void live_on(pthread_barrier_t *both, unsigned int seed)
{
	double end = see_seconds() + SECONDS;
	size_t round, i;

	live_fill(at, len, seed);
	live_fill(copy, len, seed);
	meet(both);
	for (round = 0; round < LEAST ||
			(round < 300 && see_seconds() < end); round++) {
		for (i = 0; i < PAGES; i += 1 + round % 3)
			live_poison(at + i * page);
		CHECK_EQ(live_wrong(at, len, seed), 0);
		CHECK_EQ(live_wrong(copy, len, seed), 0);
	}
	meet(both);
	CHECK_EQ(live_wrong(at, len, seed), 0);
	CHECK_EQ(live_wrong(copy, len, seed), 0);
}

static void same_page_with(pid_t (*make_child)(void))
{
	pthread_barrier_t *both = shared_barrier(2);
	pid_t pid;

	prepare();
	pid = make_child();
	if (!pid) {
		live_on(both, 2);
		_exit(0);
	}
	live_on(both, 1);
	joins(pid);
}

static void same_page_at_once(void)
{
	same_page_with(fork);
}

/* Nobody is told of such a child, and it has all that its parent had. */
static void same_page_untold(void)
{
	same_page_with(_Fork);
}

static int says_inside(void *dst, size_t bytes, uint64_t offset, void *arg)
{
	(void)offset;
	(void)arg;
	live_fill(dst, bytes, 0);
	return bez_thread_attach() == -EDEADLK ? 0 : -1;
}

/* What the library knows of a thread is of the thread's own life. */
static void number_untold(void)
{
	struct bez_source from = bez_source_callback(says_inside, NULL);
	struct bez_event event;
	uint64_t seq = 0;
	pid_t pid;

	page = len = live_page();
	at = live_pages(1);
	see_install();
	see_start(*(const uint32_t *)tap_data());
	add_lasting(&from);
	pid = _Fork();
	if (!pid) {
		live_poison(at);
		CHECK_EQ(live_wrong(at, len, 0), 0);
		CHECK_EQ(bez_events(&seq, &event, 1), 1);
		CHECK_EQ(event.outcome, BEZ_OUTCOME_REPLACED);
		CHECK_EQ(event.tid, gettid());
		_exit(0);
	}
	joins(pid);
}

static void three_generations(void)
{
	pthread_barrier_t *all = shared_barrier(3);
	struct bez_status s = { .size = sizeof(s) };
	pid_t pid, last;

	prepare();
	live_poison(at);
	CHECK_EQ(live_wrong(at, len, 0), 0);
	pid = fork();
	if (!pid) {
		live_poison(at);
		CHECK_EQ(live_wrong(at, len, 0), 0);
		last = fork();
		if (!last) {
			CHECK_EQ(bez_status(&s), 0);
			CHECK_EQ(s.faults, 0);
			CHECK_EQ(s.regions, 1);
			CHECK_EQ(s.worker_tid, 0);
			live_on(all, 3);
			_exit(0);
		}
		live_on(all, 2);
		joins(last);
		_exit(0);
	}
	live_on(all, 1);
	joins(pid);
}

/* Lost before the fork, touched after it: each repairs its own. */
static void inherited_loss(void)
{
	struct bez_status s = { .size = sizeof(s) };
	size_t i;
	pid_t pid;

	prepare();
	for (i = 0; i < PAGES; i++)
		live_poison(at + i * page);
	pid = fork();
	if (!pid) {
		CHECK_EQ(live_wrong(at, len, 0), 0);
		live_fill(at, len, 5);
		CHECK_EQ(bez_status(&s), 0);
		CHECK_EQ(s.replaced, PAGES);
		_exit(0);
	}
	joins(pid);
	CHECK_EQ(live_wrong(at, len, 0), 0);
	CHECK_EQ(bez_status(&s), 0);
	CHECK_EQ(s.replaced, PAGES);
}

/* ------------------------------------------------- fork while others repair */

/* Makes its loss in one step: a child must not see the test's own hole. */
static void *repairs(void *arg)
{
	unsigned char *mine = arg;

	CHECK_EQ(bez_thread_attach(), 0);
	while (!stop) {
		see_poison_at_once(mine);
		CHECK_EQ(live_read(mine + 1),
			 live_byte((size_t)(mine + 1 - at), 0));
	}
	return NULL;
}

static _Atomic size_t forks;

static void fork_and_look(void)
{
	pid_t pid = fork();

	if (!pid) {
		CHECK_EQ(live_wrong(at, len, 0), 0);
		_exit(0);
	}
	joins(pid);
	forks++;
}

static void *fork_for_a_while(void *arg)
{
	double end = see_seconds() + SECONDS;

	(void)arg;
	while (see_seconds() < end || forks < LEAST)
		fork_and_look();
	return NULL;
}

static void forks_meanwhile(size_t repairers, size_t forkers)
{
	pthread_t thread[8];
	size_t i;

	prepare();
	live_poison(at);
	CHECK_EQ(live_wrong(at, len, 0), 0);
	for (i = 0; i < repairers; i++)
		CHECK_EQ(pthread_create(&thread[i], NULL, repairs,
					at + i * page), 0);
	for (i = 0; i < forkers; i++)
		CHECK_EQ(pthread_create(&thread[repairers + i], NULL,
					fork_for_a_while, NULL), 0);
	for (i = 0; i < forkers; i++)
		pthread_join(thread[repairers + i], NULL);
	while (bez_outcome_count(BEZ_OUTCOME_REPLACED) <= LEAST)
		sched_yield();
	stop = 1;
	for (i = 0; i < repairers; i++)
		pthread_join(thread[i], NULL);
	tap_diag("%zu forks, %llu pages replaced", (size_t)forks,
		 (unsigned long long)bez_outcome_count(BEZ_OUTCOME_REPLACED));
	CHECK(forks >= LEAST);
	CHECK_EQ(live_wrong(at, len, 0), 0);
}

static void one_repairs(void)
{
	forks_meanwhile(1, 1);
}

static void several_fork(void)
{
	forks_meanwhile(4, 3);
}

/* ----------------------------------------------------------- vfork and exec */

static void vfork_and_exec(void)
{
	int status = 0;
	pid_t pid;

	prepare();
	live_poison(at);
	live_poison(at + page);
	pid = vfork();
	if (!pid) {
		/* shares our memory: what it repairs is repaired */
		if (live_read(at) != live_byte(0, 0))
			_exit(1);
		close(1);		/* its descriptors are its own */
		close(2);
		execl("/proc/self/exe", "live_fork", "no case of that name",
		      NULL);
		_exit(3);
	}
	CHECK(pid > 0);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK(WIFEXITED(status));
	CHECK_EQ(WEXITSTATUS(status), 2);	/* as tap_main() says */
	CHECK_EQ(live_wrong(at, len, 0), 0);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_REPLACED), 2);
}

/* bezoar's userfaultfds: those of live_poison() lie low. */
static size_t high_uffds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;
	size_t found = 0;

	CHECK(dir);
	while ((entry = readdir(dir))) {
		char path[300], to[64] = "";
		int fd = atoi(entry->d_name);

		snprintf(path, sizeof(path), "/proc/self/fd/%s", entry->d_name);
		if (fd < 1000 || readlink(path, to, sizeof(to) - 1) < 0 ||
		    !strstr(to, "userfaultfd"))
			continue;
		found++;
		CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
	}
	closedir(dir);
	return found;
}

#define GENERATIONS 4

/* None of bezoar's descriptors survives an exec, or lies low, and no child of
 * fork(2) keeps its parent's. */
static void descriptors(void)
{
	pid_t pid = 0;
	size_t i;

	prepare();
	CHECK_EQ(high_uffds(), 1);
	for (i = 0; i < GENERATIONS && !pid; i++) {
		pid = fork();
		if (pid)
			break;
		CHECK_EQ(high_uffds(), 0);
		live_poison(at + i * page);
		CHECK_EQ(live_wrong(at, len, 0), 0);
		CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_REPLACED), 1);
		CHECK_EQ(high_uffds(), 1);
	}
	if (pid)
		joins(pid);
	CHECK_EQ(high_uffds(), 1);
	if (i)
		_exit(0);
}

/* ------------------------------------------------------- the child's worker */

static int deferred(void *dst, size_t bytes, uint64_t offset, void *arg)
{
	unsigned char *to = dst;
	size_t i;

	(void)arg;
	for (i = 0; i < bytes; i++)
		to[i] = live_byte((size_t)offset + i, 0);
	return 0;
}

static int worker(void)
{
	struct bez_status s = { .size = sizeof(s) };

	CHECK_EQ(bez_status(&s), 0);
	return s.worker_tid;
}

static pthread_barrier_t at_once;

static void *attaches(void *arg)
{
	(void)arg;
	pthread_barrier_wait(&at_once);
	CHECK_EQ(bez_thread_attach(), 0);
	pthread_barrier_wait(&at_once);
	pthread_barrier_wait(&at_once);
	return NULL;
}

static void childs_worker(void)
{
	struct bez_source from = bez_source_deferred(deferred, NULL,
						     30000000000u);
	pthread_t thread[6];
	int parents;
	pid_t pid;
	size_t i;

	page = live_page();
	len = PAGES * page;
	at = live_pages(PAGES);
	see_install();
	see_start(0);
	add_lasting(&from);
	parents = worker();
	CHECK(parents);
	pid = fork();
	if (!pid) {
		CHECK_EQ(worker(), 0);
		live_poison(at);
		see_refused(at, BEZ_OUTCOME_SOURCE_WORKER);
		CHECK_EQ(live_threads(), 1);
		/* several threads ask for it at once: one comes */
		pthread_barrier_init(&at_once, NULL, 7);
		for (i = 0; i < 6; i++)
			CHECK_EQ(pthread_create(&thread[i], NULL, attaches,
						NULL), 0);
		pthread_barrier_wait(&at_once);
		pthread_barrier_wait(&at_once);
		CHECK_EQ(live_threads(), 1 + 6 + 1);
		pthread_barrier_wait(&at_once);
		CHECK(worker() && worker() != parents);
		CHECK_EQ(live_wrong(at, len, 0), 0);
		_exit(0);
	}
	joins(pid);
	live_poison(at + page);
	CHECK_EQ(live_wrong(at, len, 0), 0);
	CHECK_EQ(worker(), parents);
}

/* A child may take down what it inherited, and begin anew. */
static void stop_in_the_child(void)
{
	struct bez_source from;
	bez_region_t region;
	pid_t pid;

	prepare();
	from = bez_source_mirror(copy);
	pid = fork();
	if (!pid) {
		CHECK_EQ(bez_stop(), -EBUSY);
		CHECK_EQ(bez_region_at(at, &region), 0);
		CHECK_EQ(bez_region_remove(region), 0);
		CHECK_EQ(bez_stop(), 0);
		see_start(*(const uint32_t *)tap_data());
		add_lasting(&from);
		live_poison(at);
		CHECK_EQ(live_wrong(at, len, 0), 0);
		CHECK(worker());
		_exit(0);
	}
	joins(pid);
	live_poison(at);
	CHECK_EQ(live_wrong(at, len, 0), 0);
}

static const uint32_t by_uffd = 0, by_mremap = BEZ_START_NO_UFFD;

#define EACH_WAY(what, function)					\
	{ .name = what ", userfaultfd", .run = function, .data = &by_uffd }, \
	{ .name = what ", mremap", .run = function, .data = &by_mremap }

static const struct tap_case cases[] = {
	EACH_WAY("same page at once", same_page_at_once),
	EACH_WAY("same page at once by _Fork", same_page_untold),
	EACH_WAY("its own number by _Fork", number_untold),
	EACH_WAY("three generations", three_generations),
	EACH_WAY("inherited loss", inherited_loss),
	EACH_WAY("fork during repairs", one_repairs),
	EACH_WAY("several threads fork", several_fork),
	EACH_WAY("vfork and exec", vfork_and_exec),
	{ .name = "descriptors", .run = descriptors, .data = &by_uffd },
	{ .name = "the child's worker", .run = childs_worker },
	EACH_WAY("stop in the child", stop_in_the_child),
};
TAP_MAIN(cases)
