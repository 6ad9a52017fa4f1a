/* SPDX-License-Identifier: MIT */
/*
 * The door for SIGSEGV: a page of a region that is not mapped any more comes
 * back; what the program has closed itself, and what is in no region, is none
 * of the library's affair.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "chain_help.h"
#include "replace_see.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102		/* Linux 6.13 */
#endif

#define PAGES 5
#define HOLE 2

static unsigned char *at, *copy;

static unsigned char *hole(void)
{
	return at + HOLE * live_page();
}

static void unmap(size_t page, size_t count)
{
	CHECK_EQ(munmap(at + page * live_page(), count * live_page()), 0);
}

/* Pages in a region that has a copy, and the door. */
static bez_region_t begin(uint32_t flags)
{
	struct bez_source from;

	at = chain_apart(PAGES);
	copy = chain_apart(PAGES);
	from = bez_source_mirror(copy);
	live_start(flags | BEZ_START_SEGV_DOOR | BEZ_START_NO_EARLY_KILL);
	return live_region(at, PAGES * live_page(), &from, "table");
}

static struct bez_status status_now(void)
{
	struct bez_status s = { .size = sizeof(s) };

	CHECK_EQ(bez_status(&s), 0);
	return s;
}

/* ------------------------------------------------------------- comes back */

static void is_restored(void)
{
	struct bez_event event;
	bez_region_t region = begin(0);
	struct bez_region_info info = { .size = sizeof(info) };

	CHECK_EQ(status_now().segv_door, 1);
	unmap(HOLE, 1);
	CHECK_EQ(chain_load(hole() + 100), live_byte(HOLE * live_page() + 100,
						     0));
	CHECK_EQ(live_wrong(at, PAGES * live_page(), 0), 0);
	event = see_event(hole());
	CHECK_EQ(event.cause, BEZ_CAUSE_SEGV);
	CHECK_EQ(event.si_code, SEGV_MAPERR);
	CHECK_EQ(event.addr, (uint64_t)hole() + 100);
	CHECK_EQ(event.width, live_page());
	CHECK_EQ(event.region, region);
	CHECK_EQ(event.outcome, BEZ_OUTCOME_REPLACED);
	CHECK_EQ(event.source, BEZ_SOURCE_MIRROR);
	CHECK_EQ(bez_region_info(region, &info), 0);
	CHECK_EQ(info.replaced, 1);
	/* a write does as well, and so does a second hole in the same place */
	unmap(HOLE, 1);
	hole()[7] = 99;
	CHECK_EQ(live_read(hole() + 7), 99);
	CHECK_EQ(live_read(hole() + 8), live_byte(HOLE * live_page() + 8, 0));
	CHECK_EQ(bez_region_remove(region), 0);
	CHECK_EQ(bez_stop(), 0);
}

/* Where mmap(2) would choose to put things, ours as well. */
static void all_of_it(void)
{
	struct bez_source from;

	at = live_pages(PAGES);
	copy = live_pages(PAGES);
	from = bez_source_mirror(copy);
	live_start(BEZ_START_SEGV_DOOR | BEZ_START_NO_WORKER);
	live_region(at, PAGES * live_page(), &from, "table");
	unmap(0, PAGES);
	CHECK_EQ(live_wrong(at, PAGES * live_page(), 0), 0);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_REPLACED), PAGES);
	at[0] = 1;
	CHECK_EQ(see_map(hole()).perms[3], 'p');
}

/* The attributes that a neighbour has, on the side where there is one. */
static void like_its_neighbour(void)
{
	size_t lost = *(const size_t *)tap_data();
	struct see_map was, now;

	at = chain_apart(PAGES);
	CHECK_EQ(madvise(at, PAGES * live_page(), MADV_DONTDUMP), 0);
	/* not the libc's: a sanitizer takes that one away */
	CHECK_EQ(syscall(SYS_mlock, at, PAGES * live_page()), 0);
	CHECK_EQ(mprotect(at, PAGES * live_page(), PROT_READ), 0);
	copy = chain_apart(PAGES);
	live_start(BEZ_START_SEGV_DOOR);
	live_region(at, PAGES * live_page(),
		    &(struct bez_source){ .kind = BEZ_SOURCE_MIRROR,
					  .addr = copy, .fd = -1 }, "like");
	was = see_map(at + lost * live_page());
	CHECK(strstr(was.flags, " dd") && strstr(was.flags, " lo"));
	unmap(lost, 1);
	CHECK_EQ(live_read(at + lost * live_page() + 5),
		 live_byte(lost * live_page() + 5, 0));
	now = see_map(at + lost * live_page());
	CHECKF(!strcmp(was.perms, now.perms), "%s is not %s", now.perms,
	       was.perms);
	CHECKF(!strcmp(was.flags, now.flags), "%s is not %s", now.flags,
	       was.flags);
}

