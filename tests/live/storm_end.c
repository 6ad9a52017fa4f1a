/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "storm_end.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "live.h"
#include "storm_memory.h"

#define THREADS		3
#define TIMES		1000		/* a source fails each third time */
#define WENT_ON		3		/* exit status */

/* One of them at a time. */
struct ended {
	_Atomic uint32_t hooks;		/* as digits, in their order */
	_Atomic uint32_t wrong;		/* bytes, and hooks elsewhere */
	_Atomic uint32_t worker;
};

static struct ended *ended;
static struct area areas[2];
static uint64_t draws;

void storm_end_prepare(void)
{
	ended = mmap(NULL, sizeof(*ended), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(ended != MAP_FAILED);
}

static void hook(const struct bez_event *loss, void *digit)
{
	ended->wrong += loss->outcome != BEZ_OUTCOME_SHUTDOWN_BEGUN ||
			(uint32_t)syscall(SYS_gettid) != ended->worker;
	ended->hooks = ended->hooks * 10 + (uint32_t)(uintptr_t)digit;
}

static void touch(struct area *a, size_t offset, uint64_t draw)
{
	unsigned char byte = a->copy[offset];

	switch (draw % 4) {
	case 0:
		bez_copy(&byte, a->at + offset, 1);
		break;
	case 1:
		bez_recover(a->at + offset, 1);
		break;
	case 2:
		*(volatile unsigned char *)(a->at + offset) = byte;
		break;
	default:
		byte = live_read(a->at + offset);
	}
	ended->wrong += byte != a->copy[offset];
}

static void *loses(void *arg)
{
	uint64_t state = draws + (uintptr_t)arg;
	size_t i;

	CHECK_EQ(bez_thread_attach(), 0);
	for (i = 0; i < TIMES; i++) {
		struct area *a = &areas[area_random(&state) % 2];
		size_t page = area_random(&state) % a->pages;

		if (area_take(a, page)) {
			area_lose(a, page);
			area_give(a, page);
		}
		touch(a, page * a->width + area_random(&state) % a->width,
		      area_random(&state));
	}
	_exit(WENT_ON);
}

void storm_end(uint64_t seed)
{
	const struct rlimit none = { 0, 0 };
	struct bez_status s = { .size = sizeof(s) };
	pthread_t thread;
	size_t i;

	tap_apart();
	setrlimit(RLIMIT_CORE, &none);
	draws = seed;
	ended->hooks = ended->wrong = 0;
	CHECK_EQ(bez_thread_attach(), 0);
	CHECK_EQ(bez_status(&s), 0);
	ended->worker = (uint32_t)s.worker_tid;
	for (i = 1; i <= 3; i++)
		CHECK_EQ(bez_shutdown_hook(hook, (void *)i), 0);
	for (i = 0; i < 2; i++) {
		area_make(&areas[i], i ? AREA_FILE : AREA_ANON);
		/* nobody will come to do that */
		if (i)
			unlink(areas[i].path);
		area_add(&areas[i], AREA_REPLACE_OR_END, NULL);
	}
	for (i = 1; i < THREADS; i++)
		CHECK_EQ(pthread_create(&thread, NULL, loses, (void *)i), 0);
	loses(NULL);
	_exit(WENT_ON);
}

void storm_end_check(int status)
{
	CHECKF(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS,
	       "a child that was to end ended with %#x", status);
	CHECK_EQ(ended->hooks, 123);
	CHECK_EQ(ended->wrong, 0);
}
