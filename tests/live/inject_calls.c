/* SPDX-License-Identifier: MIT */
/* The calls themselves: what they refuse, and what undo leaves alone. */
#define _GNU_SOURCE
#include "inject_util.h"
#include "tap.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define SEED	21
#define OTHER	22

/* Six pages, of which the last two are not there any more. */
static unsigned char *four_and_a_hole(void)
{
	unsigned char *p = iu_pages(6, SEED);

	/* the first call maps a page of its own, which must not be in the hole */
	CHECK_EQ(bez_inject_forget(1), -ENOENT);
	CHECK(!munmap(p + 4 * iu_page(), 2 * iu_page()));
	return p;
}

static void bad_input(void)
{
	size_t page = iu_page();
	unsigned char *p = four_and_a_hole();
	bez_inject_t token = 99;

	CHECK_EQ(bez_inject(p, page, 5, 0, &token), -EINVAL);
	CHECK_EQ(bez_inject(p, page, UINT32_MAX, 0, &token), -EINVAL);
	CHECK_EQ(bez_inject(p, page, BEZ_INJECT_UFFD, 0, NULL), -EINVAL);
	CHECK_EQ(bez_inject((void *)(UINTPTR_MAX - 2 * page + 1), page,
			    BEZ_INJECT_AUTO, 0, &token), -ENOMEM);
	CHECK_EQ(token, 99);
	CHECK_EQ(iu_differs(p, 4 * page, SEED), 4 * page);
}

/* The same with each back end; one that is not to be had may say so instead. */
static void bad_ranges(void)
{
	const uint32_t *backend = tap_data();
	int none = bez_inject_available(*backend);
	size_t page = iu_page(), i;
	const struct {
		const char *what;
		intptr_t from;
		size_t len;
		uint32_t flags;
		int want;
	} table[] = {
		{ "off by one", 1, page, 0, -EINVAL },
		{ "half a page", 0, page / 2, 0, -EINVAL },
		{ "nothing", 0, 0, 0, -EINVAL },
		{ "wraps", 0, SIZE_MAX - page + 1, 0, -EINVAL },
		{ "unknown flag", 0, page, 2, -EINVAL },
		{ "another", 0, page, 4, -EINVAL },
		{ "all flags", 0, page, UINT32_MAX, -EINVAL },
		{ "unmapped end", 0, 5 * page, 0, -ENOMEM },
		{ "hole", 0, 6 * page, 0, -ENOMEM },
		{ "unmapped start", (intptr_t)(4 * page), 2 * page, 0,
		  -ENOMEM },
		{ "unmapped", (intptr_t)(5 * page), page, 0, -ENOMEM },
		{ "to the end of the world", 0, (size_t)1 << 46, 0, -ENOMEM },
	};
	unsigned char *p = four_and_a_hole();
	bez_inject_t token = 99;

	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		int r = bez_inject(p + table[i].from, table[i].len, *backend,
				   table[i].flags, &token);

		CHECKF(r == table[i].want ||
		       (none && r == none && table[i].want == -ENOMEM),
		       "%s: %d", table[i].what, r);
		CHECK_EQ(token, 99);
	}
	CHECK_EQ(iu_differs(p, 4 * page, SEED), 4 * page);
}

