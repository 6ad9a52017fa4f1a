/* SPDX-License-Identifier: MIT */
/*
 * Fourth room, and the whole walk: one repair, again and again, with each of
 * its system calls failing once in each way. Whatever happens, the page has
 * its bytes or is closed; nothing is left over; the outcome says what was.
 */
#include <errno.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "repairing.h"

static const int errors[] = { ENOMEM, EINVAL, EAGAIN, EINTR, EPERM, EBADF,
			      EEXIST, ENOSYS };

/* With the n-th call failing, and the m-th, unless they are 0. */
static void repair_with(uint32_t n, uint32_t m, int err, uint32_t kernel)
{
	repair_lose();
	double_reset();
	double_kernel(kernel);
	if (n)
		double_fail(n, err);
	if (m)
		double_fail(m, err);
	repair_climb();
}

/* --------------------------------------------- the program comes in between */

static uint32_t written;

/* The mapping that is made ready is asked about its NUMA policy: the program,
 * which need not wait for that, throws the lost page away and writes another. */
static void write_anew(long nr, const long arg[6])
{
	unsigned char *lost = repair_at + REPAIR_LOST * live_page();

	if (nr != SYS_get_mempolicy || arg[3] == (long)lost || written++)
		return;
	CHECK_EQ(madvise(lost, live_page(), MADV_DONTNEED), 0);
	memset(lost, 0x5a, live_page());
}

static void what_is_new_stays(void)
{
	unsigned char *lost;
	size_t i, wrong = 0;

	repair_begin(BEZ_START_NO_UFFD);
	lost = repair_at + REPAIR_LOST * live_page();
	repair_lose();
	double_before(write_anew);
	repair_climb();
	CHECK_EQ(written, 1);
	CHECK_EQ(repaired.result.outcome, BEZ_OUTCOME_ALREADY_GOOD);
	for (i = 0; i < live_page(); i++)
		wrong += lost[i] != 0x5a;
	CHECK_EQ(wrong, 0);
}

/*
 * A page of a private mapping of a memory file, changed since, is empty for a
 * moment. Another thread touches it then: the file has a page there, and he must
 * not be given that one.
 */
static unsigned char *own;
static _Atomic int go, tid, done;

static void *touch(void *arg)
{
	(void)arg;
	tid = (int)syscall(SYS_gettid);
	while (!go)
		sched_yield();
	done = live_read(own);
	return NULL;
}

static void let_it_touch(long nr, const long arg[6])
{
	if (nr != SYS_ioctl || arg[1] != (long)UFFDIO_COPY || go)
		return;
	go = 1;
	while (!done && !live_sleeps(tid))
		sched_yield();
}

static void the_file_is_not_seen(void)
{
	unsigned char *copy = live_pages(1);
	struct bez_source from = bez_source_mirror(copy);
	int fd = memfd_create("own", MFD_CLOEXEC);
	pthread_t thread;

	unit_need_poison();
	CHECK(fd >= 0);
	CHECK_EQ(pwrite(fd, copy, live_page(), 0), live_page());
	own = mmap(NULL, live_page(), PROT_READ | PROT_WRITE, MAP_PRIVATE, fd,
		   0);
	CHECK(own != MAP_FAILED);
	own[0] = copy[0] = 0x77;
	live_start(BEZ_START_NO_WORKER);
	live_region(own, live_page(), &from, "of a memfd");
	live_poison(own);
	CHECK_EQ(pthread_create(&thread, NULL, touch, NULL), 0);
	while (!tid)
		sched_yield();
	double_before(let_it_touch);
	double_watch();
	CHECK_EQ(live_read(own), 0x77);
	double_rest();
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK(go);
	CHECK_EQ(done, 0x77);
	CHECK_EQ(live_read(own), 0x77);
}

/* A variant: how to place, and which kernel to play. */
struct way {
	const char *name;
	uint32_t flags;
	uint32_t kernel;
};

