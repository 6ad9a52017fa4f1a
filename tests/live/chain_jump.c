/* SPDX-License-Identifier: MIT */
/*
 * Former handlers that do not just return: that leave by siglongjmp(), often
 * and from several threads; that mend the memory themselves; and system calls
 * that a signal interrupts.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "chain_help.h"

#define PAGES	8

/* Each; emulated processors are slow. */
static int times(void)
{
	return live_is_real() ? 1000 : 10000;
}

static __thread sigjmp_buf back;
static _Atomic unsigned long calls;

static void jump(int sig)
{
	(void)sig;
	atomic_fetch_add(&calls, 1);
	siglongjmp(back, 1);
}

static void take_over(int sig, void (*handler)(int), int flags)
{
	struct sigaction action = { .sa_handler = handler,
				    .sa_flags = flags };

	CHECK_EQ(sigaction(sig, &action, NULL), 0);
}

/* A page that is lost for good, turn by turn in no region and in one that has
 * no source: then the thread holds a claim and a mark when it is passed on.
 * With SIGSEGV they are one without access, and one that is not mapped. */
struct jumper {
	unsigned char *hole, *unsaved;
};

static void *jump_often(void *arg)
{
	struct jumper *j = arg;
	volatile int i;

	CHECK_EQ(bez_thread_attach(), 0);
	for (i = 0; i < times(); i++) {
		if (sigsetjmp(back, 1))
			continue;
		live_read((i & 1 ? j->hole : j->unsaved) + 100);
		CHECKF(0, "round %d: not caught", i);
	}
	CHECK_EQ(bez_thread_detach(), 0);
	return NULL;
}

static void replace_still_works(void)
{
	unsigned char *at = live_pages(PAGES), *copy = live_pages(PAGES);
	struct bez_source from = bez_source_mirror(copy);
	uint64_t replaced = bez_outcome_count(BEZ_OUTCOME_REPLACED);
	bez_region_t region;
	size_t i;

	region = live_region(at, PAGES * live_page(), &from, "after");
	for (i = 0; i < PAGES; i++)
		live_poison(at + i * live_page());
	CHECK_EQ(live_wrong(at, PAGES * live_page(), 0), 0);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_REPLACED), replaced + PAGES);
	CHECK_EQ(bez_region_remove(region), 0);
}

struct jump_case {
	int threads;
	int flags;
	int sig;
};

static void jumps(void)
{
	const struct jump_case *c = tap_data();
	struct bez_status status = { .size = sizeof(status) };
	struct jumper j[2];
	bez_region_t region[2];
	pthread_t thread[2];
	int i;

	take_over(c->sig, jump, c->flags);
	live_start(BEZ_START_NO_EARLY_KILL |
		   (c->sig == SIGSEGV ? BEZ_START_SEGV_DOOR : 0));
	for (i = 0; i < c->threads; i++) {
		int segv = c->sig == SIGSEGV;

		j[i] = (struct jumper){ segv ? chain_closed() : chain_hole(),
					chain_apart(1) };
		if (!segv)
			live_poison(j[i].unsaved);
		region[i] = live_region(j[i].unsaved, live_page(), NULL, "x");
		if (segv)
			CHECK_EQ(munmap(j[i].unsaved, live_page()), 0);
	}
	for (i = 0; i < c->threads; i++)
		CHECK_EQ(pthread_create(&thread[i], NULL, jump_often, &j[i]),
			 0);
	for (i = 0; i < c->threads; i++)
		CHECK_EQ(pthread_join(thread[i], NULL), 0);

	CHECK_EQ(calls, c->threads * (unsigned int)times());
	CHECK_EQ(bez_status(&status), 0);
	CHECK_EQ(status.foreign, c->threads * (unsigned int)times() / 2);
	CHECK_EQ(status.not_replaced, c->threads * (unsigned int)times() / 2);
	CHECK_EQ(status.installed, 1);
	replace_still_works();
	/* would wait for ever for a mark that was left behind */
	for (i = 0; i < c->threads; i++)
		CHECK_EQ(bez_region_remove(region[i]), 0);
	CHECK_EQ(bez_stop(), 0);
}

/* ------------------------------------------------------ foreign then ours */

static void *mend_at;

static void mend(int sig)
{
	(void)sig;
	atomic_fetch_add(&calls, 1);
	chain_mend(mend_at);
}

