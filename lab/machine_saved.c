/* SPDX-License-Identifier: MIT */
/*
 * What bezoar makes of real machine checks: the page comes back to the byte and
 * the program goes on, or it ends as the region wants it.
 */
#define _GNU_SOURCE
#include "live.h"
#include "poison.h"
#include "victim.h"

#include <bezoar/record.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

enum { PAGES = 4, BAD = 2, OFFSET = 77 };

static unsigned char *at;		/* the region */
static unsigned char *mirror;

static bez_region_t protect(unsigned char *p, size_t pages, uint32_t flags)
{
	struct bez_policy policy = BEZ_POLICY_INIT;
	struct bez_source from;
	bez_region_t region;

	at = p;
	mirror = live_pages(pages);
	live_fill(at, pages * PAGE, 3);
	live_fill(mirror, pages * PAGE, 3);
	from = bez_source_mirror(mirror);
	policy.source = &from;
	policy.flags = flags;
	CHECK_EQ(bez_region_add(at, pages * PAGE, &policy, &region), 0);
	return region;
}

static void begin(uint32_t start, uint32_t policy)
{
	lab_need_mce();
	live_start(start);
	protect(live_pages(PAGES), PAGES, policy);
}

static uint64_t count(enum bez_outcome outcome)
{
	return bez_outcome_count(outcome);
}

/* The only event that is not of the worker's. */
static struct bez_event only_event(void)
{
	struct bez_event events[8];
	uint64_t seq = 0;
	int n = bez_events(&seq, events, 8), i;

	for (i = 0; i < n; i++)
		tap_diag("%s: %s, %#llx, %llu bytes",
			 bez_cause_name(events[i].cause),
			 bez_outcome_name(events[i].outcome),
			 (unsigned long long)events[i].addr,
			 (unsigned long long)events[i].width);
	CHECK_EQ(n, 1);
	return events[0];
}

struct required {
	enum lab_mce_kind kind;
	enum touch touch;
};

/* The loop is not left: the touch that met it runs again, and so do a thousand
 * others after it. */
static void replaced(void)
{
	const struct required *want = tap_data();
	struct victim v = { .touch = want->touch,
			    .begin = bez_thread_attach };
	struct bez_event event;
	uint64_t phys;

	begin(BEZ_START_NO_EARLY_KILL, 0);
	v.at = at + BAD * PAGE + OFFSET;
	v.value = *v.at;
	phys = lab_phys(v.at);
	victim_struck(&v, want->kind);
	CHECK_EQ(v.left, 0);
	CHECK_EQ(v.value, live_byte(BAD * PAGE + OFFSET, 3));
	event = only_event();
	CHECK_EQ(event.outcome, BEZ_OUTCOME_REPLACED);
	CHECK_EQ(event.cause, BEZ_CAUSE_POISON_AR);
	CHECK_EQ(event.addr, (uintptr_t)at + BAD * PAGE);
	CHECK_EQ(event.width, PAGE);
	CHECK(lab_phys(v.at) != phys);
	CHECK_EQ(live_wrong(at, PAGES * PAGE, 3), 0);
	CHECK_EQ(live_wrong(mirror, PAGES * PAGE, 3), 0);
}

/*
 * The processor does not vouch for the instruction. Nobody can tell that any
 * more since Linux 6.12: it runs again. Before, the page is not even taken
 * away, and where it was is not told.
 */
static void no_restart(void)
{
	struct victim v = { .touch = TOUCH_LOAD, .begin = bez_thread_attach };
	struct bez_event event;

	begin(BEZ_START_NO_EARLY_KILL, 0);
	v.at = at + BAD * PAGE + OFFSET;
	victim_struck(&v, LAB_MCE_NO_RESTART);
	CHECK_EQ(v.left, 0);
	event = only_event();
	if (linux_is(6, 12)) {
		CHECK_EQ(event.outcome, BEZ_OUTCOME_REPLACED);
	} else {
		CHECK_EQ(event.cause, BEZ_CAUSE_MISSING);
		CHECK_EQ(event.outcome, BEZ_OUTCOME_ASKED_AGAIN);
	}
	CHECK_EQ(live_wrong(at, PAGES * PAGE, 3), 0);
}

