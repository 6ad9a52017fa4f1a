/* SPDX-License-Identifier: MIT */
/*
 * What each siginfo means: forged ones, as many kernels and machines send
 * them, and some that none does.
 */
#define _GNU_SOURCE
#include <limits.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "forge.h"

#define PAGES 4

/* ------------------------------------------------------- poison and width */

struct width_case {
	int code;
	int lsb;
	uint32_t cause;
};

/* Page 1 of 4 is lost; only that one is replaced, whatever the width says,
 * and by the thread that was told, before it goes on. */
static void replaced_at_once(void)
{
	const struct width_case *c = tap_data();
	struct bez_event event;
	bez_region_t region;
	unsigned char *at;
	size_t i, page = live_page();

	forge_former();
	chain_start();
	at = forge_region(PAGES, &region);
	live_poison(at + page);
	CHECK(live_lost(at + page));
	CHECK_EQ(forge(c->code, at + page + 8, c->lsb), 0);
	CHECK(!live_lost(at + page));
	CHECK_EQ(forge_calls, 0);

	event = forge_last();
	CHECK_EQ(event.cause, c->cause);
	CHECK_EQ(event.si_code, c->code);
	CHECK_EQ(event.outcome, BEZ_OUTCOME_REPLACED);
	CHECK_EQ((long)event.addr, (long)(at + page + 8));
	CHECK_EQ(event.width, page);
	CHECK_EQ(event.region, region);
	CHECK_EQ(event.tid, syscall(SYS_gettid));
	for (i = 0; i < PAGES * page; i++)
		CHECK_EQ(at[i], live_byte(i, i / page == 1));
}

/* The page is good: a report that came late changes nothing. */
static void already_good(void)
{
	const struct width_case *c = tap_data();
	bez_region_t region;
	unsigned char *at;

	forge_former();
	chain_start();
	at = forge_region(PAGES, &region);
	CHECK_EQ(forge(c->code, at + live_page() + 8, c->lsb), 0);
	CHECK_EQ(forge_last().outcome, BEZ_OUTCOME_ALREADY_GOOD);
	CHECK_EQ(forge_calls, 0);
	CHECK_EQ(live_wrong(at, PAGES * live_page(), 0), 0);
}

/* Addresses that are nobody's: every width and code, nothing but an answer. */
static void wild(void)
{
	static const uint64_t addrs[] = {
		0, 1, 0xfff, 0x7fffffffffff, 0x800000000000,
		0x8000000000000000, 0xffffffffff600000, UINT64_MAX,
		UINT64_MAX - 0xfff,
	};
	static const int codes[] = { BUS_MCEERR_AR, BUS_MCEERR_AO, BUS_ADRERR,
				     SI_KERNEL };
	static const int lsbs[] = { 0, 1, 12, 21, 30, 47, 63, 64, 127, 255,
				    SHRT_MAX, -1 };
	uint64_t told = 0;
	size_t a, c, l;

	forge_former();
	chain_start();
	for (a = 0; a < sizeof(addrs) / sizeof(addrs[0]); a++)
		for (c = 0; c < sizeof(codes) / sizeof(codes[0]); c++)
			for (l = 0; l < sizeof(lsbs) / sizeof(lsbs[0]); l++) {
				CHECK_EQ(forge(codes[c], (void *)addrs[a],
					       lsbs[l]), 0);
				told++;
			}
	/* each was passed on, or asked again: no third thing */
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_FOREIGN), forge_calls);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_ASKED_AGAIN), told -
		 (uint64_t)forge_calls);
	CHECK(bez_outcome_count(BEZ_OUTCOME_ASKED_AGAIN) > 0);
	CHECK(forge_calls > 0);
}

/* -------------------------------------------------------------- every code */

/* Where else the address of a fault is, who sent a signal has its number: the
 * lost page must not be taken for what is meant. */