/* A page that is lost already is not lost again with those beside it. */
static void overlaps(void)
{
	static const struct { intptr_t from; size_t len; } over[] = {
		{ 0, 2 }, { 0, 4 }, { 1, 1 }, { 1, 2 }, { 2, 1 }, { 2, 2 },
	};
	static const uint32_t by[] = { BEZ_INJECT_AUTO, BEZ_INJECT_UFFD,
				       BEZ_INJECT_MADV,
				       BEZ_INJECT_HWPOISON_INJECT };
	const uint32_t *backend = tap_data();
	size_t page = iu_page(), i, k;
	bez_inject_t token, other = 99;
	unsigned char *p;

	iu_need(*backend);
	p = iu_pages(5, SEED);
	iu_catch();
	CHECK_EQ(bez_inject(p + page, 2 * page, *backend, 0, &token), 0);
	for (k = 0; k < sizeof(by) / sizeof(by[0]); k++)
		for (i = 0; i < sizeof(over) / sizeof(over[0]); i++) {
			int r = bez_inject(p + over[i].from * (intptr_t)page,
					   over[i].len * page, by[k], 0,
					   &other);

			CHECKF(r == -EALREADY, "%s, %zu: %d",
			       bez_inject_backend_name(by[k]), i, r);
			CHECK_EQ(other, 99);
		}
	CHECK_EQ(iu_state(token).poisoned, 2);
	CHECK_EQ(iu_differs(p, page, SEED), page);
	CHECK(iu_touch(p + 3 * page, NULL, NULL));
	/* side by side they may be, and each is undone by itself */
	CHECK_EQ(bez_inject(p + 3 * page, page, *backend, 0, &other), 0);
	CHECK_EQ(bez_inject_undo(token), 0);
	CHECK(!iu_touch(p + 3 * page, NULL, NULL));
	CHECK_EQ(bez_inject_undo(other), 0);
	CHECK_EQ(iu_differs(p, 5 * page, SEED), 5 * page);
}

/* ---------------------------------------------------------------- handlers */

static struct {
	unsigned char *page;
	volatile unsigned int calls, refused, within;
	volatile int wrong, busy;	/* busy: in a call of the main code */
} handler;

/* A whole injection, there and back. */
static void injects(int sig)
{
	struct bez_inject_info info = { .size = sizeof(info) };
	bez_inject_t token = 0;
	int r = bez_inject(handler.page, iu_page(), BEZ_INJECT_UFFD, 0, &token);

	(void)sig;
	handler.within += (unsigned int)handler.busy;
	handler.calls++;
	if (r == -EDEADLK) {
		handler.refused++;
		if (bez_inject_state(1, &info) != r || bez_inject_undo(1) != r ||
		    bez_inject_forget(1) != r)
			handler.wrong = 1;
		return;
	}
	if (r || bez_inject_state(token, &info) || info.poisoned != 1 ||
	    bez_inject_undo(token) || bez_inject_forget(token) != -ENOENT ||
	    iu_differs(handler.page, iu_page(), SEED) != iu_page())
		handler.wrong = 1;
}

static void handle(int sig)
{
	struct sigaction action = { .sa_handler = injects,
				    .sa_flags = SA_RESTART };

	iu_need(BEZ_INJECT_UFFD);
	handler.page = iu_pages(1, SEED);
	CHECK(!sigaction(sig, &action, NULL));
}

/* There and back until a signal has come, @us from now. How often that was. */
static unsigned int until_signalled(unsigned char *p, suseconds_t us)
{
	struct itimerval once = { .it_value.tv_usec = us };
	unsigned int was = handler.calls, n = 0;
	bez_inject_t token;

	CHECK(!setitimer(ITIMER_REAL, &once, NULL));
	do {
		handler.busy = 1;
		CHECK_EQ(bez_inject(p, iu_page(), BEZ_INJECT_UFFD, 0, &token),
			 0);
		CHECK_EQ(iu_state(token).poisoned, 1);
		CHECK_EQ(bez_inject_undo(token), 0);
		handler.busy = 0;
		n++;
	} while (handler.calls == was);
	return n;
}

/*
 * Whenever the signal comes, in a call or not: both are served. One signal at a
 * time, for on a slow machine the handler may take longer than any interval.
 * It comes later and later, until it misses the first turn.
 */
static void in_a_handler(void)
{
	unsigned char *p = iu_pages(2, SEED);
	suseconds_t us = 1, most = 0;
	unsigned int i;

	handle(SIGALRM);
	for (i = 0; i < 300 || handler.within < 100; i++) {
		us = until_signalled(p, us) > 1 || us > 500000 ? 1 :
		     us + 1 + us / 8;
		most = us > most ? us : most;
	}
	CHECK_EQ(handler.calls, i);
	CHECK(!handler.wrong && !handler.refused);
	CHECK_EQ(iu_differs(p, 2 * iu_page(), SEED), 2 * iu_page());
	tap_diag("%u signals of %u within a call, up to %ld us late",
		 handler.within, i, (long)most);
}

static void signals_itself(void)
{
	if (handler.page)
		raise(SIGUSR1);
}