/* Somebody maps the place while the source is asked: that stays. */
static int maps_there(void *dst, size_t len, uint64_t offset, void *arg)
{
	unsigned char *page = arg;

	(void)offset;
	memset(dst, 1, len);
	if (mmap(page, len, PROT_READ | PROT_WRITE, MAP_PRIVATE |
		 MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != page)
		return -1;
	page[100] = 77;
	return 0;
}

static void mapped_meanwhile(void)
{
	struct bez_source from;

	at = chain_apart(PAGES);
	from = bez_source_callback(maps_there, hole());
	live_start(BEZ_START_SEGV_DOOR);
	live_region(at, PAGES * live_page(), &from, "table");
	unmap(HOLE, 1);
	CHECK_EQ(chain_load(hole() + 100), 77);
	CHECK_EQ(live_read(hole() + 101), 0);
	CHECK_EQ(see_event(hole()).outcome, BEZ_OUTCOME_ALREADY_GOOD);
}

/* Readers in other threads find the page's bytes, and nothing else: at no
 * moment is there a mapping without them. */
#define READERS 4
#define ROUNDS 300

static _Atomic unsigned long wrong;
static _Atomic int over;

/* Waits for nobody: it is told that there is a hole. */
static void *reads_by_the_kernel(void *arg)
{
	size_t i = (size_t)arg;

	while (!atomic_load(&over)) {
		unsigned char byte;
		struct iovec here = { &byte, 1 }, there = { hole() + i, 1 };

		if (process_vm_readv(getpid(), &here, 1, &there, 1, 0) == 1)
			atomic_fetch_add(&wrong, byte != live_byte(
				HOLE * live_page() + i, 0));
	}
	return NULL;
}

static void *reads_on(void *arg)
{
	size_t i = (size_t)arg;

	CHECK_EQ(bez_thread_attach(), 0);
	while (!atomic_load(&over)) {
		i = (i + 61) % live_page();
		atomic_fetch_add(&wrong, live_read(hole() + i) !=
					 live_byte(HOLE * live_page() + i, 0));
	}
	return NULL;
}

static int was_restored(void *arg)
{
	return bez_outcome_count(BEZ_OUTCOME_REPLACED) >= *(size_t *)arg;
}

static void by_many(void)
{
	pthread_t thread[READERS];
	struct bez_policy policy = BEZ_POLICY_INIT;
	struct bez_source from;
	bez_region_t region;
	size_t i, n;

	at = chain_apart(PAGES);
	copy = chain_apart(PAGES);
	from = bez_source_mirror(copy);
	policy.source = &from;
	policy.max_repeats = 4095;
	live_start(BEZ_START_SEGV_DOOR);
	CHECK_EQ(bez_region_add(at, PAGES * live_page(), &policy, &region),
		 0);
	for (i = 0; i < READERS; i++)
		CHECK_EQ(pthread_create(&thread[i], NULL, i ? reads_on :
					reads_by_the_kernel, (void *)i), 0);
	for (n = 1; n <= ROUNDS; n++) {
		unmap(HOLE, 1);
		chain_until(was_restored, &n, "somebody runs into it");
	}
	atomic_store(&over, 1);
	for (i = 0; i < READERS; i++)
		CHECK_EQ(pthread_join(thread[i], NULL), 0);
	CHECK_EQ(wrong, 0);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_REPLACED), ROUNDS);
	CHECK_EQ(bez_outcome_count(BEZ_OUTCOME_DEFAULT), 0);
}

static void in_a_child(void)
{
	int end;
	pid_t pid;

	begin(0);
	unmap(HOLE, 1);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid)
		_exit(live_wrong(at, PAGES * live_page(), 0) ? 1 : 42);
	CHECK_EQ(waitpid(pid, &end, 0), pid);
	CHECK(WIFEXITED(end) && WEXITSTATUS(end) == 42);
	CHECK_EQ(live_wrong(at, PAGES * live_page(), 0), 0);
}

/* ---------------------------------------------------------- in a source */

/* The copy is a region, too, and has a hole in the same place. */
static void in_the_source(void)
{
	unsigned char *third = live_pages(PAGES);
	struct bez_source from = bez_source_mirror(third);

	begin(0);
	live_region(copy, PAGES * live_page(), &from, "copy");
	unmap(HOLE, 1);
	CHECK_EQ(munmap(copy + HOLE * live_page(), live_page()), 0);
	CHECK_EQ(chain_load(hole() + 100),
		 live_byte(HOLE * live_page() + 100, 0));
	CHECK_EQ(live_wrong(copy, PAGES * live_page(), 0), 0);
	CHECK_EQ(see_event(hole()).outcome, BEZ_OUTCOME_REPLACED);
	CHECK_EQ(see_event(copy + HOLE * live_page()).depth, 2);
}

