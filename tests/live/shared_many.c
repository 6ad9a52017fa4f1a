/* SPDX-License-Identifier: MIT */
/*
 * Sixteen processes on one memory file, each behind its fence. Half of them have
 * never touched the page when it is lost, one reads it by bez_shared_pread() all
 * the time; and in every tenth round whoever was to fill the page is killed just
 * before. Nobody takes a hole for data, nobody hangs, and each loss is filled
 * exactly once: every process adds one to a number in the page as soon as it
 * can, which a second fill would take back.
 *
 *	shared_many [CASE]	SHARED_ROUNDS=n for another number of rounds
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/core.h"
#include "live.h"
#include "lost.h"
#include "replace_see.h"

#define PAGES		3
#define LOST_PAGE	1
#define MOST		16

/* What the processes share beside the file. */
struct common {
	_Atomic uint32_t step;		/* futex: odd: mark; even: touch */
	_Atomic uint32_t ready;		/* futex: who is through with the step */
	_Atomic uint32_t touched;
	_Atomic uint32_t dead;		/* 1 + who was killed; or 0 */
	_Atomic uint64_t reads, refused; /* of the readers */
	_Atomic uint64_t replaced;	/* as bez_status() says, of who ended */
	_Atomic uint64_t holes;		/* filled, that others had left */
	_Atomic uint32_t end;
};

static struct common *common;
static int file;
static uint32_t rounds, touchers, readers;
static pid_t pids[MOST];

static void wait_while(_Atomic uint32_t *word, uint32_t is)
{
	syscall(SYS_futex, word, FUTEX_WAIT, is, NULL, NULL, 0);
}

static void wake(_Atomic uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE, MOST, NULL, NULL, 0);
}

static void through(void)
{
	atomic_fetch_add(&common->ready, 1);
	wake(&common->ready);
}

static uint32_t wait_for_step(uint32_t last)
{
	uint32_t now;

	while ((now = atomic_load(&common->step)) == last)
		wait_while(&common->step, last);
	return now;
}

static unsigned char *map_file(void)
{
	unsigned char *at = mmap(NULL, PAGES * live_page(),
				 PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);

	CHECK(at != MAP_FAILED);
	return at;
}

/* The page behind its number; by memcmp, as it is read sixteen times a round. */
static int is_right(const unsigned char *page, const unsigned char *copy)
{
	return !memcmp(page + 8, copy + LOST_PAGE * live_page() + 8,
		       live_page() - 8);
}

static uint32_t self;

/* The one who dies says who he is first. */
static void note_death(long nr, const long arg[6])
{
	if (nr == SYS_ioctl && (unsigned long)arg[1] == UFFDIO_COPY &&
	    atomic_load(&lost->dies_before))
		atomic_store(&common->dead, self + 1);
}

static void protect(unsigned char *at, const unsigned char *copy)
{
	struct bez_shared shared = BEZ_SHARED_INIT;
	struct bez_policy policy = BEZ_POLICY_INIT;
	struct bez_source from = bez_source_mirror(copy);
	bez_region_t region;

	see_install();			/* says why, if it comes to that */
	live_start(BEZ_START_NO_WORKER | BEZ_START_NO_EARLY_KILL);
	shared.flags = BEZ_SHARED_FENCED;
	shared.fd = file;
	policy.shared = &shared;
	policy.source = &from;
	policy.max_repeats = 4095;
	CHECK_EQ(bez_region_add(at, PAGES * live_page(), &policy, &region), 0);
}

static void touch(unsigned char *at, const unsigned char *copy)
{
	unsigned char *page = at + LOST_PAGE * live_page();

	CHECK(is_right(page, copy));
	__atomic_fetch_add((uint64_t *)page, 1, __ATOMIC_RELAXED);
	CHECK(is_right(page, copy));
}

static void forget_repeats(void)
{
	struct bz_mm *mm = atomic_load(&bz_core.mm);

	/* one page, lost thousands of times, would look like a loop */
	memset(mm->repeats, 0, sizeof(mm->repeats));
}