/* Between what the library does around fork(2) it can only say no. */
static void in_fork(void)
{
	bez_inject_t token;
	int status;
	pid_t pid;

	CHECK(!pthread_atfork(signals_itself, signals_itself, signals_itself));
	CHECK_EQ(bez_inject_forget(0), -ENOENT);	/* sets up its own */
	handle(SIGUSR1);
	pid = fork();
	if (!pid) {
		CHECK(!handler.wrong && handler.refused == 2);
		CHECK_EQ(bez_inject(handler.page, iu_page(), BEZ_INJECT_UFFD, 0,
				    &token), 0);
		_exit(bez_inject_undo(token));
	}
	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK_EQ(status, 0);
	CHECK(!handler.wrong && handler.refused == 2 && handler.calls == 2);
	CHECK_EQ(bez_inject(handler.page, iu_page(), BEZ_INJECT_UFFD, 0,
			    &token), 0);
	CHECK_EQ(bez_inject_undo(token), 0);
}

static void own_ground(void)
{
	size_t page = iu_page();
	char here = 1;
	void *stack = (void *)((uintptr_t)&here & ~(page - 1));
	void *tls = (void *)((uintptr_t)&errno & ~(page - 1));
	bez_inject_t token = 99;

	CHECK_EQ(bez_inject(stack, page, BEZ_INJECT_AUTO, 0, &token), -EDEADLK);
	CHECK_EQ(bez_inject(tls, page, BEZ_INJECT_AUTO, 0, &token), -EDEADLK);
	CHECK_EQ(token, 99);
	CHECK_EQ(here, 1);
}

static void bad_tokens(void)
{
	struct {
		struct bez_inject_info info;
		char tail[8];
	} big = { .info.size = sizeof(big) };
	struct bez_inject_info info = { .size = sizeof(info) };
	unsigned char *p = iu_pages(1, SEED);
	bez_inject_t token;

	iu_need(BEZ_INJECT_UFFD);
	CHECK_EQ(bez_inject_undo(0), -ENOENT);
	CHECK_EQ(bez_inject_forget(0), -ENOENT);
	CHECK_EQ(bez_inject_state(12345, &info), -ENOENT);
	CHECK_EQ(bez_inject(p, iu_page(), BEZ_INJECT_UFFD, 0, &token), 0);
	CHECK_EQ(bez_inject_state(token, NULL), -EINVAL);
	for (; info.size--; CHECK_EQ(info.pages, 0))
		CHECK_EQ(bez_inject_state(token, &info), -EINVAL);
	CHECK_EQ(bez_inject_state(token, &big.info), 0);
	CHECK_EQ(big.info.pages, 1);
	big.tail[3] = 1;
	CHECK_EQ(bez_inject_state(token, &big.info), -E2BIG);
	CHECK_EQ(bez_inject_undo(token), 0);
}

static void names(void)
{
	uint32_t i;

	CHECK(!strcmp(bez_inject_backend_name(BEZ_INJECT_AUTO), "auto"));
	CHECK(!strcmp(bez_inject_backend_name(BEZ_INJECT_UFFD), "uffd"));
	CHECK(!strcmp(bez_inject_backend_name(BEZ_INJECT_MADV), "madv"));
	CHECK(!strcmp(bez_inject_backend_name(BEZ_INJECT_TRUNCATE),
		      "truncate"));
	CHECK(!strcmp(bez_inject_backend_name(BEZ_INJECT_HWPOISON_INJECT),
		      "hwpoison-inject"));
	CHECK(!strcmp(bez_inject_backend_name(77), "unknown"));
	CHECK(!strcmp(bez_inject_fidelity_name(BEZ_INJECT_FIDELITY_EMULATED),
		      "emulated"));
	CHECK(!strcmp(bez_inject_fidelity_name(BEZ_INJECT_FIDELITY_KERNEL),
		      "kernel"));
	CHECK(!strcmp(bez_inject_fidelity_name(77), "unknown"));
	CHECK_EQ(bez_inject_fidelity(BEZ_INJECT_UFFD),
		 BEZ_INJECT_FIDELITY_EMULATED);
	CHECK_EQ(bez_inject_fidelity(BEZ_INJECT_MADV),
		 BEZ_INJECT_FIDELITY_KERNEL);
	CHECK_EQ(bez_inject_fidelity(77), BEZ_INJECT_FIDELITY_NONE);
	CHECK_EQ(bez_inject_available(77), -EINVAL);
	for (i = 0; i < 6; i++) {
		int r = bez_inject_available(i);

		/* which is for those that there are not */
		CHECK_EQ(r == -EINVAL, i > BEZ_INJECT_HWPOISON_INJECT);
		CHECK_EQ(!strcmp(bez_inject_why(i), "usable"), !r);
		tap_diag("%s: %s", bez_inject_backend_name(i),
			 bez_inject_why(i));
	}
}

