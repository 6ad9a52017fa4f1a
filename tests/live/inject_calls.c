/* SPDX-License-Identifier: MIT */
/* The calls themselves: what they refuse, and what undo leaves alone. */
#define _GNU_SOURCE
#include "inject_util.h"
#include "tap.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SEED	21
#define OTHER	22

struct bad {
	const char *what;
	intptr_t from;		/* off the start of four pages */
	size_t len;		/* 0 means 0 */
	uint32_t backend, flags;
	int want;
};

static void bad_input(void)
{
	size_t page = iu_page();
	unsigned char *p = iu_pages(6, SEED);
	const struct bad table[] = {
		{ "off by one", 1, page, BEZ_INJECT_UFFD, 0, -EINVAL },
		{ "half a page", 0, page / 2, BEZ_INJECT_UFFD, 0, -EINVAL },
		{ "nothing", 0, 0, BEZ_INJECT_UFFD, 0, -EINVAL },
		{ "wraps", 0, SIZE_MAX - page + 1, BEZ_INJECT_UFFD,
		  0, -EINVAL },
		{ "unknown flag", 0, page, BEZ_INJECT_UFFD, 2, -EINVAL },
		{ "back end 5", 0, page, 5, 0, -EINVAL },
		{ "back end -1", 0, page, UINT32_MAX, 0, -EINVAL },
		{ "unmapped end", 0, 5 * page, BEZ_INJECT_UFFD, 0, -ENOMEM },
		{ "unmapped", (intptr_t)(5 * page), page, BEZ_INJECT_UFFD, 0,
		  -ENOMEM },
		{ "hole", 0, 6 * page, BEZ_INJECT_AUTO, 0, -ENOMEM },
	};
	bez_inject_t token = 99;
	size_t i;

	/* the first call maps a page of its own, which must not be in the hole */
	CHECK_EQ(bez_inject_forget(1), -ENOENT);
	CHECK(!munmap(p + 4 * page, 2 * page));
	for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		const struct bad *b = &table[i];
		int r = bez_inject(p + b->from, b->len, b->backend, b->flags,
				   &token);

		CHECKF(r == b->want, "%s: %d", b->what, r);
		CHECK_EQ(token, 99);
	}
	CHECK_EQ(bez_inject(p, page, BEZ_INJECT_UFFD, 0, NULL), -EINVAL);
	CHECK_EQ(bez_inject((void *)(UINTPTR_MAX - 2 * page + 1), page,
			    BEZ_INJECT_AUTO, 0, &token), -ENOMEM);
	CHECK_EQ(iu_differs(p, 4 * page, SEED), 4 * page);
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
	info.size--;
	CHECK_EQ(bez_inject_state(token, &info), -EINVAL);
	CHECK_EQ(info.pages, 0);
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

static const struct tap_case cases[] = {
	{ .name = "bad input", .run = bad_input },
	{ .name = "own ground", .run = own_ground },
	{ .name = "bad tokens", .run = bad_tokens },
	{ .name = "names and reasons", .run = names },
	{ .name = "undo leaves good pages alone, UFFD",
	  .run = undo_leaves_alone, .data = &(uint32_t){ BEZ_INJECT_UFFD } },
	{ .name = "undo leaves good pages alone, MADV",
	  .run = undo_leaves_alone, .data = &(uint32_t){ BEZ_INJECT_MADV } },
};

TAP_MAIN(cases)