static void wants_none(enum lab_mce_kind kind, int records)
{
	struct victim v = { .touch = TOUCH_LOAD, .begin = bez_thread_attach };
	struct bez_options options = BEZ_OPTIONS_INIT;

	options.flags = BEZ_START_NO_EARLY_KILL;
	options.record_fd = records;
	CHECK_EQ(bez_start(&options), 0);
	protect(live_pages(PAGES), PAGES, BEZ_POLICY_NO_RESTART);
	v.at = at + BAD * PAGE + OFFSET;
	victim_struck(&v, kind);	/* which kills */
	_exit(99);
}

/* A region that asks for it: its instruction never runs again, whatever the
 * processor says of it. What it died of is in its record. */
static void asked_for(void)
{
	const enum lab_mce_kind *kind = tap_data();
	int is_named = *kind == LAB_MCE_LOAD || linux_is(6, 12);
	int records = memfd_create("records", MFD_CLOEXEC), status;
	struct bez_record r, none;
	pid_t pid;

	lab_need_mce();
	CHECK(records >= 0);
	pid = fork();
	if (!pid)
		wants_none(*kind, records);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECKF(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS,
	       "it ended with %#x", (unsigned int)status);
	CHECK_EQ(pread(records, &r, sizeof(r), 0), sizeof(r));
	CHECK_EQ(pread(records, &none, sizeof(none), sizeof(r)), 0);
	tap_diag("%s: %s (%s), %#llx", bez_cause_name(r.cause),
		 bez_outcome_name(r.outcome), bez_outcome_name(r.why),
		 (unsigned long long)r.addr);
	CHECK_EQ(r.pid, pid);
	CHECK_EQ(r.cause, is_named ? BEZ_CAUSE_POISON_AR : BEZ_CAUSE_MISSING);
	if (!is_named) {	/* nobody knows that it is the region's */
		CHECK_EQ(r.outcome, BEZ_OUTCOME_FOREIGN);
		return;
	}
	CHECK_EQ(r.outcome, BEZ_OUTCOME_DEFAULT);
	CHECK_EQ(r.why, BEZ_OUTCOME_REFUSED_RESTART);
	CHECK_EQ(r.width, PAGE);
	CHECK_EQ(r.offset, BAD * PAGE);
}

/* ----------------------------------------------------------- early notices */

/* The worker has done with it, one way or the other. */
static void wait_for_worker(void)
{
	struct timespec ms = { .tv_nsec = 1000000 };

	while (!count(BEZ_OUTCOME_STALE) && !count(BEZ_OUTCOME_REPLACED))
		nanosleep(&ms, NULL);
}

static void notice_is_replaced(void)
{
	struct lab_mce mce = { .kind = LAB_MCE_OPTIONAL, .cpu = THERE };

	begin(0, 0);
	lab_stay_on(HERE);
	mce.phys = lab_phys(at + BAD * PAGE);
	CHECK_EQ(lab_mce(&mce), 0);
	wait_for_worker();
	CHECK(lab_phys(at + BAD * PAGE) != mce.phys);
	CHECK_EQ(live_wrong(at, PAGES * PAGE, 3), 0);
	CHECK_EQ(count(BEZ_OUTCOME_REPLACED), 1);
}

enum reuse { DISCARDED, UNMAPPED };

/*
 * It comes when the program has put other data there, of which no source knows:
 * they stay, to the byte.
 */