static void foreign_then_ours(void)
{
	struct bez_status status = { .size = sizeof(status) };
	int i;

	take_over(SIGBUS, mend, 0);
	chain_start();
	for (i = 0; i < 3; i++) {
		mend_at = chain_hole();
		chain_load((char *)mend_at + 100);
		CHECK_EQ(calls, i + 1);
		CHECK_EQ(bez_status(&status), 0);
		CHECK_EQ(status.installed, 1);
		CHECK_EQ(status.foreign, i + 1);
		replace_still_works();
	}
	CHECK_EQ(calls, 3);
}

/* The handler's work must not show in the interrupted code. */
static void errno_is_kept(void)
{
	unsigned char *at = live_pages(1), *copy = live_pages(1);
	struct bez_source from = bez_source_mirror(copy);

	chain_start();
	live_region(at, live_page(), &from, "page");
	live_poison(at);
	errno = 77;
	chain_load(at + 5);
	CHECK_EQ(errno, 77);
}

/* -------------------------------------------- interrupted system calls */

struct reading {
	pthread_t reader;
	_Atomic int tid;
	int pipe[2];
	long got;
	int error;
};

static void count(int sig)
{
	(void)sig;
	atomic_fetch_add(&calls, 1);
}

static void *read_a_byte(void *arg)
{
	struct reading *r = arg;
	char byte;

	CHECK_EQ(bez_thread_attach(), 0);
	atomic_store(&r->tid, (int)syscall(SYS_gettid));
	r->got = read(r->pipe[0], &byte, 1);
	r->error = errno;
	return NULL;
}

static int sleeps(void *arg)
{
	struct reading *r = arg;
	char path[64], line[256] = "";
	int fd;

	if (!atomic_load(&r->tid))
		return 0;
	snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", r->tid);
	fd = open(path, O_RDONLY);
	if (fd < 0 || read(fd, line, sizeof(line) - 1) < 0)
		line[0] = 0;
	close(fd);
	return atoi(line) == SYS_read && line[0] != 'r';
}

static int was_called(void *arg)
{
	(void)arg;
	return atomic_load(&calls) > 0;
}

static void interrupted_call(void)
{
	int restarts = *(const int *)tap_data();
	struct reading r = { .got = -2 };

	take_over(SIGBUS, count, restarts ? SA_RESTART : 0);
	chain_start();
	CHECK_EQ(pipe(r.pipe), 0);
	CHECK_EQ(pthread_create(&r.reader, NULL, read_a_byte, &r), 0);
	chain_until(sleeps, &r, "the thread waits in read(2)");
	CHECK_EQ(syscall(SYS_tgkill, getpid(), r.tid, SIGBUS), 0);
	chain_until(was_called, NULL, "the former handler is called");
	CHECK_EQ(write(r.pipe[1], "x", 1), 1);
	CHECK_EQ(pthread_join(r.reader, NULL), 0);
	CHECK_EQ(r.got, restarts ? 1 : -1);
	if (!restarts)
		CHECK_EQ(r.error, EINTR);
	CHECK_EQ(calls, 1);
}

static const struct jump_case one = { 1, 0, SIGBUS },
	one_alt = { 1, SA_ONSTACK, SIGBUS }, two = { 2, 0, SIGBUS },
	two_nodefer = { 2, SA_ONSTACK | SA_NODEFER, SIGBUS },
	two_segv = { 2, 0, SIGSEGV }, one_segv = { 1, SA_ONSTACK, SIGSEGV };
static const int yes = 1, no = 0;

static const struct tap_case cases[] = {
	{ .name = "many jumps", .run = jumps, .data = &one },
	{ .name = "many jumps, alternate stack", .run = jumps,
	  .data = &one_alt },
	{ .name = "many jumps, two threads", .run = jumps, .data = &two },
	{ .name = "many jumps, two threads, alternate stack", .run = jumps,
	  .data = &two_nodefer },
	{ .name = "SIGSEGV, many jumps, two threads", .run = jumps,
	  .data = &two_segv },
	{ .name = "SIGSEGV, many jumps, alternate stack", .run = jumps,
	  .data = &one_segv },
	{ .name = "foreign-then-ours", .run = foreign_then_ours },
	{ .name = "errno is kept", .run = errno_is_kept },
	{ .name = "interrupted call is restarted", .run = interrupted_call,
	  .data = &yes },
	{ .name = "interrupted call says EINTR", .run = interrupted_call,
	  .data = &no },
};
TAP_MAIN(cases)
