/* SPDX-License-Identifier: MIT */
/*
 * A fault that nobody can help ends the process as if bezoar had not been
 * there: by its signal, at the instruction that touched the memory, with the
 * kernel's own siginfo. A tracing parent reads that off the same child
 * without and with bezoar.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
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
	SENT_TGKILL, SENT_QUEUE,
	/* by SIGSEGV, with the door */
	NO_ACCESS,
	HOLE,			/* a page that is in no region nor mapped */
	HOLE_UNSAVED, HOLE_FAILING,
	NO_ADDRESS,		/* one that the processor does not take */
	SEGV_TGKILL, SEGV_QUEUE
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

static int signal_of(enum kind kind)
{
	return kind >= NO_ACCESS ? SIGSEGV : SIGBUS;
}

static int is_sent(enum kind kind)
{
	return kind == SENT_TGKILL || kind == SENT_QUEUE ||
	       kind == SEGV_TGKILL || kind == SEGV_QUEUE;
}

static void add_region(void)
{
	struct bez_source from = bez_source_callback(fails, NULL);

	if (the->kind == UNSAVED || the->kind == HOLE_UNSAVED)
		live_region(page, live_page(), NULL, "unsaved");
	else if (the->kind == FAILING || the->kind == HOLE_FAILING)
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
	signal(signal_of(the->kind), the->former);
	if (with) {
		live_start(the->flags);
		add_region();
	}
	if (the->kind == HOLE || the->kind == HOLE_UNSAVED ||
	    the->kind == HOLE_FAILING)
		munmap(page, live_page());
	if (the->kind == SENT_TGKILL || the->kind == SEGV_TGKILL)
		raise(signal_of(the->kind));
	else if (the->kind == SENT_QUEUE || the->kind == SEGV_QUEUE)
		sigqueue(getpid(), signal_of(the->kind), value);
	else
		/* not at the page's first byte: that may be an alias */
		chain_load(page + 100);
	_exit(33);
}

static void is_the_original(const struct chain_end *end)
{
	CHECK_EQ(end->info.si_signo, signal_of(the->kind));
	switch (the->kind) {
	case SENT_TGKILL:
	case SEGV_TGKILL:
		CHECK_EQ(end->info.si_code, SI_TKILL);
		break;
	case SENT_QUEUE:
	case SEGV_QUEUE:
		CHECK_EQ(end->info.si_code, SI_QUEUE);
		CHECK_EQ((long)end->info.si_value.sival_ptr, (long)&page);
		break;
	case FILE_END:
	case FILE_REGION:
		CHECK_EQ(end->info.si_code, BUS_ADRERR);
		break;
	case NO_ACCESS:
		CHECK_EQ(end->info.si_code, SEGV_ACCERR);
		break;
	case HOLE:
	case HOLE_UNSAVED:
	case HOLE_FAILING:
		CHECK_EQ(end->info.si_code, SEGV_MAPERR);
		break;
	case NO_ADDRESS:
		CHECK_EQ(end->info.si_code, SI_KERNEL);
		CHECK_EQ((long)end->info.si_addr, 0);
		CHECK_EQ(end->pc, (uint64_t)chain_load_at);
		return;
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
	} else if (the->kind == NO_ADDRESS) {
#if !defined(__x86_64__)
		tap_skip("only x86-64 has such addresses");
#endif
		page = (unsigned char *)0x8000000000000000;
	} else if (the->kind == NO_ACCESS) {
		page = chain_closed();
	} else if (signal_of(the->kind) == SIGSEGV) {
		page = chain_apart(1);
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
	if (is_sent(the->kind)) {
		CHECK(WIFSIGNALED(ours.status));
		CHECK_EQ(WTERMSIG(ours.status), signal_of(the->kind));
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

/* With the signal blocked nothing in user space is ever asked. */
static void die_blocked(void *arg)
{
	sigset_t set;

	if (with)
		live_start(BEZ_START_SEGV_DOOR);
	sigemptyset(&set);
	sigaddset(&set, *(const int *)arg);
	sigprocmask(SIG_BLOCK, &set, NULL);
	chain_load(page + 100);
	_exit(33);
}

static void blocked(void)
{
	struct chain_end bare, ours;

	int sig = *(const int *)tap_data();

	page = sig == SIGSEGV ? chain_closed() : chain_hole();
	bare = chain_trace(die_blocked, &sig);
	with = 1;
	ours = chain_trace(die_blocked, &sig);
	CHECK_EQ(bare.info.si_signo, sig);
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

static const int bus = SIGBUS, segv = SIGSEGV;

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
	{ .name = "blocked SIGBUS", .run = blocked, .data = &bus },
	C("SIGSEGV, default: no access", NO_ACCESS, SIG_DFL,
	  BEZ_START_SEGV_DOOR),
	C("SIGSEGV, default: not mapped", HOLE, SIG_DFL, BEZ_START_SEGV_DOOR),
	C("SIGSEGV, default: region without a source", HOLE_UNSAVED, SIG_DFL,
	  BEZ_START_SEGV_DOOR),
	C("SIGSEGV, default: source fails", HOLE_FAILING, SIG_DFL,
	  BEZ_START_SEGV_DOOR),
	C("SIGSEGV, default: no address", NO_ADDRESS, SIG_DFL,
	  BEZ_START_SEGV_DOOR),
	C("SIGSEGV, default: tgkill", SEGV_TGKILL, SIG_DFL,
	  BEZ_START_SEGV_DOOR),
	C("SIGSEGV, default: sigqueue", SEGV_QUEUE, SIG_DFL,
	  BEZ_START_SEGV_DOOR),
	C("SIGSEGV, ignored: no access", NO_ACCESS, SIG_IGN,
	  BEZ_START_SEGV_DOOR),
	C("SIGSEGV, ignored: region without a source", HOLE_UNSAVED, SIG_IGN,
	  BEZ_START_SEGV_DOOR),
	G("SIGSEGV, ignored: tgkill goes on", SEGV_TGKILL, SIG_IGN,
	  BEZ_START_SEGV_DOOR),
	{ .name = "blocked SIGSEGV", .run = blocked, .data = &segv },
	{ .name = "sent while a source fails", .run = sent_while_failing },
};
TAP_MAIN(cases)
