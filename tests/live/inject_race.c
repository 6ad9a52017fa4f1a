/* SPDX-License-Identifier: MIT */
/*
 * Threads that hammer a page while poison goes in and out. Each writer owns a
 * slot of the page and knows what it last wrote there: a slot that reads less
 * is a zero that was seen, or a write that was lost.
 */
#define _GNU_SOURCE
#include "huge.h"
#include "inject_util.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WRITERS	2
#define ROUNDS	400
#define LEAST	20		/* where a round is slow, in an emulator, */
#define ENOUGH	5		/* that many after so many seconds, or */
#define LOGGED	4000		/* signals: of real poison each is logged */
#define HUGE	(2u << 20)

enum kind { ANON, LOCKED, SHARED, HUGE_PRIVATE };

struct variant {
	enum kind kind;
	uint32_t backend;
};

struct slot {
	_Atomic uint64_t value;
	char pad[56];
};

static struct slot *slots;
static _Atomic int stop;
static _Atomic uint64_t wrong, bus, wrote;
static __thread sigjmp_buf here;

static void on_bus(int sig)
{
	(void)sig;
	siglongjmp(here, 1);
}

static void catch_bus(void)
{
	struct sigaction action = { .sa_handler = on_bus,
				    .sa_flags = SA_NODEFER };

	CHECK(!sigaction(SIGBUS, &action, NULL));
}

static void *write_slot(void *arg)
{
	_Atomic uint64_t *slot = &slots[(uintptr_t)arg].value;
	volatile uint64_t mine = 0;

	if (sigsetjmp(here, 1))
		atomic_fetch_add(&bus, 1);
	while (!atomic_load(&stop)) {
		if (atomic_load(slot) != mine) {
			atomic_fetch_add(&wrong, 1);
			mine = atomic_load(slot);
		}
		/* a store that faults is not done, nor counted */
		atomic_store(slot, mine + 1);
		mine = mine + 1;
		atomic_fetch_add(&wrote, 1);
	}
	return NULL;
}

static void *read_slots(void *arg)
{
	volatile uint64_t seen[WRITERS] = { 0 };
	volatile unsigned int i = 0;

	(void)arg;
	if (sigsetjmp(here, 1))
		atomic_fetch_add(&bus, 1);
	while (!atomic_load(&stop)) {
		uint64_t v = atomic_load(&slots[i].value);

		if (v < seen[i])
			atomic_fetch_add(&wrong, 1);
		seen[i] = v;
		i = (i + 1) % WRITERS;
	}
	return NULL;
}

static size_t make(enum kind kind)
{
	size_t len = kind == HUGE_PRIVATE ? HUGE : iu_page();
	int flags = MAP_ANONYMOUS;

	if (kind == HUGE_PRIVATE)
		huge_need(2);
	flags |= kind == SHARED ? MAP_SHARED : MAP_PRIVATE;
	flags |= kind == HUGE_PRIVATE ? MAP_HUGETLB : 0;
	slots = mmap(NULL, len, PROT_READ | PROT_WRITE, flags, -1, 0);
	CHECK(slots != MAP_FAILED);
	memset(slots, 0, len);
	if (kind == LOCKED && mlock(slots, len))
		tap_skip("mlock: %s", strerror(errno));
	return len;
}

static time_t seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

static void hammer(void)
{
	const struct variant *v = tap_data();
	pthread_t threads[WRITERS + 1];
	time_t end = seconds() + ENOUGH;
	uint64_t before;
	uintptr_t i;
	size_t len;
	int n;

	iu_need(v->backend);
	len = make(v->kind);
	catch_bus();
	for (i = 0; i < WRITERS; i++)
		CHECK(!pthread_create(&threads[i], NULL, write_slot,
				      (void *)i));
	CHECK(!pthread_create(&threads[i], NULL, read_slots, NULL));
	/* some writer must have met the poison, and with few processors that
	 * may take more rounds */
	for (n = 0; n < ROUNDS || (!bus && n < 100 * ROUNDS); n++) {
		bez_inject_t token;

		if (n >= LEAST && bus && (seconds() > end || bus > LOGGED))
			break;
		/* something is written between any two poisons */
		before = atomic_load(&wrote);
		while (atomic_load(&wrote) == before)
			sched_yield();
		CHECK_EQ(bez_inject(slots, len, v->backend, 0, &token), 0);
		CHECK_EQ(bez_inject_undo(token), 0);
	}
	atomic_store(&stop, 1);
	for (i = 0; i <= WRITERS; i++)
		pthread_join(threads[i], NULL);
	tap_diag("%d rounds, %llu writes, %llu SIGBUS, %llu wrong", n,
		 (unsigned long long)wrote, (unsigned long long)bus,
		 (unsigned long long)wrong);
	CHECK_EQ(wrong, 0);
	CHECK(bus > 0);
}

/* A fork while poison goes in must not give the child the hole. */
static void *fork_and_look(void *arg)
{
	const unsigned char *p = arg;
	int n, status;

	for (n = 0; n < 300; n++) {
		pid_t pid = fork();

		if (!pid) {
			unsigned char c = 1;

			iu_catch();
			_exit(iu_touch(p, &c, NULL) && c != iu_byte(0, 5));
		}
		if (waitpid(pid, &status, 0) != pid || status)
			atomic_fetch_add(&wrong, 1);
	}
	atomic_store(&stop, 1);
	return NULL;
}