static void notice_is_late(void)
{
	const enum reuse *reuse = tap_data();
	struct lab_mce mce = { .kind = LAB_MCE_OPTIONAL, .cpu = THERE };
	unsigned char *p;
	sigset_t bus, now;

	begin(BEZ_START_NO_EARLY_KILL, 0);
	lab_stay_on(HERE);
	p = at + BAD * PAGE;
	sigemptyset(&bus);
	sigaddset(&bus, SIGBUS);
	CHECK_EQ(pthread_sigmask(SIG_BLOCK, &bus, NULL), 0);
	CHECK_EQ(prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0),
		 0);
	mce.phys = lab_phys(p);
	CHECK_EQ(lab_mce(&mce), 0);
	do
		CHECK_EQ(sigpending(&now), 0);
	while (!sigismember(&now, SIGBUS));
	if (*reuse == DISCARDED) {
		CHECK_EQ(madvise(p, PAGE, MADV_DONTNEED), 0);
	} else {
		CHECK_EQ(munmap(p, PAGE), 0);
		CHECK(mmap(p, PAGE, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
			   0) == p);
	}
	live_fill(p, PAGE, 9);
	CHECK_EQ(pthread_sigmask(SIG_UNBLOCK, &bus, NULL), 0);
	wait_for_worker();
	CHECK_EQ(live_wrong(p, PAGE, 9), 0);
	CHECK_EQ(count(BEZ_OUTCOME_REPLACED), 0);
	CHECK_EQ(count(BEZ_OUTCOME_STALE), 1);
	CHECK_EQ(live_wrong(at, BAD * PAGE, 3), 0);
}

/* ------------------------------------------------- the kernel's own copies */

struct copier {
	pthread_t thread;
	int (*copy)(void);
	unsigned int failed, recovered;
};

static int into_file(void)
{
	static int fd;
	size_t done = 0;
	ssize_t r;

	if (!fd)
		fd = memfd_create("copy", MFD_CLOEXEC);
	while (done < PAGES * PAGE) {
		r = pwrite(fd, at + done, PAGES * PAGE - done, (off_t)done);
		if (r < 0)
			return -errno;
		done += (size_t)r;
	}
	return 0;
}

static int into_attribute(void)
{
	static int fd;

	if (!fd)
		fd = memfd_create("attribute", MFD_CLOEXEC);
	return fsetxattr(fd, "trusted.lab", at, PAGES * PAGE, 0) ? -errno : 0;
}

/* Until it has been lost and is good again. */
static void *copier_thread(void *data)
{
	struct copier *c = data;
	int r;

	CHECK_EQ(bez_thread_attach(), 0);
	lab_stay_on(THERE);
	while (!count(BEZ_OUTCOME_REPLACED)) {
		r = c->copy();
		if (r) {
			CHECK_EQ(r, -EFAULT);
			c->failed++;
			CHECK_EQ(bez_recover(at, PAGES * PAGE), 0);
			c->recovered++;
		}
	}
	CHECK_EQ(c->copy(), 0);
	return NULL;
}

/* The kernel meets it while it copies from the region: the call fails, the
 * buffer is recovered, and the call is good. 5.10 tells the program instead. */
static void copy_in(void)
{
	struct copier c = { .copy = *(int (*const *)(void))tap_data() };
	struct lab_mce mce = { .kind = LAB_MCE_LOAD, .cpu = THERE };

	begin(BEZ_START_NO_EARLY_KILL, 0);
	mce.from = (uintptr_t)at + BAD * PAGE;
	mce.to = mce.from + PAGE;
	mce.phys = lab_phys(at + BAD * PAGE);
	lab_copy_range(&mce.low, &mce.high);
	lab_stay_on(HERE);
	CHECK_EQ(pthread_create(&c.thread, NULL, copier_thread, &c), 0);
	CHECK_EQ(lab_mce(&mce), 0);
	CHECK_EQ(pthread_join(c.thread, NULL), 0);
	CHECK_EQ(count(BEZ_OUTCOME_REPLACED), 1);
	CHECK_EQ(c.recovered, linux_is(5, 16));
	CHECK(lab_phys(at + BAD * PAGE) != mce.phys);
	CHECK_EQ(live_wrong(at, PAGES * PAGE, 3), 0);
}