static void every_call(void)
{
	const struct way *way = tap_data();
	uint32_t n, calls, fds, maps, replaced = 0, refused = 0;
	size_t e;

	repair_begin(way->flags);
	/* the first time it may have to learn what memory it is */
	repair_with(0, 0, 0, way->kernel);
	repair_judge(way->name, 0, 0);
	repair_mend();
	repair_with(0, 0, 0, way->kernel);
	repair_judge(way->name, 0, 0);
	CHECK_EQ(repaired.result.outcome, BEZ_OUTCOME_REPLACED);
	calls = repaired.calls;
	repair_mend();
	fds = unit_fds();
	maps = unit_maps();
	for (e = 0; e < COUNT_OF(errors); e++)
		for (n = 1; n <= calls; n++) {
			repair_with(n, 0, errors[e], way->kernel);
			CHECK_EQ(repaired.lies, 1);
			repair_judge(way->name, n, errors[e]);
			replaced += repaired.result.outcome ==
				    BEZ_OUTCOME_REPLACED;
			refused += repaired.result.outcome ==
				   BEZ_OUTCOME_DEFAULT;
			/* a descriptor that is said to be closed is taken for
			 * closed, and rightly so */
			fds += repair_liar() == SYS_fcntl && errors[e] == EBADF;
			repair_mend();
			CHECKF(unit_fds() <= fds, "%s: call %u says %s: a "
			       "descriptor was left open", way->name, n,
			       strerror(errors[e]));
			CHECKF(unit_maps() <= maps + 2, "%s: call %u says %s: "
			       "%u mappings, were %u", way->name, n,
			       strerror(errors[e]), unit_maps(), maps);
		}
	tap_diag("%s: %u calls; replaced %u times, refused %u times",
		 way->name, calls, replaced, refused);
	CHECK(replaced && refused);
}

/* What only a failure calls can fail as well. */
static void every_two_calls(void)
{
	const struct way *way = tap_data();
	uint32_t n, m, calls, replaced = 0, refused = 0;
	size_t e;

	repair_begin(way->flags);
	repair_with(0, 0, 0, way->kernel);
	calls = repaired.calls;
	repair_mend();
	for (e = 0; e < COUNT_OF(errors); e++)
		for (n = 1; n <= calls; n++)
			for (m = n + 1;; m++) {
				repair_with(n, m, errors[e], way->kernel);
				if (repaired.lies < 2) {
					repair_mend();
					break;
				}
				repair_judge(way->name, n * 100 + m, errors[e]);
				replaced += repaired.result.outcome ==
					    BEZ_OUTCOME_REPLACED;
				refused += repaired.result.outcome ==
					   BEZ_OUTCOME_DEFAULT;
				repair_mend();
			}
	tap_diag("%s: replaced %u times, refused %u times", way->name,
		 replaced, refused);
	CHECK(replaced && refused);
}

static const struct way uffd = { "userfaultfd", 0, 0 },
	uffd_5_10 = { "userfaultfd on 5.10", 0, DOUBLE_5_10 },
	uffd_6_1 = { "userfaultfd on 6.1", 0, DOUBLE_6_1 },
	staged = { "mremap", BEZ_START_NO_UFFD, 0 },
	staged_5_10 = { "mremap on 5.10", BEZ_START_NO_UFFD, DOUBLE_5_10 };

#define EACH(way) \
	{ .name = "each call fails: " #way, .run = every_call, .data = &way }, \
	{ .name = "pairs of calls fail: " #way, .run = every_two_calls, \
	  .data = &way }

static const struct tap_case cases[] = {
	EACH(uffd), EACH(uffd_5_10), EACH(uffd_6_1), EACH(staged),
	EACH(staged_5_10),
	{ .name = "what is written while a page is staged stays",
	  .run = what_is_new_stays },
	{ .name = "nobody is given the file's page",
	  .run = the_file_is_not_seen, .timeout_s = 20 },
};
TAP_MAIN(cases)
