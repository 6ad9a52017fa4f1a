/* SPDX-License-Identifier: MIT */
/*
 * Protection keys: what a repair reads and writes is open to it, and nobody
 * else notices. The thread's own rights, and those that a handler has, are
 * what they are without us.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "chain_help.h"

#define PAGES	4
#define KEYS	16

struct variant {
	uint32_t start;			/* BEZ_START_* */
	unsigned int rights;		/* of the thread, to the mirror's key */
	int returns;			/* the former handler, on its own stack */
};

static const struct variant *variant(void)
{
	return tap_data();
}

static size_t page;
static int key;

/* Memory with @key, readable by whoever has the right to it. */
static unsigned char *keyed_pages(void)
{
	unsigned char *at = live_pages(PAGES);

	CHECK_EQ(pkey_mprotect(at, PAGES * page, PROT_READ | PROT_WRITE, key),
		 0);
	return at;
}

static void need_key(void)
{
	page = live_page();
	key = pkey_alloc(0, 0);
	if (key < 0)
		tap_skip("no protection keys in this machine (see pku in "
			 "/proc/cpuinfo): %s", strerror(errno));
}

/* What the calling thread may do with each key. */
static void rights(unsigned char ret_rights[KEYS])
{
	int i;

	for (i = 0; i < KEYS; i++)
		ret_rights[i] = (unsigned char)pkey_get(i);
}

static void comes_back(unsigned char *at)
{
	unsigned char before[KEYS], after[KEYS];
	int i;

	rights(before);
	for (i = 0; i < PAGES; i++)
		live_poison(at + (size_t)i * page);
	CHECK_EQ(live_wrong(at, PAGES * page, 0), 0);
	CHECK_EQ(pkey_get(key), (int)variant()->rights);
	rights(after);
	CHECK(!memcmp(before, after, KEYS));
}

static unsigned char *mirrored(void)
{
	struct bez_source from;
	unsigned char *at;

	need_key();
	live_start(variant()->start | BEZ_START_NO_EARLY_KILL);
	from = bez_source_mirror(keyed_pages());
	at = live_pages(PAGES);
	live_region(at, PAGES * page, &from, "mirror with a key");
	return at;
}

static void mirror(void)
{
	unsigned char *at = mirrored();

	CHECK_EQ(pkey_set(key, variant()->rights), 0);
	comes_back(at);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_REPLACED), PAGES);
}

/* ------------------------------------------------------------ a guard's jump */

static int meets_lost(void *dst, size_t bytes, uint64_t offset, void *arg)
{
	(void)offset;
	memcpy(dst, arg, bytes);
	return 0;
}

/* The first source runs into a page that nobody can bring back: the fault in
 * there is another handler, which begins with keys of its own. */
static void after_a_jump(void)
{
	struct bez_source list[2], from = bez_source_first_of(list, 2);
	unsigned char *at, *lost;

	need_key();
	live_start(variant()->start | BEZ_START_NO_EARLY_KILL);
	lost = live_pages(1);
	live_region(lost, page, NULL, "cannot come back");
	list[0] = bez_source_callback(meets_lost, lost);
	list[1] = bez_source_mirror(keyed_pages());
	at = live_pages(PAGES);
	live_region(at, PAGES * page, &from, "second source with a key");
	live_poison(lost);
	CHECK_EQ(pkey_set(key, variant()->rights), 0);
	comes_back(at);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_REPLACED), PAGES);
	/* each of these was a jump */
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_DEFAULT), PAGES);
}

/* -------------------------------------------------------- the former handler */

/* Written by the children of a case. */
static struct seen {
	unsigned char in_handler[KEYS], afterwards[KEYS];
	int calls;
} *seen;
static sigjmp_buf back;

static void former(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	rights(seen->in_handler);
	seen->calls++;
	if (!variant()->returns)
		siglongjmp(back, 1);
	chain_mend(info->si_addr);
}