static void report(void)
{
	struct bez_status status = { .size = sizeof(status) };

	CHECK_EQ(bez_status(&status), 0);
	CHECK_EQ(status.not_replaced, 0);
	atomic_fetch_add(&common->replaced, status.replaced);
}

/* @last: the step to begin after. */
static void toucher(uint32_t last)
{
	unsigned char *at = map_file(), *copy = live_pages(PAGES);
	size_t offset = LOST_PAGE * live_page();
	uint32_t step;

	/* the number as it was when the page was whole */
	memset(copy + offset, 0, 8);
	lost_is_at(at);
	lost_before = note_death;
	protect(at, copy);
	through();
	for (step = last; !atomic_load(&common->end);) {
		step = wait_for_step(step);
		if (atomic_load(&common->end))
			break;
		if (step & 1) {
			forget_repeats();
			lost_mark(offset);
			through();
			continue;
		}
		touch(at, copy);
		if (self & 1)		/* as if it never had */
			madvise(at, PAGES * live_page(), MADV_DONTNEED);
		atomic_fetch_add(&common->touched, 1);
		through();
	}
	report();
}

/* Reads while the others touch; what it gets is whole, or it gets nothing. */
static void reader(uint32_t last)
{
	unsigned char *copy = live_pages(PAGES), page[65536];
	size_t len = live_page();
	int fd = bez_shared_open(file);
	uint32_t step;
	ssize_t r;

	CHECK(fd >= 0 && len <= sizeof(page));
	through();
	for (step = last; !atomic_load(&common->end);) {
		step = wait_for_step(step);
		if (step & 1) {
			through();
			continue;
		}
		do {
			r = bez_shared_pread(fd, page, len, LOST_PAGE * len);
			CHECKF(r == (ssize_t)len || r == -ENODATA, "read: %zd",
			       r);
			CHECK(r < 0 || is_right(page, copy));
			atomic_fetch_add(r < 0 ? &common->refused :
						 &common->reads, 1);
		} while (atomic_load(&common->touched) < touchers &&
			 !atomic_load(&common->end));
		through();
	}
}

static void begin_process(uint32_t i)
{
	uint32_t last = atomic_load(&common->step);

	pids[i] = fork();
	CHECK(pids[i] >= 0);
	if (pids[i])
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	self = i;
	if (i < touchers)
		toucher(last);
	else
		reader(last);
	exit(0);
}

/* All of them but who was killed, which counts as well. */
static void wait_for_all(uint32_t count)
{
	uint32_t now;

	while ((now = atomic_load(&common->ready)) < count)
		wait_while(&common->ready, now);
	atomic_store(&common->ready, 0);
}

static void next_step(void)
{
	atomic_fetch_add(&common->step, 1);
	wake(&common->step);
}

/* If a process of ours fails, the case has; the others are stuck. */
static void on_child(int sig, siginfo_t *info, void *context)
{
	char say[64];
	uint32_t i;
	int len;

	(void)sig;
	(void)context;
	for (i = 0; i < MOST && pids[i] != info->si_pid; i++)
		continue;
	if (i == MOST)			/* who poisons a page dies of it */
		return;
	if (info->si_code == CLD_KILLED && info->si_status == SIGKILL) {
		/* the victim: he is not waited for in this round */
		atomic_fetch_add(&common->touched, 1);
		atomic_fetch_add(&common->ready, 1);
		wake(&common->ready);
		return;
	}
	if (atomic_load(&common->end))
		return;
	len = snprintf(say, sizeof(say), "# a process ended: %s %d\n",
		       info->si_code == CLD_EXITED ? "status" : "signal",
		       info->si_status);
	if (write(STDOUT_FILENO, say, (size_t)len) < 0)
		_exit(2);
	kill(0, SIGTERM);
}