/* The copy is in no region: that source has failed, and the next is asked. Also
 * when the page itself was lost. */
static void source_is_not_mapped(void)
{
	int lost = *(const int *)tap_data();
	struct bez_source list[2];
	struct bez_source from;

	at = chain_apart(PAGES);
	copy = chain_apart(PAGES);
	list[0] = bez_source_mirror(live_pages(PAGES));
	list[1] = bez_source_mirror(copy);
	from = bez_source_first_of(list, 2);
	live_start(BEZ_START_SEGV_DOOR | BEZ_START_NO_EARLY_KILL);
	live_region(at, PAGES * live_page(), &from, "table");
	CHECK_EQ(munmap((void *)(uint64_t)list[0].addr, PAGES * live_page()),
		 0);
	if (lost)
		live_poison(hole());
	else
		unmap(HOLE, 1);
	CHECK_EQ(chain_load(hole() + 100),
		 live_byte(HOLE * live_page() + 100, 0));
	CHECK_EQ(live_wrong(at, PAGES * live_page(), 0), 0);
}

/* ---------------------------------------------------------- none of ours */

static sigjmp_buf back;
static siginfo_t seen;
static volatile int asked;

static void former(int sig, siginfo_t *info, void *context)
{
	(void)context;
	seen = *info;
	siglongjmp(back, sig);
}

static int never(void *dst, size_t len, uint64_t offset, void *arg)
{
	(void)dst, (void)len, (void)offset, (void)arg;
	asked = 1;
	return -1;
}

enum closed { NO_ACCESS, NO_WRITE, GUARD, OUTSIDE };

static void close_it(enum closed how)
{
	switch (how) {
	case NO_ACCESS:
		CHECK_EQ(mprotect(hole(), live_page(), PROT_NONE), 0);
		break;
	case NO_WRITE:
		CHECK_EQ(mprotect(hole(), live_page(), PROT_READ), 0);
		break;
	case GUARD:
		if (madvise(hole(), live_page(), MADV_GUARD_INSTALL))
			tap_skip("guard pages need Linux 6.13: %s",
				 strerror(errno));
		break;
	case OUTSIDE:
		unmap(HOLE, 1);
		break;
	}
}

static void is_passed_on(void)
{
	enum closed how = *(const enum closed *)tap_data();
	struct sigaction action = { .sa_sigaction = former,
				    .sa_flags = SA_SIGINFO };
	struct bez_source from = bez_source_callback(never, NULL);
	uint64_t seq = 0;
	struct bez_event event;

	CHECK_EQ(sigaction(SIGSEGV, &action, NULL), 0);
	at = chain_apart(PAGES);
	live_start(BEZ_START_SEGV_DOOR);
	if (how != OUTSIDE)
		live_region(at, PAGES * live_page(), &from, "table");
	close_it(how);
	if (!sigsetjmp(back, 1)) {
		*(volatile unsigned char *)(hole() + 100) = 1;
		CHECKF(0, "it was written to");
	}
	CHECK(seen.si_addr == hole() + 100);
	CHECK_EQ(seen.si_code, how == GUARD || how == OUTSIDE ? SEGV_MAPERR :
							       SEGV_ACCERR);
	CHECK(!asked);
	CHECK_EQ(status_now().faults, 1);
	CHECK_EQ(bez_events(&seq, &event, 1), how == GUARD);
	CHECK_EQ(status_now().foreign, how != GUARD);
	CHECK_EQ(status_now().segv_door, 1);
}

/* One that is sent comes at once, whatever is being repaired, and only once. */
static volatile int calls, filling, called_while_filling;

static void counts(int sig)
{
	(void)sig;
	calls++;
	called_while_filling = filling;
}

static int sends_and_fills(void *dst, size_t len, uint64_t offset, void *arg)
{
	filling = 1;
	raise(SIGSEGV);
	memcpy(dst, (unsigned char *)arg + offset, len);
	filling = 0;
	return 0;
}

static void sent_during_a_repair(void)
{
	int lost = *(const int *)tap_data();
	struct bez_source from;

	signal(SIGSEGV, counts);
	at = chain_apart(PAGES);
	copy = chain_apart(PAGES);
	from = bez_source_callback(sends_and_fills, copy);
	live_start(BEZ_START_SEGV_DOOR | BEZ_START_NO_EARLY_KILL);
	live_region(at, PAGES * live_page(), &from, "table");
	if (lost)
		live_poison(hole());
	else
		unmap(HOLE, 1);
	CHECK_EQ(chain_load(hole() + 100),
		 live_byte(HOLE * live_page() + 100, 0));
	CHECK_EQ(calls, 1);
	CHECK(called_while_filling);
	CHECK_EQ(see_event(hole()).outcome, BEZ_OUTCOME_REPLACED);
	CHECK_EQ(chain_mask(), 0);
}