/* What a repair, or anything else, has made good stays as it is. */
static void undo_leaves_alone(void)
{
	const uint32_t *backend = tap_data();
	size_t page = iu_page();
	bez_inject_t token;
	unsigned char *p, *staged;

	iu_need(*backend);
	p = iu_pages(6, SEED);
	staged = iu_pages(1, OTHER);
	iu_catch();
	CHECK_EQ(bez_inject(p, 6 * page, *backend, 0, &token), 0);
	/* page 1 discarded, 2 mapped over, 3 replaced by mremap, 4 unmapped */
	CHECK(!madvise(p + page, page, MADV_DONTNEED));
	CHECK(mmap(p + 2 * page, page, PROT_READ | PROT_WRITE, MAP_PRIVATE |
		   MAP_ANONYMOUS | MAP_FIXED, -1, 0) == p + 2 * page);
	iu_fill(p + 2 * page, page, OTHER);
	CHECK(mremap(staged, page, page, MREMAP_MAYMOVE | MREMAP_FIXED,
		     p + 3 * page) == p + 3 * page);
	CHECK(!munmap(p + 4 * page, page));
	CHECK_EQ(iu_state(token).poisoned, 2);
	CHECK_EQ(bez_inject_undo(token), 0);
	CHECK_EQ(iu_differs(p, page, SEED), page);
	CHECK(!p[page] && !memcmp(p + page, p + page + 1, page - 1));
	CHECK_EQ(iu_differs(p + 2 * page, page, OTHER), page);
	CHECK_EQ(iu_differs(p + 3 * page, page, OTHER), page);
	CHECK(!iu_touch(p + 5 * page, NULL, NULL) ||
	      p[5 * page] == iu_byte(5 * page, SEED));
	CHECK_EQ(bez_inject_frames_kept() > 0,
		 *backend == BEZ_INJECT_MADV &&
		 access("/sys/kernel/debug/hwpoison/unpoison-pfn", W_OK));
}

#define EACH(what, function)						\
	{ .name = what ", UFFD", .run = function,			\
	  .data = &(uint32_t){ BEZ_INJECT_UFFD } },			\
	{ .name = what ", MADV", .run = function,			\
	  .data = &(uint32_t){ BEZ_INJECT_MADV } },			\
	{ .name = what ", HWPOISON_INJECT", .run = function,		\
	  .data = &(uint32_t){ BEZ_INJECT_HWPOISON_INJECT } }

static const struct tap_case cases[] = {
	{ .name = "bad input", .run = bad_input },
	EACH("bad ranges", bad_ranges),
	{ .name = "bad ranges, TRUNCATE", .run = bad_ranges,
	  .data = &(uint32_t){ BEZ_INJECT_TRUNCATE } },
	{ .name = "bad ranges, AUTO", .run = bad_ranges,
	  .data = &(uint32_t){ BEZ_INJECT_AUTO } },
	EACH("overlaps", overlaps),
	{ .name = "in a handler, at any time", .run = in_a_handler },
	{ .name = "in fork(2)", .run = in_fork },
	{ .name = "own ground", .run = own_ground },
	{ .name = "bad tokens", .run = bad_tokens },
	{ .name = "names and reasons", .run = names },
	{ .name = "undo leaves good pages alone, UFFD",
	  .run = undo_leaves_alone, .data = &(uint32_t){ BEZ_INJECT_UFFD } },
	{ .name = "undo leaves good pages alone, MADV",
	  .run = undo_leaves_alone, .data = &(uint32_t){ BEZ_INJECT_MADV } },
};

TAP_MAIN(cases)
