/* SPDX-License-Identifier: MIT */
/*
 * Handlers that are left in the middle, and what they leave to others: a child
 * of vfork(2) that is killed there, a jump out of a source, a worker that comes
 * back late, a child that shares the descriptors and not the memory.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bezoar/shared.h>

#include "chain_help.h"
#include "live.h"

#define PAGES 8
#define JUMPS 12			/* not yet a loop */

static unsigned char *at;
static size_t page;

static bez_region_t begin(const struct bez_source *from)
{
	page = live_page();
	at = live_pages(PAGES);
	chain_start();
	return live_region(at, PAGES * page, from, "abandoned");
}

static void fill(void *dst, uint64_t offset)
{
	size_t i;

	for (i = 0; i < page; i++)
		((unsigned char *)dst)[i] = live_byte(offset + i, 0);
}

/* ----------------------------------------------------- killed in the handler */

static _Atomic int dies;

static int deadly(void *dst, size_t len, uint64_t offset, void *arg)
{
	(void)len;
	(void)arg;
	if (dies) {
		dies = 0;
		syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
	}
	fill(dst, offset);
	return 0;
}

static void *reads(void *arg)
{
	CHECK_EQ(bez_thread_attach(), 0);
	CHECK_EQ(live_read(arg), live_byte(0, 0));
	return NULL;
}

/* @other: another thread comes first, else the one that called vfork(2). */
static void vfork_child_is_killed(void)
{
	struct bez_source from = bez_source_callback(deadly, NULL);
	bez_region_t region = begin(&from), more;
	unsigned char *elsewhere = live_pages(1);
	struct bez_policy policy = BEZ_POLICY_INIT;
	const int *other = tap_data();
	int status = 0;
	pthread_t t;
	pid_t pid;

	live_poison(at);
	live_poison(at + page);
	dies = 1;
	pid = vfork();
	if (!pid) {
		live_read(at);
		_exit(7);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	/* we are not in a handler */
	CHECK_EQ(bez_region_add(elsewhere, page, &policy, &more), 0);
	if (*other) {
		CHECK_EQ(pthread_create(&t, NULL, reads, at), 0);
		CHECK_EQ(pthread_join(t, NULL), 0);
	}
	CHECK_EQ(live_wrong(at, PAGES * page, 0), 0);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_REPLACED), 2);
	CHECK_EQ(bez_region_remove(more), 0);
	CHECK_EQ(bez_region_remove(region), 0);
	CHECK_EQ(bez_stop(), 0);
}

/* ----------------------------------------------------- a jump out of a source */

static sigjmp_buf back;
static _Atomic int slips;

static void out_of_here(int sig)
{
	(void)sig;
	siglongjmp(back, 1);
}

static int slippery(void *dst, size_t len, uint64_t offset, void *arg)
{
	(void)len;
	(void)arg;
	if (slips) {
		slips = 0;
		raise(SIGSEGV);
	}
	fill(dst, offset);
	return 0;
}

static void jump_out_of_a_source(void)
{
	struct bez_source from = bez_source_callback(slippery, NULL);
	bez_region_t region = begin(&from);
	volatile int jumped = 0, i;

	signal(SIGSEGV, out_of_here);
	for (i = 0; i < JUMPS; i++) {
		live_poison(at + page);
		slips = 1;
		if (sigsetjmp(back, 1))
			jumped++;
		CHECK_EQ(live_wrong(at, PAGES * page, 0), 0);
	}
	CHECK_EQ(jumped, JUMPS);
	CHECK_EQ(bez_region_remove(region), 0);
	CHECK_EQ(bez_stop(), 0);
}

static int is_locked(int fd)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	CHECK_EQ(fcntl(fd, F_OFD_GETLK, &lock), 0);
	return lock.l_type != F_UNLCK;
}

/* Other processes wait for the lock of a range of the file: it goes with what is
 * left in the slot, at this thread's next fault, wherever that is. */