/* A handler that was installed later, with SIGSEGV closed, hands on. */
static struct sigaction ours;
static uint64_t mask_before, mask_after;

static void later(int sig, siginfo_t *info, void *context)
{
	mask_before = chain_mask();
	ours.sa_sigaction(sig, info, context);
	mask_after = chain_mask();
}

static void through_a_later_handler(void)
{
	struct sigaction action = { .sa_sigaction = later,
				    .sa_flags = SA_SIGINFO };

	begin(0);
	unmap(HOLE, 1);
	CHECK_EQ(sigaction(SIGSEGV, &action, &ours), 0);
	CHECK_EQ(chain_load(hole() + 100),
		 live_byte(HOLE * live_page() + 100, 0));
	CHECK(mask_before >> (SIGSEGV - 1) & 1);
	CHECK_EQ(mask_before, mask_after);
	CHECK_EQ(see_event(hole()).outcome, BEZ_OUTCOME_REPLACED);
	CHECK_EQ(chain_mask(), 0);
}

/* Code of the program's that runs in a fault, and lives on SIGSEGV. */
static void opens(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	if (mprotect((void *)((uint64_t)info->si_addr & -live_page()),
		     live_page(), PROT_READ | PROT_WRITE))
		_exit(95);
}

static int reads_closed(void *dst, size_t len, uint64_t offset, void *arg)
{
	memcpy(dst, (unsigned char *)arg + offset, len);
	return 0;
}

static void former_mends_in_a_source(void)
{
	struct sigaction action = { .sa_sigaction = opens,
				    .sa_flags = SA_SIGINFO };
	struct bez_source from;

	CHECK_EQ(sigaction(SIGSEGV, &action, NULL), 0);
	at = chain_apart(PAGES);
	copy = chain_apart(PAGES);
	CHECK_EQ(mprotect(copy, PAGES * live_page(), PROT_NONE), 0);
	from = bez_source_callback(reads_closed, copy);
	live_start(BEZ_START_SEGV_DOOR | BEZ_START_NO_EARLY_KILL);
	live_region(at, PAGES * live_page(), &from, "table");
	live_poison(hole());
	CHECK_EQ(chain_load(hole() + 100),
		 live_byte(HOLE * live_page() + 100, 0));
	CHECK_EQ(see_event(hole()).outcome, BEZ_OUTCOME_REPLACED);
	CHECK_EQ(status_now().foreign, 1);
}

static const size_t second = 1, first = 0;
static const int yes = 1, no = 0;
static const enum closed by_prot = NO_ACCESS, by_write = NO_WRITE,
	by_guard = GUARD, outside = OUTSIDE;

static const struct tap_case cases[] = {
	{ .name = "a hole is restored", .run = is_restored },
	{ .name = "nothing of it is mapped", .run = all_of_it },
	{ .name = "like its neighbour below", .run = like_its_neighbour,
	  .data = &second },
	{ .name = "like its neighbour above", .run = like_its_neighbour,
	  .data = &first },
	{ .name = "mapped by somebody meanwhile", .run = mapped_meanwhile },
	{ .name = "others read no wrong byte", .run = by_many },
	{ .name = "in a child of fork", .run = in_a_child },
	{ .name = "a hole in the source", .run = in_the_source },
	{ .name = "a source that is not mapped", .run = source_is_not_mapped,
	  .data = &no },
	{ .name = "a source that is not mapped, of a lost page",
	  .run = source_is_not_mapped, .data = &yes },
	{ .name = "passed on: no access", .run = is_passed_on,
	  .data = &by_prot },
	{ .name = "passed on: no write access", .run = is_passed_on,
	  .data = &by_write },
	{ .name = "passed on: guard page", .run = is_passed_on,
	  .data = &by_guard },
	{ .name = "passed on: in no region", .run = is_passed_on,
	  .data = &outside },
	{ .name = "through a later handler", .run = through_a_later_handler },
	{ .name = "sent while a hole is mapped again",
	  .run = sent_during_a_repair, .data = &no },
	{ .name = "sent while a lost page is replaced",
	  .run = sent_during_a_repair, .data = &yes },
	{ .name = "the former action mends in a source",
	  .run = former_mends_in_a_source },
};
TAP_MAIN(cases)
