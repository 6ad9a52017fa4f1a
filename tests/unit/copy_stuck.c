/* SPDX-License-Identifier: MIT */
/*
 * Faults without a loss, on any machine: a page without access stands for one
 * that is lost, a page that can only be read for one that cannot be written,
 * which no poison makes. A handler of SIGSEGV does what that of SIGBUS does.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#include "copy/copy.h"
#include "unit.h"

#define PAGES 6u

static size_t page, len;
static unsigned char *at;		/* page 2 is special, or page 4, or both */
static unsigned char is[PAGES * 65536], want[PAGES * 65536];

static void on_sigsegv(int sig, siginfo_t *info, void *context)
{
	uint64_t fix = bz_copy_fix(context, (uint64_t)info->si_addr);

	if (fix)
		bz_copy_go(context, fix, (uint64_t)info->si_addr);
	else
		signal(sig, SIG_DFL);
}

static void protect(int prot)
{
	CHECK_EQ(mprotect(at + 2 * page, page, prot), 0);
}

static void fresh(void)
{
	size_t i;

	protect(PROT_READ | PROT_WRITE);
	for (i = 0; i < len; i++)
		is[i] = (unsigned char)(i * 5 + i / 255);
	memcpy(at, is, len);
}

static void begin(void)
{
	struct sigaction sa = { .sa_sigaction = on_sigsegv,
				.sa_flags = SA_SIGINFO };

	page = unit_page();
	len = PAGES * page;
	CHECK(len <= sizeof(is));
	at = mmap(NULL, len, PROT_READ | PROT_WRITE,
		  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(at != MAP_FAILED);
	CHECK_EQ(sigaction(SIGSEGV, &sa, NULL), 0);
}

/* Bytes of [@from, @from + @n) in front of page 2. */
static size_t before(size_t from, size_t n)
{
	if (from + n <= 2 * page || from >= 3 * page)
		return n;
	return from >= 2 * page ? 0 : 2 * page - from;
}

static void one(const struct bz_copier *copier, int prot, size_t to,
		size_t from, size_t n)
{
	size_t good = before(to, n), left;

	if (!(prot & PROT_READ) && before(from, n) < good)
		good = before(from, n);
	fresh();
	memcpy(want, is, len);
	memmove(want + to, want + from, good);
	protect(prot);
	left = copier->copy(at + to, at + from, n);
	protect(PROT_READ | PROT_WRITE);
	CHECKF(left == n - good, "%s: %zu bytes from %zu to %zu: %zu left, "
	       "not %zu", copier->name, n, from, to, left, n - good);
	/* from the end, what is behind a page that cannot be written to may
	 * have been */
	if (to > from && to < from + n && (prot & PROT_READ))
		CHECKF(!memcmp(at + to, want + to, good),
		       "%s: %zu bytes from %zu to %zu: wrong", copier->name, n,
		       from, to);
	else
		CHECKF(!memcmp(at, want, len),
		       "%s: %zu bytes from %zu to %zu: wrong", copier->name, n,
		       from, to);
}

static const size_t distances[] = { 1, 3, 8, 17, 40, 65, 130, 500, 5000 };
static const size_t lens[] = { 3, 6, 12, 30, 50, 100, 200, 400, 600, 1100,
			       1900, 7000 };

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void copies(void)
{
	const int *prot = tap_data();
	const struct bz_copier *copier;
	size_t i, d, l, good;

	begin();
	for (i = 0; (copier = bz_copiers[i]); i++) {
		if (!copier->usable())
			continue;
		for (d = 0; d < COUNT(distances); d++)
			for (l = 0; l < COUNT(lens); l++)
				for (good = 0; good < lens[l] && good < page;
				     good += 1 + lens[l] / 9) {
					size_t to = 2 * page - good;

					one(copier, *prot, to, to +
					    distances[d], lens[l]);
					if (to >= distances[d])
						one(copier, *prot, to, to -
						    distances[d], lens[l]);
				}
	}
}

static void sets_and_words(void)
{
	const int *prot = tap_data();
	const struct bz_copier *copier;
	size_t i, n, good;
	uint64_t *word, value, old;
	int order;

	begin();
	word = (uint64_t *)(void *)(at + 2 * page);
	for (i = 0; (copier = bz_copiers[i]); i++) {
		if (!copier->usable())
			continue;
		for (n = 1; n < 3000; n += 1 + n / 3)
			for (good = 0; good < n; good += 1 + n / 5) {
				fresh();
				memcpy(want, is, len);
				memset(want + 2 * page - good, 7, good);
				protect(*prot);
				CHECK_EQ(copier->set(at + 2 * page - good, 7,
						     n), n - good);
				protect(PROT_READ | PROT_WRITE);
				CHECK_EQ(memcmp(at, want, len), 0);
			}
		fresh();
		/* one that differs is not stored on every machine */
		memcpy(&old, is + 2 * page, sizeof(old));
		protect(*prot);
		CHECK_EQ(copier->store(word, 1), -EFAULT);
		CHECK_EQ(copier->cas(word, &old, 1), -EFAULT);
		CHECK_EQ(copier->load(word, &value), *prot ? 0 : -EFAULT);
		CHECK_EQ(copier->compare(at, at + page, page + 9, &order), 0);
		CHECK_EQ(copier->compare(at + page + 9, is + page + 9, page,
					 &order), *prot ? 0 : 9);
	}
}

static const int none = PROT_NONE, read_only = PROT_READ;

static const struct tap_case cases[] = {
	{ .name = "copies, a page without access", .run = copies,
	  .data = &none },
	{ .name = "copies, a page that can only be read", .run = copies,
	  .data = &read_only },
	{ .name = "the others, a page without access", .run = sets_and_words,
	  .data = &none },
	{ .name = "the others, a page that can only be read",
	  .run = sets_and_words, .data = &read_only },
};
TAP_MAIN(cases)
