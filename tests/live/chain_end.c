/* SPDX-License-Identifier: MIT */
/*
 * A fault that nobody can help ends the process as if bezoar had not been
 * there: by SIGBUS, at the instruction that touched the memory, with the
 * kernel's own siginfo. A tracing parent reads that off the same child
 * without and with bezoar.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "chain_help.h"

enum kind {
	FILE_END,		/* behind the end of a mapped file */
	POISON,			/* a lost page in no region */
	UNSAVED,		/* a lost page in a region without a source */
	FAILING,		/* ... whose source fails */
	FILE_REGION,		/* FILE_END, but in a region */
	SENT_TGKILL, SENT_QUEUE
};

struct end_case {
	enum kind kind;
	void (*former)(int);	/* SIG_DFL or SIG_IGN */
	uint32_t flags;		/* BEZ_START_* */
};

static unsigned char *page, *mirror;
static const struct end_case *the;
static int with;

static int fails(void *dst, size_t len, uint64_t offset, void *arg)
{
	(void)offset;
	(void)arg;
	memset(dst, 0xee, len);
	return -EIO;
}

static void add_region(void)
{
	struct bez_source from = bez_source_callback(fails, NULL);

	if (the->kind == UNSAVED)
		live_region(page, live_page(), NULL, "unsaved");
	else if (the->kind == FAILING)
		live_region(page, live_page(), &from, "failing");
	else if (the->kind == FILE_REGION) {
		from = bez_source_mirror(mirror);
		live_region(page, live_page(), &from, "file");
	}
}

static void die(void *arg)
{
	union sigval value = { .sival_ptr = &page };

	(void)arg;
	signal(SIGBUS, the->former);
	if (with) {
		live_start(the->flags);
		add_region();
	}
	if (the->kind == SENT_TGKILL)
		raise(SIGBUS);
	else if (the->kind == SENT_QUEUE)
		sigqueue(getpid(), SIGBUS, value);
	else
		/* not at the page's first byte: that may be an alias */
		chain_load(page + 100);
	_exit(33);
}

static void is_the_original(const struct chain_end *end)
{
	switch (the->kind) {
	case SENT_TGKILL:
		CHECK_EQ(end->info.si_code, SI_TKILL);
		break;
	case SENT_QUEUE:
		CHECK_EQ(end->info.si_code, SI_QUEUE);
		CHECK_EQ((long)end->info.si_value.sival_ptr, (long)&page);
		break;
	case FILE_END:
	case FILE_REGION:
		CHECK_EQ(end->info.si_code, BUS_ADRERR);
		break;
	default:
		CHECK_EQ(end->info.si_code, live_code());
		break;
	}
	if (end->info.si_code <= 0)
		return;
	CHECK_EQ((long)end->info.si_addr, (long)(page + 100));
	CHECK_EQ(end->pc, (uint64_t)chain_load_at);
}

static void same_end(void)
{
	struct chain_end bare, ours;

	the = tap_data();
	if (the->kind == FILE_END || the->kind == FILE_REGION) {
		page = chain_hole();
	} else {
		page = live_pages(1);
		live_poison(page);
	}
	mirror = live_pages(1);
	bare = chain_trace(die, NULL);
	with = 1;
	ours = chain_trace(die, NULL);

	is_the_original(&bare);		/* the probe itself is right */
	is_the_original(&ours);
	CHECK_EQ(bare.stops, 1);
	CHECK_EQ(ours.stops, 2);	/* for our handler, and for the end */
	if (the->kind == SENT_TGKILL || the->kind == SENT_QUEUE) {
		CHECK(WIFSIGNALED(ours.status));
		CHECK_EQ(WTERMSIG(ours.status), SIGBUS);
		return;
	}
	chain_same_end(&bare, &ours);
}

static void ignored_goes_on(void)
{
	struct chain_end bare, ours;

	the = tap_data();
	bare = chain_trace(die, NULL);
	with = 1;
	ours = chain_trace(die, NULL);
	CHECK(WIFEXITED(bare.status) && WEXITSTATUS(bare.status) == 33);
	CHECK(WIFEXITED(ours.status) && WEXITSTATUS(ours.status) == 33);
}

/* With SIGBUS blocked nothing in user space is ever asked. */
static void die_blocked(void *arg)
{
	sigset_t bus;

	(void)arg;
	if (with)
		live_start(0);
	sigemptyset(&bus);
	sigaddset(&bus, SIGBUS);
	sigprocmask(SIG_BLOCK, &bus, NULL);
	chain_load(page + 100);
	_exit(33);
}

static void blocked(void)
{
	struct chain_end bare, ours;

	page = chain_hole();
	bare = chain_trace(die_blocked, NULL);
	with = 1;
	ours = chain_trace(die_blocked, NULL);
	chain_same_end(&bare, &ours);
}

/*
 * A signal that comes while a page is being repaired waits; if the repair
 * fails it must not take the place of the fault that ends the process.
 */
static int raises_and_fails(void *dst, size_t len, uint64_t offset, void *arg)
{
	raise(SIGBUS);
	return fails(dst, len, offset, arg);
}

static void die_interrupted(void *arg)
{
	struct bez_source from = bez_source_callback(raises_and_fails, NULL);

	(void)arg;
	if (with) {
		live_start(0);
		live_region(page, live_page(), &from, "page");
	}
	chain_load(page + 100);
	_exit(33);
}

static void sent_while_failing(void)
{
	struct chain_end bare, ours;

	page = live_pages(1);
	live_poison(page);
	bare = chain_trace(die_interrupted, NULL);
	with = 1;
	ours = chain_trace(die_interrupted, NULL);
	chain_same_end(&bare, &ours);
}

#define C(what, ...) { .name = what, .run = same_end, .timeout_s = 20, \
		       .data = &(const struct end_case){ __VA_ARGS__ } }
#define G(what, ...) { .name = what, .run = ignored_goes_on, .timeout_s = 20, \
		       .data = &(const struct end_case){ __VA_ARGS__ } }

static const struct tap_case cases[] = {
	C("default: end of file", FILE_END, SIG_DFL, 0),
	C("default: end of file, no worker", FILE_END, SIG_DFL,
	  BEZ_START_NO_WORKER | BEZ_START_NO_UFFD),
	C("default: foreign poison", POISON, SIG_DFL, 0),
	C("default: region without a source", UNSAVED, SIG_DFL, 0),
	C("default: source fails", FAILING, SIG_DFL, 0),
	C("default: end of file in a region", FILE_REGION, SIG_DFL, 0),
	C("default: tgkill", SENT_TGKILL, SIG_DFL, 0),
	C("default: sigqueue", SENT_QUEUE, SIG_DFL, 0),
	C("ignored: end of file", FILE_END, SIG_IGN, 0),
	C("ignored: foreign poison", POISON, SIG_IGN, 0),
	C("ignored: region without a source", UNSAVED, SIG_IGN, 0),
	G("ignored: tgkill goes on", SENT_TGKILL, SIG_IGN, 0),
	G("ignored: sigqueue goes on", SENT_QUEUE, SIG_IGN, 0),
	{ .name = "blocked SIGBUS", .run = blocked },
	{ .name = "sent while a source fails", .run = sent_while_failing },
};
TAP_MAIN(cases)