static void one_code(int code, unsigned char *good, unsigned char *lost)
{
	int before = forge_calls, foreign = 0;
	struct bez_event event;
	uint32_t cause = BEZ_CAUSE_SENT;

	CHECK_EQ(forge(code, code == BUS_MCEERR_AR || code == BUS_MCEERR_AO ||
			     code == BUS_ADRERR ? good : lost, 12), 0);
	event = forge_last();
	/* the worker's own look at an early notice comes at any time */
	if (code == BUS_MCEERR_AO)
		return;
	switch (code) {
	case BUS_MCEERR_AR:
		cause = BEZ_CAUSE_POISON_AR;
		break;
	case BUS_ADRERR:
		cause = BEZ_CAUSE_ADRERR;
		break;
	case SI_KERNEL:
		cause = BEZ_CAUSE_MISSING;
		break;
	default:
		foreign = 1;
		break;
	}
	CHECKF(event.cause == cause && event.si_code == code,
	       "code %d: cause %d, code %d", code, event.cause,
	       event.si_code);
	CHECKF(forge_calls == before + foreign, "code %d: %d calls", code,
	       forge_calls - before);
	if (foreign) {
		CHECK_EQ(event.outcome, BEZ_OUTCOME_FOREIGN);
		CHECK_EQ(event.addr, 0);
		CHECK_EQ(forge_seen.si_code, code);
		CHECK_EQ((long)forge_seen.si_addr, (long)lost);
	}
	CHECK(live_lost(lost));
}

static void every_code(void)
{
	unsigned char *good, *lost;
	bez_region_t region;
	int code;

	forge_former();
	/* otherwise an early notice is the last event now and then */
	live_start(BEZ_START_NO_WORKER);
	good = forge_region(1, &region);
	lost = forge_region(1, &region);
	live_poison(lost);
	for (code = -128; code <= 300; code++)
		one_code(code, good, lost);
	one_code(INT_MIN, good, lost);
	one_code(INT_MAX, good, lost);
	CHECK_EQ(live_wrong(good, live_page(), 0), 0);
	/* 431 codes: four have a meaning */
	CHECK_EQ(forge_calls, 431 - 4);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_FOREIGN), 431 - 4);
}

/* --------------------------------------------------------- end of a file */

/* A page that is missing from a file is not poison. In a private mapping the
 * source's bytes do; in a shared one they would never reach the file. */
static void end_of_file(void)
{
	int private = *(const int *)tap_data();
	int fd = memfd_create("short", MFD_CLOEXEC);
	unsigned char *at, *mirror = live_pages(2);
	struct bez_source from = bez_source_mirror(mirror);
	struct bez_event event;

	CHECK_EQ(ftruncate(fd, (off_t)live_page()), 0);
	at = mmap(NULL, 2 * live_page(), PROT_READ | PROT_WRITE,
		  private ? MAP_PRIVATE : MAP_SHARED, fd, 0);
	CHECK(at != MAP_FAILED);
	forge_former();
	chain_start();
	live_region(at, 2 * live_page(), &from, "file");
	CHECK_EQ(forge(BUS_ADRERR, at + live_page() + 9, 0), 0);
	event = forge_last();
	CHECK_EQ(event.cause, BEZ_CAUSE_CUT);
	if (private) {
		CHECK_EQ(forge_calls, 0);
		CHECK_EQ(event.outcome, BEZ_OUTCOME_REPLACED);
		CHECK(!memcmp(at + live_page(), mirror + live_page(),
			      live_page()));
		return;
	}
	CHECK_EQ(forge_calls, 1);
	CHECK_EQ(forge_seen.si_code, BUS_ADRERR);
	CHECK_EQ((long)forge_seen.si_addr, (long)(at + live_page() + 9));
	CHECK_EQ(event.outcome, BEZ_OUTCOME_DEFAULT);
	CHECK_EQ(event.why, BEZ_OUTCOME_REFUSED_DETACH);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_REPLACED), 0);
	/* the file grows: then the page is there, and it is the file's */
	CHECK_EQ(ftruncate(fd, 2 * (off_t)live_page()), 0);
	CHECK_EQ(live_read(at + live_page()), 0);
}

/* ------------------------------------------------------- missing address */

/* Nothing can be blamed: asked again, a few times, and then passed on. */
static void missing(void)
{
	int code = *(const int *)tap_data(), i;
	struct bez_options options = BEZ_OPTIONS_INIT;
	struct bez_event event;
	bez_region_t region;
	unsigned char *at;

	forge_former();
	options.flags = BEZ_START_NO_EARLY_KILL;
	options.missing_rounds = 3;
	CHECK_EQ(bez_start(&options), 0);
	at = forge_region(1, &region);
	live_poison(at);
	for (i = 0; i < 3; i++) {
		CHECK_EQ(forge(code, NULL, 12), 0);
		CHECK_EQ(forge_calls, 0);
		event = forge_last();
		CHECK_EQ(event.cause, BEZ_CAUSE_MISSING);
		CHECK_EQ(event.outcome, BEZ_OUTCOME_ASKED_AGAIN);
		CHECK_EQ(event.addr, 0);
		CHECK_EQ(event.width, 0);
	}
	CHECK_EQ(forge(code, NULL, 12), 0);
	CHECK_EQ(forge_calls, 1);
	CHECK_EQ(forge_seen.si_code, code);
	CHECK_EQ(forge_last().outcome, BEZ_OUTCOME_FOREIGN);
	/* and a fault that has an address is served as ever */
	CHECK_EQ(live_wrong(at, live_page(), 1), 0);
}