/* ------------------------------------------- pages that can not be unmapped */

/* What has been done of faults, by now. */
static unsigned int handled(void)
{
	struct bez_event events[16];
	uint64_t seq = 0;

	return (unsigned int)bez_events(&seq, events, 16);
}

/*
 * A huge page that a pipe holds can not be split, and stays mapped: the machine
 * runs into it until it is replaced. Before Linux 6.11 the first report has no
 * address; 5.10 makes no other.
 */
static void pinned_huge(void)
{
	struct victim v = { .touch = TOUCH_LOAD, .begin = bez_thread_attach };
	unsigned int met = 0;
	struct iovec one;
	uint64_t phys;
	int fds[2];

	lab_need_mce();
	if (!linux_is(5, 14))
		tap_skip("before Linux 5.14 nobody is told of a page that "
			 "stays mapped");
	live_start(BEZ_START_NO_EARLY_KILL);
	protect(anon_huge(), HUGE_PAGES, 0);
	one = (struct iovec){ .iov_base = at + 7 * PAGE, .iov_len = PAGE };
	CHECK_EQ(pipe2(fds, O_CLOEXEC), 0);
	CHECK_EQ(vmsplice(fds[1], &one, 1, 0), PAGE);
	v.at = at + 7 * PAGE + OFFSET;
	phys = lab_phys(v.at);
	victim_starts(&v);
	while (lab_phys(v.at) == phys && met < 20) {
		victim_meets(&v, LAB_MCE_LOAD, phys);
		met++;
		while (handled() < met)
			sched_yield();
	}
	victim_ends(&v);
	CHECK_EQ(v.left, 0);
	CHECK_EQ(v.value, live_byte(7 * PAGE + OFFSET, 3));
	CHECK_EQ(live_wrong(at, HUGE_PAGES * PAGE, 3), 0);
	CHECK(lab_phys(v.at) != phys);
	CHECK_EQ(count(BEZ_OUTCOME_REPLACED), 1);
	/* at first without an address; then by one page, as often as is
	 * believed not to be by chance */
	CHECK_EQ(met, linux_is(6, 11) ? 1 : 10);
}

static const struct required variants[] = {
	{ LAB_MCE_LOAD, TOUCH_LOAD },
	{ LAB_MCE_LOCAL, TOUCH_LOAD },
	{ LAB_MCE_LOAD, TOUCH_STORE },
};
static const enum lab_mce_kind restartable = LAB_MCE_LOAD,
			       not_restartable = LAB_MCE_NO_RESTART;
static const enum reuse discarded = DISCARDED, unmapped = UNMAPPED;
static int (*const file)(void) = into_file;
static int (*const attribute)(void) = into_attribute;

static const struct tap_case cases[] = {
	{ .name = "load", .run = replaced, .data = &variants[0] },
	{ .name = "load, one processor", .run = replaced,
	  .data = &variants[1] },
	{ .name = "store", .run = replaced, .data = &variants[2] },
	{ .name = "no restart", .run = no_restart },
	{ .name = "no restart, and the region wants none", .run = asked_for,
	  .data = &not_restartable },
	{ .name = "restart, and the region wants none", .run = asked_for,
	  .data = &restartable },
	{ .name = "notice, replaced", .run = notice_is_replaced },
	{ .name = "notice, late: discarded and written",
	  .run = notice_is_late, .data = &discarded },
	{ .name = "notice, late: unmapped and used again",
	  .run = notice_is_late, .data = &unmapped },
	{ .name = "copy in, a file", .run = copy_in, .data = &file },
	{ .name = "copy in, one try", .run = copy_in, .data = &attribute },
	{ .name = "pinned huge page", .run = pinned_huge },
};
TAP_MAIN(cases)