static void replace_dead(uint32_t round, uint32_t *killed)
{
	uint32_t who = atomic_exchange(&common->dead, 0);
	int status;

	if (!who)
		return;
	(*killed)++;
	CHECK_EQ(waitpid(pids[who - 1], &status, 0), pids[who - 1]);
	CHECKF(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL,
	       "round %u: status %#x", round, (unsigned int)status);
	begin_process(who - 1);
	wait_for_all(1);
}

static void check_round(uint32_t round, const unsigned char *copy,
			int somebody_died)
{
	unsigned char page[65536];
	uint64_t number;

	CHECK_EQ(pread(file, page, live_page(),
		       (off_t)(LOST_PAGE * live_page())), live_page());
	CHECKF(is_right(page, copy), "round %u", round);
	memcpy(&number, page, sizeof(number));
	CHECKF(number == touchers - (uint32_t)somebody_died,
	       "round %u: %llu of %u", round, (unsigned long long)number,
	       touchers);
	CHECKF(atomic_load(&lost->fills) == round + 1, "round %u: %u fills",
	       round, atomic_load(&lost->fills));
}

static void run(uint32_t with_touchers, uint32_t with_readers, uint32_t many)
{
	struct sigaction sa = { .sa_sigaction = on_child,
				.sa_flags = SA_SIGINFO | SA_RESTART |
					    SA_NOCLDSTOP };
	unsigned char *copy = live_pages(PAGES), *at;
	uint32_t i, round, killed = 0;
	const char *asked = getenv("SHARED_ROUNDS");
	int status;

	CHECK_EQ(setpgid(0, 0), 0);
	rounds = asked ? (uint32_t)atoi(asked) : live_is_real() ? 60 : many;
	touchers = with_touchers;
	readers = with_readers;
	common = mmap(NULL, sizeof(*common), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(common != MAP_FAILED);
	file = memfd_create("many", MFD_CLOEXEC);
	CHECK(file >= 0);
	CHECK_EQ(ftruncate(file, (off_t)(PAGES * live_page())), 0);
	CHECK_EQ(pwrite(file, copy, PAGES * live_page(), 0),
		 PAGES * live_page());
	at = map_file();
	lost_begin(file, at, live_page());
	CHECK_EQ(sigaction(SIGCHLD, &sa, NULL), 0);
	for (i = 0; i < touchers + readers; i++)
		begin_process(i);
	wait_for_all(touchers + readers);
	for (round = 0; round < rounds; round++) {
		uint32_t before = killed;

		next_step();		/* mark */
		wait_for_all(touchers + readers);
		lose_at(LOST_PAGE * live_page());
		atomic_store(&common->touched, 0);
		atomic_store(&lost->dies_before, round % 10 == 9);
		next_step();		/* touch */
		wait_for_all(touchers + readers);
		replace_dead(round, &killed);
		check_round(round, copy, killed != before);
	}
	atomic_store(&common->end, 1);
	next_step();
	for (i = 0; i < touchers + readers; i++) {
		CHECK_EQ(waitpid(pids[i], &status, 0), pids[i]);
		CHECK_EQ(status, 0);
	}
	tap_diag("%u rounds, %u killed, %llu reads, %llu refused", rounds,
		 killed, (unsigned long long)common->reads,
		 (unsigned long long)common->refused);
	CHECK(rounds && killed == rounds / 10);
	/* before 5.16 the kernel takes what is lost out of the file itself */
	CHECK(atomic_load(&lost->punches) <= rounds);
	if (live_linux(5, 16))
		CHECK_EQ(atomic_load(&lost->punches), rounds);
	CHECK(common->reads);
	/* who was killed later has taken his number with him */
	CHECK(common->replaced <= rounds &&
	      (killed || common->replaced == rounds));
}

static void sixteen(void)
{
	run(15, 1, 10000);
}

/* Readers that come and go all the time do not keep a repairer out. */
static void mostly_readers(void)
{
	run(4, 12, 300);
}

static const struct tap_case cases[] = {
	{ .name = "sixteen processes", .run = sixteen, .timeout_s = 280 },
	{ .name = "mostly readers", .run = mostly_readers, .timeout_s = 120 },
};
TAP_MAIN(cases)
