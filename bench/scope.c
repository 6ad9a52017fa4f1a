/* SPDX-License-Identifier: MIT */
/*
 * What does a scope cost, by itself and when something is lost in it? Against
 * sigsetjmp() without the mask, and a bare handler that leaves by siglongjmp()
 * with it. And what does it cost to ask whether anything is lost, when nothing is?
 */
#include "action.h"
#include "poison.h"
#include "questions.h"

#include <bezoar/bezoar.h>
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define TIMES 1000u		/* for one sample of what takes a few ns */

/* ------------------------------------------------------------ in, and out */

static int by_scope(void *arg, double *samples, size_t n)
{
	(void)arg;
	for (volatile size_t i = 0; i < n; i++) {
		volatile uint64_t from = bench_now();

		for (volatile unsigned int k = 0; k < TIMES; k++) {
			struct bez_scope scope;

			if (bez_scope_enter(&scope))
				return -EBADMSG;
			bez_scope_leave(&scope);
		}
		samples[i] = bench_span(from, bench_now()) / TIMES;
	}
	return 0;
}

static int by_sigsetjmp(void *arg, double *samples, size_t n)
{
	(void)arg;
	for (volatile size_t i = 0; i < n; i++) {
		volatile uint64_t from = bench_now();

		for (volatile unsigned int k = 0; k < TIMES; k++) {
			sigjmp_buf env;

			if (sigsetjmp(env, 0))
				return -EBADMSG;
		}
		samples[i] = bench_span(from, bench_now()) / TIMES;
	}
	return 0;
}

static void in_and_out(bool quick, struct bench_result *result)
{
	const struct bench_side sides[2] = {
		{ "scope", by_scope, NULL },
		{ "sigsetjmp", by_sigsetjmp, NULL },
	};
	struct bench_figures figures;

	bench_compare(sides, 2, quick ? 7 : 101, 101, &figures, result);
}

/* ------------------------------------------------------- something is lost */

static sigjmp_buf back;

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	(void)info;
	(void)context;
	siglongjmp(back, sig);
}

static int by_catch(void *arg, double *samples, size_t n)
{
	const volatile char *lost = arg;

	for (volatile size_t i = 0; i < n; i++) {
		volatile uint64_t from = bench_now();

		BEZ_TRY {
			*lost;
			return -ENODATA;
		} BEZ_CATCH(what) {
			samples[i] = bench_span(from, bench_now());
			if (what->addr != arg)
				return -EBADMSG;
		}
	}
	return 0;
}

static int by_siglongjmp(void *arg, double *samples, size_t n)
{
	const volatile char *lost = arg;
	struct action before;
	volatile size_t i;
	int err = action_replace(on_sigbus, &before);

	for (i = 0; !err && i < n; i++) {
		volatile uint64_t from = bench_now();

		if (!sigsetjmp(back, 1))
			*lost;
		samples[i] = bench_span(from, bench_now());
	}
	action_put_back(&before);
	return err;
}

/* A page of a region, lost for good. */
static int lose(char **ret_lost)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *at = mmap(NULL, page, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bez_region_t region;
	int fd = poison_open(), err = fd;

	if (at == MAP_FAILED)
		return -ENOMEM;
	memset(at, 1, page);
	if (fd >= 0)
		err = poison_begin(fd, at, page);
	if (err == 0)
		err = poison_mark(fd, at, page);
	if (err == 0)
		err = poison_end(fd, at, page);
	if (err == 0)
		err = bez_start(NULL);
	policy.actions[0] = BEZ_ACTION_REPLACE;
	policy.actions[1] = BEZ_ACTION_DEGRADE;
	if (err == 0)
		err = bez_region_add(at, page, &policy, &region);
	*ret_lost = at;
	return err;
}

static void unwinds(bool quick, struct bench_result *result)
{
	char *lost = NULL;
	int err = lose(&lost);
	const struct bench_side sides[2] = {
		{ "bezoar", by_catch, lost },
		{ "bare handler", by_siglongjmp, lost },
	};
	struct bench_figures figures;

	if (err < 0)
		bench_cannot(result, "losing a page", err);
	else
		bench_compare(sides, 2, quick ? 7 : 101, 500, &figures, result);
}

/* -------------------------------------------------------- nothing is lost */

static int by_asking(void *arg, double *samples, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t from = bench_now();
		int lost = 0;

		for (unsigned int k = 0; k < TIMES; k++)
			lost |= bez_lost_in(arg, 64);
		samples[i] = bench_span(from, bench_now()) / TIMES;
		if (lost)
			return -EBADMSG;
	}
	return 0;
}

/* One nanosecond, so that the ratio is how many they are. */
static int one_ns(void *arg, double *samples, size_t n)
{
	(void)arg;
	for (size_t i = 0; i < n; i++)
		samples[i] = 1;
	return 0;
}

static void asks(bool quick, struct bench_result *result)
{
	static char some[64];
	const struct bench_side sides[2] = {
		{ "bez_lost_in", by_asking, some },
		{ "a nanosecond", one_ns, NULL },
	};
	struct bench_figures figures;

	bench_compare(sides, 2, quick ? 7 : 101, 101, &figures, result);
}

const struct bench_question bench_unwind = {
	"unwind", "ns", 1.25, false, unwinds };
const struct bench_question bench_scope = {
	"scope", "ns", 1.5, false, in_and_out };
const struct bench_question bench_lost_in = {
	"lost_in", "ns", 20, false, asks };