static void jump_out_with_a_lock(void)
{
	struct bez_source from = bez_source_callback(slippery, NULL);
	struct bez_shared shared = BEZ_SHARED_INIT;
	struct bez_policy policy = BEZ_POLICY_INIT;
	unsigned char *memory;
	bez_region_t region;

	begin(&from);
	shared.fd = memfd_create("abandoned", MFD_CLOEXEC);
	shared.flags = BEZ_SHARED_FENCED;
	CHECK_EQ(ftruncate(shared.fd, (off_t)(PAGES * page)), 0);
	memory = mmap(NULL, PAGES * page, PROT_READ | PROT_WRITE, MAP_SHARED,
		      shared.fd, 0);
	CHECK(memory != MAP_FAILED);
	live_fill(memory, PAGES * page, 0);
	policy.source = &from;
	policy.shared = &shared;
	CHECK_EQ(bez_region_add(memory, PAGES * page, &policy, &region), 0);
	signal(SIGSEGV, out_of_here);
	CHECK_EQ(fallocate(shared.fd,
			   FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			   (off_t)page, (off_t)page), 0);
	slips = 1;
	if (!sigsetjmp(back, 1)) {
		live_read(memory + page);
		CHECKF(0, "the source was not asked");
	}
	CHECK(is_locked(shared.fd));
	live_poison(at);
	CHECK_EQ(live_read(at), live_byte(0, 0));
	CHECK(!is_locked(shared.fd));
	CHECK_EQ(live_wrong(memory, PAGES * page, 0), 0);
	CHECK(!is_locked(shared.fd));
}

/* ------------------------------------------------------- a worker that is late */

static _Atomic int may_end, late_ones;

static int late(void *dst, size_t len, uint64_t offset, void *arg)
{
	(void)len;
	(void)arg;
	late_ones++;
	while (!may_end)
		sched_yield();
	fill(dst, offset);
	return 0;
}

static int prompt(void *dst, size_t len, uint64_t offset, void *arg)
{
	(void)len;
	(void)arg;
	fill(dst, offset);
	return 0;
}

static void *lets_it_end(void *arg)
{
	(void)arg;
	/* when the next one waits for the worker, which is busy */
	while (!bez_outcome_count(BEZ_OUTCOME_REPLACED))
		sched_yield();
	may_end = 1;
	return NULL;
}

/* The next fault gets the same row, whose last request is not over yet. */
static void after_a_late_answer(void)
{
	unsigned char *copy = live_pages(PAGES), *second;
	struct bez_source list[2], from = bez_source_first_of(list, 2);
	struct bez_source soon = bez_source_deferred(prompt, NULL, 30000000000u);
	pthread_t t;

	list[0] = bez_source_deferred(late, NULL, 1000000);
	list[1] = bez_source_mirror(copy);
	begin(&from);
	second = live_pages(1);
	live_region(second, page, &soon, "next");
	live_poison(at);
	live_poison(second);
	CHECK_EQ(pthread_create(&t, NULL, lets_it_end, NULL), 0);
	while (!late_ones) {
		CHECK_EQ(live_wrong(at, page, 0), 0);
		if (!late_ones)		/* it was given up before it began */
			live_poison(at);
	}
	CHECK_EQ(live_wrong(second, page, 0), 0);
	CHECK_EQ(pthread_join(t, NULL), 0);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_SOURCE_WORKER), 0);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_DEFAULT), 0);
}

/* ------------------------------------------------------- descriptors in common */

/* What the child opens works on its own memory, under whatever number. */
static void child_shares_descriptors(void)
{
	struct bez_source from = bez_source_mirror(live_pages(PAGES));
	const int *closes = tap_data();
	_Atomic int *did;
	int status = 0, i;
	long pid;

	begin(&from);
	did = chain_shared(live_page());
	for (i = 0; i < 3; i++)
		live_poison(at + i * page);
	pid = syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
	CHECK(pid >= 0);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (*closes)		/* ours goes, and its number is free */
			close_range(1000, ~0u, 0);
		*did = live_read(at) == live_byte(0, 0) ? 1 : -1;
		while (*did != 2)
			sched_yield();
		_exit(live_wrong(at, PAGES * page, 0) != 0);
	}
	while (!*did)
		sched_yield();
	CHECK_EQ(*did, 1);
	CHECK_EQ(live_wrong(at, PAGES * page, 0), 0);
	*did = 2;
	CHECK_EQ(waitpid((pid_t)pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	CHECK_EQ(live_wrong(at, PAGES * page, 0), 0);
}

static const int no = 0, yes = 1;

static const struct tap_case cases[] = {
	{ .name = "a child of vfork is killed", .data = &no,
	  .run = vfork_child_is_killed },
	{ .name = "a child of vfork is killed, another thread", .data = &yes,
	  .run = vfork_child_is_killed },
	{ .name = "a jump out of a source", .run = jump_out_of_a_source },
	{ .name = "a jump out of a source, with a lock",
	  .run = jump_out_with_a_lock },
	{ .name = "after a late answer", .run = after_a_late_answer },
	{ .name = "a child shares descriptors", .data = &no,
	  .run = child_shares_descriptors },
	{ .name = "a child shares descriptors and closes them", .data = &yes,
	  .run = child_shares_descriptors },
};
TAP_MAIN(cases)
