/* SPDX-License-Identifier: MIT */
/* Who has nothing to do does nothing, and takes little room. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "kin.h"

#define LIMIT_KIB 10240

static struct kin k;

/* The number behind @key in a file of /proc/PID. */
static long of_daemon(const char *file, const char *key)
{
	char path[64], line[256];
	long n = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/%s", k.pid, file);
	f = fopen(path, "r");
	CHECK(f);
	while (fgets(line, sizeof(line), f))
		if (!strncmp(line, key, strlen(key)))
			n = strtol(line + strlen(key), NULL, 10);
	fclose(f);
	CHECKF(n >= 0, "%s has no %s", path, key);
	return n;
}

static uint64_t cpu_ns(void)
{
	struct timespec ts;
	clockid_t clock;

	CHECK_EQ(clock_getcpuclockid(k.pid, &clock), 0);
	CHECK_EQ(clock_gettime(clock, &ts), 0);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Until it sleeps for good: it has not been on a processor for a while. */
static long settled(void)
{
	/* metrics wait for a second */
	static const struct timespec while_ = { 1, 200000000 };
	long was, now = -1;

	do {
		was = now;
		nanosleep(&while_, NULL);
		now = of_daemon("status", "voluntary_ctxt_switches:");
	} while (now != was);
	return now;
}

static void idle(void)
{
	static const struct timespec time = { 3, 0 };
	struct bez_record r;
	uint64_t i, cpu;
	char left[96], kmsg[96], metrics[96];
	int fd[64], writer;
	long switches;

	kin_make(&k);
	snprintf(left, sizeof(left), "%s/left", k.folder);
	CHECK_EQ(mkdir(left, 0755), 0);
	snprintf(metrics, sizeof(metrics), "%s/metrics", k.folder);
	snprintf(kmsg, sizeof(kmsg), "%s/kmsg", k.folder);
	CHECK_EQ(mkfifo(kmsg, 0600), 0);
	writer = open(kmsg, O_RDWR);
	CHECK(writer >= 0);
	kin_start(&k, "--files", left, "--kmsg", kmsg, "--metrics", metrics,
		  "--latches", left, NULL);
	for (i = 0; i < 64; i++) {
		fd[i] = kin_connect(&k);
		r = kin_record(i + 1);
		CHECK_EQ(kin_send(fd[i], &r, sizeof(r)), 0);
		kin_acks(fd[i], 1);
	}
	switches = settled();
	cpu = cpu_ns();
	/* what it does in this time is what is measured */
	nanosleep(&time, NULL);
	CHECK_EQ(of_daemon("status", "voluntary_ctxt_switches:"), switches);
	CHECK(cpu_ns() == cpu);
	kin_end(&k);
}

static void small(void)
{
	struct bez_record r;
	long idle_kib, kib;
	char metrics[96];
	uint64_t i;
	int fd;

	kin_make(&k);
	snprintf(metrics, sizeof(metrics), "%s/metrics", k.folder);
	kin_start(&k, "--rate", "1000000", "--metrics", metrics, NULL);
	idle_kib = of_daemon("status", "VmRSS:");
	fd = kin_connect(&k);
	for (i = 1; i <= 20000; i++) {
		r = kin_record(i);
		CHECK_EQ(send(fd, &r, sizeof(r), 0), sizeof(r));
	}
	kin_wait(&k, "SELECT max(id) FROM records", 20000);
	kib = of_daemon("status", "VmHWM:");
	tap_diag("%ld KiB when it has begun, %ld at most", idle_kib, kib);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	CHECKF(idle_kib < LIMIT_KIB && kib < LIMIT_KIB, "%ld, %ld KiB",
	       idle_kib, kib);
#endif
	CHECK(kib > 0);
	kin_end(&k);
}

/* Until the file of metrics has that line. */
static void will_have(const char *path, const char *line)
{
	struct kin as_said = k;

	snprintf(as_said.said, sizeof(as_said.said), "%s", path);
	kin_will_say(&as_said, line);
}

/* Frames are a sender's word, and the store can be large: neither fills the memory, be they
 * counted, or room be made. */
static void full(void)
{
	char metrics[96];
	long kib;

	kin_make(&k);
	snprintf(metrics, sizeof(metrics), "%s/metrics", k.folder);
	kin_start(&k, NULL);
	kin_stop(&k);
	/* number i names the frame i / 2, and that it has one */
	kin_change(&k, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 "
		   "FROM n WHERE i < 300000) INSERT INTO records SELECT NULL, i, "
		   "i, 1, 1, 1, 1, 1, 0, x'00', x'00', 1, 1, 1, zeroblob(12) || "
		   "x'01000000' || zeroblob(112) || CAST(printf('%08d', i / 2) AS "
		   "BLOB) || zeroblob(248), '' FROM n");
	kin_start(&k, "--metrics", metrics, "--max-age", "0", "--max-size",
		  "100", NULL);
	will_have(metrics, "\nbezoar_frames 65536\n");
	kib = of_daemon("status", "VmHWM:");
	tap_diag("%ld KiB at most", kib);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	CHECKF(kib < LIMIT_KIB, "%ld KiB", kib);
#endif
	CHECK(kin_count(&k, "retired") > 0);
	kin_stop(&k);
	/* as many as there are, where that is less */
	kin_change(&k, "DELETE FROM records WHERE number <= 298000");
	kin_start(&k, "--metrics", metrics, "--max-age", "0", NULL);
	will_have(metrics, "\nbezoar_frames 1001\n");
	kin_end(&k);
}

static const struct tap_case cases[] = {
	{ .name = "no processor and no wakeup while nothing happens",
	  .run = idle },
	{ .name = "less than 10 MiB, also after 20,000 records",
	  .run = small },
	{ .name = "nor does what is in a large store take more", .run = full },
};
TAP_MAIN(cases)