static void fork_meanwhile(void)
{
	unsigned char *p = iu_pages(1, 5);
	pthread_t thread;
	bez_inject_t token;
	int n = 0;

	iu_need(BEZ_INJECT_UFFD);
	CHECK(!pthread_create(&thread, NULL, fork_and_look, p));
	for (; !atomic_load(&stop); n++) {
		CHECK_EQ(bez_inject(p, iu_page(), BEZ_INJECT_UFFD, 0, &token),
			 0);
		CHECK_EQ(bez_inject_undo(token), 0);
	}
	pthread_join(thread, NULL);
	tap_diag("300 forks, %d injections", n);
	CHECK_EQ(wrong, 0);
	CHECK(n > 10);
}

/* Several threads inject into pages of their own at the same time. */
static void *inject_own(void *arg)
{
	unsigned char *p = iu_pages(3, 9);
	bez_inject_t token;
	int n;

	(void)arg;
	for (n = 0; n < 300; n++) {
		unsigned char c;

		if (bez_inject(p + iu_page(), iu_page(), BEZ_INJECT_UFFD, 0,
			       &token) ||
		    iu_touch(p + iu_page(), &c, NULL) ||
		    bez_inject_undo(token) ||
		    iu_differs(p, 3 * iu_page(), 9) != 3 * iu_page())
			atomic_fetch_add(&wrong, 1);
	}
	return NULL;
}

static void inject_together(void)
{
	pthread_t threads[4];
	int i;

	iu_need(BEZ_INJECT_UFFD);
	iu_catch();
	for (i = 0; i < 4; i++)
		CHECK(!pthread_create(&threads[i], NULL, inject_own, NULL));
	for (i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	CHECK_EQ(wrong, 0);
}

/*
 * A repair of the program's own, by userfaultfd as libbezoar does it, races
 * undo for the page. Returns 1 if it has replaced the page, 0 if there was
 * nothing to replace any more.
 */
static int repair(int uffd, unsigned char *p, const unsigned char *good)
{
	struct uffdio_register reg = {
		.range = { .start = (uintptr_t)p, .len = iu_page() },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	struct uffdio_copy copy = { .dst = (uintptr_t)p, .len = iu_page(),
				    .src = (uintptr_t)good };
	int r = 0;

	while (ioctl(uffd, UFFDIO_REGISTER, &reg))
		CHECK_EQ(errno, EBUSY);
	if (madvise(p, iu_page(), MADV_POPULATE_READ)) {
		CHECK_EQ(errno, EHWPOISON);
		CHECK(!madvise(p, iu_page(), MADV_DONTNEED));
		CHECK(!ioctl(uffd, UFFDIO_COPY, &copy));
		r = 1;
	}
	CHECK(!ioctl(uffd, UFFDIO_UNREGISTER, &reg.range));
	return r;
}

static pthread_barrier_t start, end;
static int replaced;

static void *repair_all(void *arg)
{
	struct uffdio_api api = { .api = UFFD_API };
	int uffd = (int)syscall(SYS_userfaultfd,
				O_CLOEXEC | UFFD_USER_MODE_ONLY);
	unsigned char *good = iu_pages(1, 6);

	CHECK(uffd >= 0 && !ioctl(uffd, UFFDIO_API, &api));
	for (;;) {
		pthread_barrier_wait(&start);
		if (stop)
			return NULL;
		replaced = repair(uffd, arg, good);
		pthread_barrier_wait(&end);
	}
}

static void undo_or_repair(void)
{
	const uint32_t *backend = tap_data();
	unsigned char *p = iu_pages(1, 5);
	time_t end_s = seconds() + ENOUGH;
	int n, wins = 0;
	pthread_t thread;

	iu_need(*backend);
	pthread_barrier_init(&start, NULL, 2);
	pthread_barrier_init(&end, NULL, 2);
	CHECK(!pthread_create(&thread, NULL, repair_all, p));
	for (n = 0; n < ROUNDS && (n < LEAST || seconds() <= end_s); n++) {
		bez_inject_t token;

		iu_fill(p, iu_page(), 5);
		CHECK_EQ(bez_inject(p, iu_page(), *backend, 0, &token), 0);
		pthread_barrier_wait(&start);
		CHECK_EQ(bez_inject_undo(token), 0);
		pthread_barrier_wait(&end);
		CHECK_EQ(iu_differs(p, iu_page(), replaced ? 6 : 5), iu_page());
		wins += replaced;
	}
	stop = 1;
	pthread_barrier_wait(&start);
	pthread_join(thread, NULL);
	tap_diag("%d rounds, the repair was first in %d", n, wins);
}

#define CASE(name_, kind_, backend_)					\
	{ .name = "hammer " name_ ", " #backend_, .run = hammer,	\
	  .timeout_s = 100,						\
	  .data = &(struct variant){ kind_, BEZ_INJECT_##backend_ } }

static const struct tap_case cases[] = {
	CASE("anonymous", ANON, UFFD),
	CASE("anonymous", ANON, MADV),
	CASE("anonymous", ANON, HWPOISON_INJECT),
	CASE("locked", LOCKED, UFFD),
	CASE("shared", SHARED, UFFD),
	CASE("hugetlb", HUGE_PRIVATE, UFFD),
	{ .name = "undo or repair, UFFD", .run = undo_or_repair,
	  .data = &(uint32_t){ BEZ_INJECT_UFFD } },
	{ .name = "undo or repair, MADV", .run = undo_or_repair,
	  .data = &(uint32_t){ BEZ_INJECT_MADV } },
	{ .name = "fork meanwhile", .run = fork_meanwhile },
	{ .name = "threads inject together", .run = inject_together },
};

TAP_MAIN(cases)