/* A page of a region that has no source, or that is no region. */
static void is_passed_on(int with_us, int as_region)
{
	struct sigaction action = { .sa_sigaction = former,
				    .sa_flags = SA_SIGINFO };
	static char stack[1 << 17];
	stack_t alt = { .ss_sp = stack, .ss_size = sizeof(stack) };
	unsigned char *at = live_pages(1);
	pid_t pid = fork();
	int status = 0;

	CHECK(pid >= 0);
	if (!pid) {
		if (!variant()->returns)
			action.sa_flags |= SA_ONSTACK;
		CHECK_EQ(sigaltstack(&alt, NULL), 0);
		CHECK_EQ(sigaction(SIGBUS, &action, NULL), 0);
		if (with_us)
			live_start(variant()->start | BEZ_START_NO_EARLY_KILL);
		if (with_us && as_region)
			live_region(at, page, NULL, "without a source");
		live_poison(at);
		CHECK_EQ(pkey_set(key, variant()->rights), 0);
		if (!sigsetjmp(back, 1))
			live_read(at);
		rights(seen->afterwards);
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK(WIFEXITED(status) && !WEXITSTATUS(status));
}

static void former_handler(void)
{
	struct seen bare;
	int as_region;

	need_key();
	seen = chain_shared(sizeof(*seen));
	is_passed_on(0, 0);
	CHECK_EQ(seen->calls, 1);
	bare = *seen;
	for (as_region = 0; as_region < 2; as_region++) {
		memset(seen, 0xff, sizeof(*seen));
		seen->calls = 0;
		is_passed_on(1, as_region);
		CHECK_EQ(seen->calls, 1);
		CHECK(!memcmp(seen->in_handler, bare.in_handler, KEYS));
		CHECK(!memcmp(seen->afterwards, bare.afterwards, KEYS));
	}
}

/* --------------------------------------------------------- a later handler */

static struct sigaction ours;
static struct seen in_later;

static void later(int sig, siginfo_t *info, void *context)
{
	rights(in_later.in_handler);
	ours.sa_sigaction(sig, info, context);
	rights(in_later.afterwards);
	in_later.calls++;
}

/* One that calls ours finds its own rights when that returns. */
static void later_handler(void)
{
	struct sigaction action = { .sa_sigaction = later,
				    .sa_flags = SA_SIGINFO | SA_ONSTACK };
	unsigned char *at = mirrored();

	CHECK_EQ(sigaction(SIGBUS, &action, &ours), 0);
	CHECK_EQ(pkey_set(key, variant()->rights), 0);
	comes_back(at);
	CHECK(in_later.calls >= PAGES);
	CHECK(!memcmp(in_later.in_handler, in_later.afterwards, KEYS));
}

#define NAMED(what, function, ...)					\
	{ .name = what, .run = function,				\
	  .data = &(const struct variant){ __VA_ARGS__ } }
#define CLOSED	.rights = PKEY_DISABLE_ACCESS
#define OPEN	.rights = 0
#define MREMAP	.start = BEZ_START_NO_UFFD

static const struct tap_case cases[] = {
	NAMED("mirror, open, userfaultfd", mirror, OPEN),
	NAMED("mirror, closed, userfaultfd", mirror, CLOSED),
	NAMED("mirror, open, mremap", mirror, OPEN, MREMAP),
	NAMED("mirror, closed, mremap", mirror, CLOSED, MREMAP),
	NAMED("after a guard's jump, open", after_a_jump, OPEN),
	NAMED("after a guard's jump, closed", after_a_jump, CLOSED),
	NAMED("former handler, open", former_handler, OPEN),
	NAMED("former handler, closed", former_handler, CLOSED),
	NAMED("former handler returns, open", former_handler, OPEN,
	      .returns = 1),
	NAMED("former handler returns, closed", former_handler, CLOSED,
	      .returns = 1),
	NAMED("later handler, open", later_handler, OPEN),
	NAMED("later handler, closed", later_handler, CLOSED),
};
TAP_MAIN(cases)