static int with;

static void forge_many_missing(void *arg)
{
	int i;

	(void)arg;
	if (with)
		chain_start();
	for (i = 0; i < 100; i++)
		if (forge(SI_KERNEL, NULL, 0))
			_exit(1);
	_exit(33);
}

static void missing_dies(void)
{
	struct chain_end bare, ours;

	bare = chain_trace(forge_many_missing, NULL);
	with = 1;
	ours = chain_trace(forge_many_missing, NULL);
	CHECK_EQ(bare.stops, 1);
	CHECK_EQ(ours.stops, 8 + 2);	/* the rounds, the last, the end */
	chain_same_end(&bare, &ours);
}

/* ------------------------------------------------------------------ alias */

/* A machine check names the first mapping of the page by its start. In no
 * region: it may be another one that was touched, so once more, and only for
 * this code and such an address. */
static void alias(void)
{
	unsigned char *nobodys = live_pages(2);

	forge_former();
	chain_start();
	CHECK_EQ(forge(BUS_MCEERR_AR, nobodys, 12), 0);
	CHECK_EQ(forge_last().outcome, BEZ_OUTCOME_ASKED_AGAIN);
	CHECK_EQ(forge_calls, 0);
	CHECK_EQ(forge(BUS_MCEERR_AR, nobodys, 12), 0);
	CHECK_EQ(forge_last().outcome, BEZ_OUTCOME_FOREIGN);
	CHECK_EQ(forge_calls, 1);
	CHECK_EQ(forge(BUS_MCEERR_AR, nobodys, 12), 0);
	CHECK_EQ(forge_calls, 2);
	/* another page: asked again as well */
	CHECK_EQ(forge(BUS_MCEERR_AR, nobodys + live_page(), 12), 0);
	CHECK_EQ(forge_calls, 2);
	/* by the byte: that is what was touched */
	CHECK_EQ(forge(BUS_MCEERR_AR, nobodys + 8, 12), 0);
	CHECK_EQ(forge_calls, 3);
	CHECK_EQ(forge(BUS_ADRERR, nobodys, 0), 0);
	CHECK_EQ(forge_calls, 4);
	CHECK_EQ(live_wrong(nobodys, 2 * live_page(), 0), 0);
}

/* ------------------------------------------------------------- no restart */

static void no_restart(void)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	unsigned char *at = live_pages(1), *mirror = live_pages(1);
	struct bez_source from = bez_source_mirror(mirror);
	bez_region_t region;

	forge_former();
	chain_start();
	policy.flags = BEZ_POLICY_NO_RESTART;
	policy.source = &from;
	CHECK_EQ(bez_region_add(at, live_page(), &policy, &region), 0);
	live_poison(at);
	CHECK_EQ(forge(BUS_MCEERR_AR, at + 8, 12), 0);
	CHECK_EQ(forge_calls, 1);
	CHECK_EQ(forge_last().outcome, BEZ_OUTCOME_DEFAULT);
	CHECK_EQ(forge_last().why, BEZ_OUTCOME_REFUSED_RESTART);
	CHECK(live_lost(at));
}

/* A region that wants it, and pages that are in none. */
static bez_region_t strict_region(unsigned char **ret_at)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	struct bez_source from = bez_source_mirror(live_pages(2));
	bez_region_t region;

	*ret_at = live_pages(2);
	policy.flags = BEZ_POLICY_NO_RESTART;
	policy.source = &from;
	CHECK_EQ(bez_region_add(*ret_at, 2 * live_page(), &policy, &region), 0);
	return region;
}

/* A report that names no address, or another mapping perhaps, may be about it: to
 * ask again is to run it again. */
