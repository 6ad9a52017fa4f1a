/* SPDX-License-Identifier: MIT */
/* How the kernel's log is read: what was overwritten, and when it was said, by clocks
 * that drift, are set, and by who comes late. With a log and clocks of the test. */
#define _GNU_SOURCE
#include "klog.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tap.h"

#define SECOND 1000000000ll

static int64_t mono, real;		/* ns */
static uint64_t seq, counts[COUNTS];
static struct item taken[64];
static size_t n_taken;
static struct {
	int err;			/* 0: a line */
	int64_t usec;
} log_[64];
static size_t log_from, log_to;

/* ----------------------------------------------------------- what it is given */

int __wrap_clock_gettime(clockid_t clock, struct timespec *ts);
ssize_t __wrap_read(int fd, void *to, size_t len);
const char *const count_names[COUNTS] = { "" };

int __wrap_clock_gettime(clockid_t clock, struct timespec *ts)
{
	int64_t ns = clock == CLOCK_REALTIME ? real : mono;

	ts->tv_sec = ns / SECOND;
	ts->tv_nsec = ns % SECOND;
	return 0;
}

ssize_t __wrap_read(int fd, void *to, size_t len)
{
	(void)fd;
	if (log_from == log_to) {
		errno = EAGAIN;
		return -1;
	}
	if (log_[log_from].err) {
		errno = log_[log_from++].err;
		return errno == ENODATA ? 0 : -1;
	}
	return snprintf(to, len, "3,%" PRIu64 ",%" PRId64 ",-;Memory failure: "
			"0x12345: already hardware poisoned\n", seq++,
			log_[log_from++].usec);
}

uint64_t clock_now(void)
{
	return (uint64_t)mono;
}

struct item *batch_room(struct batch *b)
{
	(void)b;
	return n_taken < 64 ? &taken[n_taken] : NULL;
}

void batch_add(struct batch *b)
{
	(void)b;
	n_taken++;
}

void batch_count(struct batch *b, enum count what, uint64_t n)
{
	(void)b;
	counts[what] += n;
}

void say(const char *fmt, ...)
{
	(void)fmt;
}

static void line(int64_t said_ns)
{
	log_[log_to].usec = said_ns / 1000;
	log_[log_to++].err = 0;
}

static void error(int err)
{
	log_[log_to++].err = err;
}

static struct klog k;
static struct batch b;

static void begin(void)
{
	mono = 1000 * SECOND;
	real = 1700000000 * SECOND;
	klog_open(&k, "/dev/null");
	CHECK(k.fd >= 0);
}

/* The last that was taken was said so long before now. */
static void was(int64_t ns, int64_t by)
{
	int64_t age = real - taken[n_taken - 1].more.kernel.wall_ns;

	CHECKF(age >= ns - by && age <= ns + by, "%" PRId64 " ns ago, and not %"
	       PRId64, age, ns);
}

/* ----------------------------------------------------------------------- cases */

static void overrun(void)
{
	kmsg_page = 1;
	begin();
	CHECK_EQ(kmsg_page, sysconf(_SC_PAGESIZE));
	line(mono);
	error(EPIPE);
	error(EINTR);
	line(mono);
	error(EPIPE);
	klog_turn(&k, &b);
	CHECK_EQ(n_taken, 2);
	CHECK_EQ(counts[COUNT_KERNEL_LOST], 2);
	CHECK(k.fd >= 0);
	error(ENODATA);			/* an end */
	klog_turn(&k, &b);
	CHECK_EQ(k.fd, -1);
	klog_turn(&k, &b);
	CHECK_EQ(n_taken, 2);
}

/* The past, when nothing is known of the log's clock: it began with ours. */
static void past(void)
{
	begin();
	line(400 * SECOND);
	klog_turn(&k, &b);
	was(600 * SECOND, SECOND);
	/* of what is ahead at least that is known */
	line(mono + SECOND / 2);
	line(400 * SECOND);
	k.is_live = 0;
	klog_turn(&k, &b);
	was(600 * SECOND + SECOND / 2, SECOND / 100);
}

/* It drifts; a line that comes now tells how far. */
static void drifts(void)
{
	int i;

	begin();
	klog_turn(&k, &b);
	CHECK(k.is_live);
	for (i = 1; i < 20; i++) {
		mono += 100 * SECOND;
		real += 100 * SECOND;
		line(mono - SECOND / 5 - i * SECOND / 50);	/* 200 ppm */
		klog_turn(&k, &b);
		was(0, SECOND / 1000);
	}
	/* this process comes late: that is no drift */
	line(mono - SECOND / 5 - i * SECOND / 50);
	mono += 30 * SECOND;
	real += 30 * SECOND;
	klog_turn(&k, &b);
	was(30 * SECOND, SECOND / 10);
	/* and the other way: ahead */
	line(mono + SECOND);
	klog_turn(&k, &b);
	was(0, SECOND / 1000);
}

/* The clock is set while a line waits: it was said as long ago as it was. */
static void set(void)
{
	begin();
	klog_turn(&k, &b);
	line(mono);
	mono += 10 * SECOND;
	real += 10 * SECOND + 3600 * SECOND;
	klog_turn(&k, &b);
	was(10 * SECOND, 2 * SECOND);
	CHECK(taken[0].more.kernel.wall_ns > (1700000000ll + 3600) * SECOND);
}

static const struct tap_case cases[] = {
	{ .name = "what was overwritten is counted", .run = overrun },
	{ .name = "what was said before", .run = past },
	{ .name = "a clock that drifts", .run = drifts },
	{ .name = "a clock that is set", .run = set },
};
TAP_MAIN(cases)
