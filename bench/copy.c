/* SPDX-License-Identifier: MIT */
/*
 * What does it cost that a copy could come back with a count? Against memcpy,
 * hot, from 64 bytes to 64 MiB: on the whole, and where it is worst. And how
 * long does it take to come back?
 */
#include "poison.h"
#include "questions.h"
#include "ref_copy.h"

#include <bezoar/bezoar.h>
#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define LEAST	64u
#define MOST	(64u << 20)

struct copying {
	char *dst, *src;
	size_t len;
	size_t times;			/* for one sample */
};

/* The compiler must not see that it is the same every time. */
#define CHANGED(at) __asm__ volatile("" : : "r"(at) : "memory")

static int by_bez_copy(void *arg, double *samples, size_t n)
{
	const struct copying *c = arg;

	for (size_t i = 0; i < n; i++) {
		uint64_t from = bench_now();
		size_t left = 0;

		for (size_t k = 0; k < c->times; k++) {
			left |= bez_copy(c->dst, c->src, c->len);
			CHANGED(c->dst);
		}
		samples[i] = bench_span(from, bench_now()) / (double)c->times;
		if (left != 0)
			return -EFAULT;
	}
	return 0;
}

static int by_memcpy(void *arg, double *samples, size_t n)
{
	const struct copying *c = arg;

	for (size_t i = 0; i < n; i++) {
		uint64_t from = bench_now();

		for (size_t k = 0; k < c->times; k++) {
			memcpy(c->dst, c->src, c->len);
			CHANGED(c->dst);
		}
		samples[i] = bench_span(from, bench_now()) / (double)c->times;
	}
	return 0;
}

static char *touched(size_t len, int byte)
{
	char *at = mmap(NULL, len, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return at == MAP_FAILED ? NULL : memset(at, byte, len);
}

struct summary {
	double mean;			/* geometric, of the ratios */
	double worst, ours, reference;	/* of the size with the worst */
};

/* Small copies, some milliseconds of them a round; of large ones a few. */
static int all_sizes(bool quick, struct summary *ret_summary,
		     struct bench_result *result)
{
	struct copying c = { touched(MOST, 2), touched(MOST, 1), 0, 0 };
	const struct bench_side sides[2] = {
		{ "bez_copy", by_bez_copy, &c },
		{ "memcpy", by_memcpy, &c },
	};
	struct bench_result one = { NAN, NAN, NAN, "" };
	struct bench_figures figures;
	double logs = 0;
	size_t sizes = 0;
	int err;

	if (!c.dst || !c.src) {
		bench_cannot(result, "preparing the memory", -ENOMEM);
		return -ENOMEM;
	}
	ret_summary->worst = 0;
	bench_say(result, "Ratios:");
	for (c.len = LEAST; c.len <= MOST; c.len *= 2) {
		size_t samples = c.len > 4u << 20 ? 2 : 9;
		unsigned int rounds = quick ? 7 : c.len > 4u << 20 ? 31 : 61;

		c.times = c.len > 256u << 10 ? 1 : (256u << 10) /
			  (c.len + 512);
		c.times = c.times ? c.times : 1;
		*one.how = '\0';
		err = bench_compare(sides, 2, rounds, samples, &figures, &one);
		if (err < 0) {
			bench_say(result, "%s", one.how);
			return err;
		}
		if (memcmp(c.dst, c.src, c.len) != 0) {
			bench_cannot(result, "looking at it", -EBADMSG);
			return -EBADMSG;
		}
		bench_say(result, "%s %zu %.3f", sizes ? "," : "", c.len,
			  one.ratio);
		logs += log(one.ratio);
		sizes++;
		if (one.ratio > ret_summary->worst) {
			ret_summary->worst = one.ratio;
			ret_summary->ours = one.ours;
			ret_summary->reference = one.reference;
		}
	}
	bench_say(result, ". ");
	ret_summary->mean = exp(logs / (double)sizes);
	return 0;
}

static void on_the_whole(bool quick, struct bench_result *result)
{
	struct summary summary;

	if (all_sizes(quick, &summary, result) < 0)
		return;
	result->ours = summary.mean;
	result->reference = 1;
	result->ratio = summary.mean;
}

static void at_worst(bool quick, struct bench_result *result)
{
	struct summary summary;

	if (all_sizes(quick, &summary, result) < 0)
		return;
	result->ours = summary.ours;
	result->reference = summary.reference;
	result->ratio = summary.worst;
}

/* ------------------------------------------------------------ coming back */

struct coming_back {
	const char *src;	/* half of it is lost */
	char *dst;
	size_t len;
};

static int back_ours(void *arg, double *samples, size_t n)
{
	const struct coming_back *c = arg;

	for (size_t i = 0; i < n; i++) {
		uint64_t from = bench_now();
		size_t left = bez_copy(c->dst, c->src, c->len);

		samples[i] = bench_span(from, bench_now());
		if (left != c->len / 2)
			return -EBADMSG;
	}
	return 0;
}

static int back_bare(void *arg, double *samples, size_t n)
{
	const struct coming_back *c = arg;
	int err = ref_copy_begin();

	if (err < 0)
		return err;
	for (size_t i = 0; i < n; i++) {
		uint64_t from = bench_now();
		size_t left = ref_copy(c->dst, c->src, c->len);

		samples[i] = bench_span(from, bench_now());
		if (left != c->len / 2)
			err = -EBADMSG;
	}
	ref_copy_end();
	return err;
}

/* Two pages, the second of which is lost for good. */
static int half_lost(char **ret_lost)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *at = touched(2 * page, 1);
	int fd = poison_open(), err = fd;

	if (!at)
		return -ENOMEM;
	if (fd >= 0)
		err = poison_begin(fd, at, 2 * page);
	if (err == 0)
		err = poison_mark(fd, at + page, page);
	if (err == 0)
		err = poison_end(fd, at, 2 * page);
	*ret_lost = at + page;
	return err;
}

static void comes_back(bool quick, struct bench_result *result)
{
	static const size_t lens[] = { 64, 512, 4096 };
	struct coming_back c;
	const struct bench_side sides[2] = {
		{ "bezoar", back_ours, &c },
		{ "bare handler", back_bare, &c },
	};
	struct bench_figures figures;
	char *lost = NULL;
	int err = half_lost(&lost);

	if (err == 0)
		err = bez_start(NULL);
	c.dst = touched(4096, 0);
	if (err == 0 && !c.dst)
		err = -ENOMEM;
	if (err < 0)
		return bench_cannot(result, "preparing the memory", err);
	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		struct bench_result one = { NAN, NAN, NAN, "" };

		c.len = lens[i];
		c.src = lost - c.len / 2;
		if (bench_compare(sides, 2, quick ? 5 : 21, 500, &figures,
				  &one) == 0)
			bench_say(&one, "%zu bytes, half of them lost: %.3f. ",
				  c.len, one.ratio);
		if (i == 0)
			*result = one;
		else
			bench_worse(result, &one);
	}
}

const struct bench_question bench_copy = {
	"copy", "", 1.02, false, on_the_whole };
const struct bench_question bench_copy_worst = {
	"copy_worst", "ns", 1.10, false, at_worst };
const struct bench_question bench_copy_fault = {
	"copy_fault", "ns", 1.3, false, comes_back };