static void no_second_look(void)
{
	unsigned char *at, *nobodys = live_pages(2);
	bez_region_t region, other;

	forge_former();
	live_start(BEZ_START_NO_WORKER);
	region = strict_region(&at);
	forge_region(1, &other);
	CHECK_EQ(forge(SI_KERNEL, NULL, 0), 0);
	CHECK_EQ(forge_calls, 1);
	CHECK_EQ(forge(BUS_MCEERR_AR, NULL, 12), 0);
	CHECK_EQ(forge_calls, 2);
	CHECK_EQ(forge(BUS_MCEERR_AR, nobodys, 12), 0);
	CHECK_EQ(forge_calls, 3);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_FOREIGN), 3);
	/* when it is gone, others are asked again as ever */
	CHECK_EQ(bez_region_remove(region), 0);
	CHECK_EQ(forge(SI_KERNEL, NULL, 0), 0);
	CHECK_EQ(forge(BUS_MCEERR_AR, nobodys + live_page(), 12), 0);
	CHECK_EQ(forge_calls, 3);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_ASKED_AGAIN), 2);
}

/* Whatever is no such instruction: an emulated loss, a call, a copy. */
static void restarts(void)
{
	unsigned char *at, byte;

	forge_former();
	live_start(BEZ_START_NO_WORKER);
	strict_region(&at);
	live_poison(at);
	CHECK_EQ(forge(BUS_ADRERR, at + 8, 0), 0);
	CHECK_EQ(forge_last().outcome, BEZ_OUTCOME_REPLACED);
	live_poison(at);
	CHECK_EQ(bez_recover(at, 2 * live_page()), 0);
	CHECK_EQ(forge_last().outcome, BEZ_OUTCOME_REPLACED);
	CHECK_EQ(live_wrong(at, 2 * live_page(), 0), 0);
	CHECK_EQ(forge_calls, 0);
	/* a copy is not run again where its kernel would forbid it, it ends */
	live_poison(at + live_page());
	CHECK_EQ(bez_copy(&byte, at + live_page(), 1), live_is_real());
	CHECK_EQ(forge_last().why, live_is_real() ?
		 BEZ_OUTCOME_REFUSED_RESTART : BEZ_OUTCOME_NONE);
	CHECK_EQ(forge_calls, 0);
}

#define W(what, fn, ...) { .name = what, .run = fn, \
			   .data = &(const struct width_case){ __VA_ARGS__ } }
#define AR(fn, name, lsb) W(name, fn, BUS_MCEERR_AR, lsb, BEZ_CAUSE_POISON_AR)

static const int yes = 1, no = 0;
static const int by_kernel = SI_KERNEL, by_null = BUS_MCEERR_AR;

static const struct tap_case cases[] = {
	AR(replaced_at_once, "AR, lsb 12", 12),
	AR(replaced_at_once, "AR, lsb 0", 0),
	AR(replaced_at_once, "AR, lsb 1", 1),
	AR(replaced_at_once, "AR, lsb 21", 21),
	AR(replaced_at_once, "AR, lsb 30", 30),
	AR(replaced_at_once, "AR, lsb 64", 64),
	AR(replaced_at_once, "AR, lsb 255", 255),
	AR(replaced_at_once, "AR, lsb -1", -1),
	W("ADRERR", replaced_at_once, BUS_ADRERR, 0, BEZ_CAUSE_ADRERR),
	W("ADRERR, garbage where a width would be", replaced_at_once,
	  BUS_ADRERR, 255, BEZ_CAUSE_ADRERR),
	AR(already_good, "good page: AR, lsb 12", 12),
	AR(already_good, "good page: AR, lsb 0", 0),
	W("good page: ADRERR", already_good, BUS_ADRERR, 0, BEZ_CAUSE_ADRERR),
	{ .name = "wild addresses", .run = wild },
	{ .name = "every code", .run = every_code },
	{ .name = "end of file in a region", .run = end_of_file, .data = &no },
	{ .name = "end of file in a region, private", .run = end_of_file,
	  .data = &yes },
	{ .name = "missing address: SI_KERNEL", .run = missing,
	  .data = &by_kernel },
	{ .name = "missing address: AR with NULL", .run = missing,
	  .data = &by_null },
	{ .name = "missing address: dies", .run = missing_dies },
	{ .name = "alias", .run = alias },
	{ .name = "no restart", .run = no_restart },
	{ .name = "no restart, and no second look", .run = no_second_look },
	{ .name = "no restart, and what is none", .run = restarts },
};
TAP_MAIN(cases)
