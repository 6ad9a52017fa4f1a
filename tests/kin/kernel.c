/* SPDX-License-Identifier: MIT */
/*
 * What the kernel says of lost memory is there, once, and stands beside the records
 * that it belongs to, whichever of them came first.
 */
#define _GNU_SOURCE
#include <bezoar/bezoar.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kin.h"

#define LINES "SELECT count(*) FROM kernel"
#define PLACE "SELECT frame FROM places WHERE record = %d"

static struct kin k;
static char log_path[128];
static int log_fd;
static uint64_t seq;

static uint64_t clock_us(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

/* A log of which one read(2) gives one record, like the kernel's. It is to be there
 * as long as the daemon: reading and writing, nobody has to wait for the other. */
static void make_log(void)
{
	snprintf(log_path, sizeof(log_path), "%s/kmsg", k.folder);
	CHECK_EQ(mkfifo(log_path, 0600), 0);
	log_fd = open(log_path, O_RDWR | O_CLOEXEC);
	CHECK_EQ(fcntl(log_fd, F_SETFL, O_DIRECT), 0);
}

static void say_at(uint64_t usec, const char *text)
{
	char line[1024];
	int len = snprintf(line, sizeof(line), "3,%" PRIu64 ",%" PRIu64
			   ",-;%s\n", seq++, usec, text);

	CHECK_EQ(write(log_fd, line, (size_t)len), len);
}

static void say_now(const char *text)
{
	say_at(clock_us(CLOCK_MONOTONIC), text);
}

static void begin(void)
{
	kin_make(&k);
	make_log();
	kin_start(&k, "--kmsg", log_path, "--delay", "1", NULL);
}

/* One of this process that names no frame, now. */
static struct bez_record unnamed(uint64_t id)
{
	struct bez_record r = kin_record(id);
	char text[64];
	size_t half = 0;
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY), i;
	ssize_t n = read(fd, text, sizeof(text));

	close(fd);
	for (i = 0; i < n && half < 32; i++) {
		static const char digits[] = "0123456789abcdef";
		const char *at = text[i] ? strchr(digits, text[i]) : NULL;

		if (!at)
			continue;
		r.boot_id[half / 2] = (uint8_t)(r.boot_id[half / 2] << 4 |
						(at - digits));
		half++;
	}
	CHECK_EQ(half, 32);
	r.mono_ns = clock_us(CLOCK_MONOTONIC) * 1000;
	kin_close_record(&r);
	return r;
}

static struct bez_record of_frame(uint64_t id, uint64_t frame)
{
	struct bez_record r = unnamed(id);

	r.flags |= BEZ_RECORD_HAS_FRAME;
	r.frame = frame;
	kin_close_record(&r);
	return r;
}

static void send_one(const struct bez_record *r)
{
	int fd = kin_connect(&k);

	CHECK_EQ(kin_send(fd, r, sizeof(*r)), 0);
	kin_acks(fd, 1);
	close(fd);
}

static void killed(uint64_t frame, int pid)
{
	char text[160];

	snprintf(text, sizeof(text), "Memory failure: 0x%" PRIx64 ": Sending "
		 "SIGBUS to kin:%d due to hardware memory corruption", frame,
		 pid);
	say_now(text);
}

static void edac(uint64_t frame, const char *label)
{
	char text[256];

	snprintf(text, sizeof(text), "EDAC MC0: 1 UE memory read error on %s "
		 "(channel:0 slot:0 page:0x%" PRIx64 " offset:0x0 grain:32 - "
		 "x)", label, frame);
	say_now(text);
}

static long long place_of(int record)
{
	char sql[128];

	snprintf(sql, sizeof(sql), PLACE, record);
	return kin_ask(&k, sql);
}

static void dimm_is(int record, const char *want)
{
	char sql[128], dimm[512];

	snprintf(sql, sizeof(sql), "SELECT dimm FROM places WHERE record = %d",
		 record);
	kin_ask_text(&k, sql, dimm);
	CHECKF(!strcmp(dimm, want), "record %d is of \"%s\"", record, dimm);
}

/* ------------------------------------------------------------------------ lines */

static void stored(void)
{
	char text[512];
	uint64_t wall = clock_us(CLOCK_REALTIME);
	long long said;

	begin();
	killed(0x12345, 4711);
	say_now("usb 1-1: new high-speed USB device number 2");
	say_at(clock_us(CLOCK_MONOTONIC) - 60000000,
	       "soft offline: 0x12346: invalidated");
	kin_wait(&k, LINES, 2);
	CHECK_EQ(kin_ask(&k, LINES " WHERE kind = 'killed' AND seq = 0 AND "
			 "frame = 0x12345 AND pid = 4711 AND dimm = '' AND "
			 "length(boot_id) = 16 AND taken >= wall_ns"), 1);
	kin_ask_text(&k, "SELECT CAST(text AS TEXT) FROM kernel WHERE seq = 0",
		     text);
	CHECK(!strcmp(text, "Memory failure: 0x12345: Sending SIGBUS to "
		      "kin:4711 due to hardware memory corruption"));
	/* when it was said, by this clock */
	said = kin_ask(&k, "SELECT wall_ns / 1000 FROM kernel WHERE seq = 0");
	CHECKF(said > (long long)wall - 2000000 &&
	       said < (long long)clock_us(CLOCK_REALTIME) + 1000, "%lld",
	       said - (long long)wall);
	/* since the boot the log's clock may have gone wrong by a thousandth, and this
	 * may be the first line that tells */
	said = kin_ask(&k, "SELECT wall_ns / 1000 FROM kernel WHERE seq = 2");
	CHECKF(said > (long long)wall - 62000000 &&
	       said < (long long)wall - 58000000 +
		      (long long)clock_us(CLOCK_MONOTONIC) / 1000, "%lld",
	       said - (long long)wall);
	kin_will_say(&k, "the kernel says of page frame 0x12345");
	CHECK_EQ(kin_count(&k, "kernel lines"), 2);
	kin_end(&k);
}

/* The log begins anew with each reader; what is there is not taken twice, also where
 * the daemon was killed. */
static void restarted(void)
{
	int i;

	begin();
	killed(1, 4711);
	killed(2, 4711);
	kin_wait(&k, LINES, 2);
	for (i = 0; i < 2; i++) {
		kin_kill(&k);
		seq = 0;
		killed(1, 4711);
		killed(2, 4711);
		seq = (uint64_t)(2 + i);
		killed(3, 4711);
		kin_start(&k, "--kmsg", log_path, "--delay", "1", NULL);
		kin_wait(&k, LINES, 3 + i);
	}
	CHECK_EQ(kin_count(&k, "kernel lines"), 4);
	CHECK_EQ(kin_ask(&k, "SELECT count(DISTINCT seq) FROM kernel"), 4);
	kin_end(&k);
}

/* The lines of one event come apart, among others, and the last does not come. */
static void firmware(void)
{
	begin();
	say_now("{1}[Hardware Error]: event severity: recoverable");
	say_now("{1}[Hardware Error]:  Error 0, type: recoverable");
	say_now("{1}[Hardware Error]:   section_type: memory error");
	say_now("Memory failure: 0x77: recovery action for dirty LRU page: "
		"Recovered");
	say_now("{1}[Hardware Error]:   physical_address: 0x0000000000077040");
	say_now("{1}[Hardware Error]:   DIMM location: P1-DIMMC3 BANK 2 ");
	kin_wait(&k, LINES, 2);
	CHECK_EQ(kin_ask(&k, LINES " WHERE kind = 'uncorrected' AND "
			 "frame = 0x77 AND dimm = 'P1-DIMMC3 BANK 2' AND "
			 "seq = 1"), 1);
	/* a daemon that ends does not wait for more of it */
	say_now("{2}[Hardware Error]:  Error 0, type: corrected");
	say_now("{2}[Hardware Error]:   section_type: memory error");
	say_now("{2}[Hardware Error]:   physical_address: 0x0000000000078040");
	say_now("Memory failure: 0x79: already hardware poisoned");
	kin_wait(&k, LINES " WHERE frame = 0x79", 1);
	kin_stop(&k);
	CHECK_EQ(kin_ask(&k, LINES " WHERE kind = 'corrected' AND "
			 "frame = 0x78"), 1);
	kin_end(&k);
}

/* ----------------------------------------------------------------------- frames */

/* The kernel first, then the record; and then the other way round. */
static void named(void)
{
	struct bez_record r;

	begin();
	killed(0x100, getpid());
	kin_wait(&k, LINES, 1);
	r = unnamed(1);
	send_one(&r);
	CHECK_EQ(place_of(1), 0x100);
	dimm_is(1, "");
	/* another page of the same process; the line is read late */
	r = unnamed(2);
	send_one(&r);
	/* for this one the first line was the only one, and is one of a record */
	CHECK_EQ(place_of(2), 0x100);
	kin_change(&k, "DELETE FROM places WHERE record = 2");
	killed(0x200, getpid());
	kin_wait(&k, LINES, 2);
	CHECK_EQ(place_of(2), 0x200);
	CHECK_EQ(place_of(1), 0x100);
	kin_end(&k);
}

/* None of these is the record's. */
static void not_named(void)
{
	struct bez_record r;

	begin();
	/* of another process */
	killed(0x100, getpid() + 1);
	/* of this one, but long ago */
	say_at(clock_us(CLOCK_MONOTONIC) - 30000000, "Memory failure: 0x200: "
	       "Sending SIGBUS to kin:1 due to hardware memory corruption");
	kin_wait(&k, LINES, 2);
	r = unnamed(1);
	send_one(&r);
	CHECK_EQ(place_of(1), -1);
	/* two pages at once: which of them is not known */
	killed(0x300, getpid());
	killed(0x400, getpid());
	kin_wait(&k, LINES, 4);
	kin_change(&k, "DELETE FROM places");
	r = unnamed(2);
	send_one(&r);
	CHECK_EQ(place_of(2), -1);
	/* of no poison, and of another boot */
	kin_change(&k, "DELETE FROM kernel WHERE frame = 0x400");
	r = unnamed(3);
	r.cause = BEZ_CAUSE_CUT;
	kin_close_record(&r);
	send_one(&r);
	CHECK_EQ(place_of(3), -1);
	r = unnamed(4);
	r.boot_id[0] ^= 1;
	kin_close_record(&r);
	send_one(&r);
	CHECK_EQ(place_of(4), -1);
	/* but so it is */
	r = unnamed(5);
	send_one(&r);
	CHECK_EQ(place_of(5), 0x300);
	kin_end(&k);
}

/* The kernel's number is that of the thread. */
static void threads(void)
{
	struct bez_record r;

	begin();
	killed(0x100, 4999999);
	kin_wait(&k, LINES, 1);
	r = unnamed(1);
	r.tid = 4999999;
	kin_close_record(&r);
	send_one(&r);
	CHECK_EQ(place_of(1), 0x100);
	kin_end(&k);
}

/* -------------------------------------------------------------------- modules */

static void modules(void)
{
	struct bez_record r;

	begin();
	edac(0x100, "DIMM_A1");
	kin_wait(&k, LINES, 1);
	r = of_frame(1, 0x100);
	send_one(&r);
	dimm_is(1, "DIMM_A1");
	/* the record first */
	r = of_frame(2, 0x201);
	send_one(&r);
	dimm_is(2, "");
	edac(0x200, "DIMM_B2");		/* of the page beside it */
	kin_wait(&k, LINES, 2);
	dimm_is(2, "");
	edac(0x201, "DIMM_B1");
	kin_wait(&k, LINES, 3);
	dimm_is(2, "DIMM_B1");
	/* all of a huge page is lost by one of its pages */
	r = of_frame(3, 0x800);
	r.width = 2 << 20;
	kin_close_record(&r);
	send_one(&r);
	edac(0xa00, "DIMM_D1");		/* behind it */
	edac(0x9ff, "DIMM_C1");
	kin_wait(&k, LINES, 5);
	/* but how wide it is the kernel says, not who sends a record */
	dimm_is(3, "");
	say_now("Memory failure: 0x9ff: recovery action for huge page: "
		"Recovered");
	kin_wait(&k, LINES, 6);
	dimm_is(3, "DIMM_C1");
	CHECK_EQ(place_of(3), 0x9ff);
	/* the kernel names the frame, and EDAC its module, before all */
	edac(0x300, "DIMM_E1");
	killed(0x300, getpid());
	kin_wait(&k, LINES, 8);
	r = unnamed(4);
	send_one(&r);
	CHECK_EQ(place_of(4), 0x300);
	dimm_is(4, "DIMM_E1");
	/* of another boot, frames are others' */
	r = of_frame(5, 0x100);
	r.boot_id[0] ^= 1;
	kin_close_record(&r);
	send_one(&r);
	dimm_is(5, "");
	kin_end(&k);
}

/* Whoever sends records says which page they are of: that condemns no module. */
static void condemned(void)
{
	static const char named[] = "SELECT count(*) FROM places WHERE dimm <> ''";
	struct bez_record r;
	int fd, i;

	begin();
	say_now("EDAC MC0: 1 CE memory read error on DIMM_A1 (channel:0 slot:0 "
		"page:0x123456 offset:0x0 grain:32 - x)");
	edac(0x223456, "DIMM_B1");
	kin_wait(&k, LINES, 2);
	fd = kin_connect(&k);
	for (i = 1; i <= 20; i++) {
		/* and the very page that was corrected */
		r = of_frame((uint64_t)i, i == 20 ? 0x123456 :
			     0x100000u + (uint64_t)i * 7);
		r.width = i & 1 ? 1u << 30 : 4096;
		kin_close_record(&r);
		CHECK_EQ(kin_send(fd, &r, sizeof(r)), 0);
		kin_acks(fd, 1);
	}
	CHECK_EQ(kin_ask(&k, named), 0);
	/* until the kernel has lost that one */
	say_now("Memory failure: 0x123456: recovery action for dirty LRU page: "
		"Recovered");
	kin_wait(&k, LINES, 3);
	CHECK_EQ(kin_ask(&k, named), 1);
	dimm_is(20, "DIMM_A1");
	/* again and again it is the same, be there a thousand of others between */
	for (i = 21; i <= 1200; i++) {
		r = of_frame((uint64_t)i, i == 1200 ? 0x123456 : 1);
		kin_close_record(&r);
		CHECK_EQ(kin_send(fd, &r, sizeof(r)), 0);
		if (i % 16 == 0)
			kin_acks(fd, 16 - (i < 33 ? 4 : 0));
	}
	kin_wait(&k, "SELECT dimm = 'DIMM_A1' FROM places WHERE record = 1200", 1);
	CHECK_EQ(kin_ask(&k, "SELECT value FROM meta WHERE key = 'sum dimm "
			 "DIMM_A1'"), 1);
	close(fd);
	kin_end(&k);
}

/* "MCE: Killing" names no page: nothing is of the page -1, nor is any less sure. */
static void no_frame(void)
{
	struct bez_record r;
	char text[160];

	begin();
	killed(0x777, getpid());
	snprintf(text, sizeof(text), "MCE: Killing kin:%d due to hardware memory "
		 "corruption fault at 7f0012345000", getpid());
	say_now(text);
	kin_wait(&k, LINES, 2);
	r = unnamed(1);
	send_one(&r);
	CHECK_EQ(place_of(1), 0x777);
	kin_end(&k);
}

/* A frame that a stranger has made up, and a width and times that are absurd. */
static void absurd(void)
{
	struct bez_record r;

	begin();
	killed(0x100, getpid());
	kin_wait(&k, LINES, 1);
	r = of_frame(1, UINT64_MAX);
	send_one(&r);
	CHECK_EQ(place_of(1), -1);
	r = of_frame(2, INT64_MAX);
	r.width = UINT64_MAX;
	kin_close_record(&r);
	send_one(&r);
	CHECK(place_of(2) == INT64_MAX);
	r = unnamed(3);
	r.mono_ns = UINT64_MAX;
	r.width = 1ull << 63;
	kin_close_record(&r);
	send_one(&r);
	edac(0x100, "DIMM_A1");
	say_at(INT64_MAX / 1000, "Memory failure: 0x500: unhandlable page.");
	kin_wait(&k, LINES, 3);
	kin_end(&k);
}

/* ------------------------------------------------------------------------- trouble */

static void no_log(void)
{
	struct bez_record r = kin_record(1);

	kin_make(&k);
	snprintf(log_path, sizeof(log_path), "%s/none", k.folder);
	kin_start(&k, "--kmsg", log_path, NULL);
	CHECK(kin_has_said(&k, "without what the kernel says"));
	send_one(&r);
	kin_end(&k);
}

/* Who writes there goes: that is said, and costs nothing. */
static void ended(void)
{
	begin();
	killed(1, 4711);
	kin_wait(&k, LINES, 1);
	close(log_fd);
	kin_will_say(&k, "the kernel's log has ended");
	kin_end(&k);
}

/* The oldest go where there are too many, and what was told of stays. */
static void many(void)
{
	int i;

	begin();
	for (i = 0; i < 3000; i++)
		killed((uint64_t)i + 1, 4711);
	kin_wait(&k, LINES, 3000);
	kin_wait(&k, "SELECT n > 2000 FROM counts WHERE name = 'not said'", 1);
	kin_stop(&k);
	kin_start(&k, "--max-size", "1", NULL);
	kin_stop(&k);
	kin_change(&k, "WITH RECURSIVE n(i) AS (SELECT 10000 UNION ALL "
		   "SELECT i + 1 FROM n WHERE i < 40000) INSERT INTO kernel "
		   "(taken, boot_id, seq, wall_ns, kind, frame, dimm, pid, "
		   "text) SELECT (SELECT max(taken) FROM kernel), x'00', i, 1, "
		   "'poison', i, '', 0, x'00' FROM n");
	kin_start(&k, "--max-size", "1", NULL);
	kin_wait(&k, "SELECT count(*) BETWEEN 1 AND 25000 FROM kernel", 1);
	CHECK(kin_count(&k, "kernel lines retired") > 5000);
	kin_end(&k);
}

/* What has gone is not new when the log is read again. */
static void gone(void)
{
	int i;

	begin();
	kin_stop(&k);
	for (i = 0; i < 2; i++) {
		kin_start(&k, "--kmsg", log_path, "--delay", "1", "--max-size",
			  "1", NULL);
		for (seq = 0; seq < 600;)
			killed(seq + 1, 4711);
		kin_wait(&k, "SELECT max(seq) FROM kernel", 599);
		kin_stop(&k);
		CHECK_EQ(kin_ask(&k, LINES), 512);
		CHECK_EQ(kin_ask(&k, "SELECT max(number) FROM kernel"), 600);
		CHECK_EQ(kin_count(&k, "kernel lines"), 600);
	}
	kin_end(&k);
}

/* Is that line in the file of metrics? */
static int is_there(const char *path, const char *line)
{
	struct kin as_said = k;

	snprintf(as_said.said, sizeof(as_said.said), "%s", path);
	return kin_has_said(&as_said, line);
}

static void counted(void)
{
	static const char twice[] = "bezoar_dimm_losses_total{dimm=\"A1\"} 2\n";
	static const struct timespec ms = { 0, 2000000 };
	struct bez_record r;
	char metrics[96];

	kin_make(&k);
	make_log();
	snprintf(metrics, sizeof(metrics), "%s/metrics", k.folder);
	kin_start(&k, "--kmsg", log_path, "--metrics", metrics, "--delay", "1",
		  NULL);
	/* one page that is met twice, before it is known where it is; another */
	r = of_frame(1, 0x100);
	send_one(&r);
	r = of_frame(2, 0x100);
	send_one(&r);
	edac(0x100, "A1");
	kin_wait(&k, LINES, 1);
	edac(0x200, "A1");
	kin_wait(&k, LINES, 2);
	r = of_frame(3, 0x200);
	send_one(&r);
	while (!is_there(metrics, twice))
		nanosleep(&ms, NULL);
	CHECK(is_there(metrics, "bezoar_frames 2\n"));
	kin_kill(&k);
	CHECK_EQ(unlink(metrics), 0);
	kin_start(&k, "--kmsg", log_path, "--metrics", metrics, NULL);
	while (!is_there(metrics, "bezoar_up 1"))
		nanosleep(&ms, NULL);
	CHECK(is_there(metrics, twice));
	kin_end(&k);
}

static const struct tap_case cases[] = {
	{ .name = "what the kernel says is stored", .run = stored },
	{ .name = "no line is taken twice by a restart", .run = restarted },
	{ .name = "several lines of firmware make one", .run = firmware },
	{ .name = "a record gets its frame, before or after", .run = named },
	{ .name = "and none that may be another's", .run = not_named },
	{ .name = "the kernel's number is a thread's", .run = threads },
	{ .name = "and its module", .run = modules },
	{ .name = "whose word condemns a module", .run = condemned },
	{ .name = "a line without a page", .run = no_frame },
	{ .name = "absurd numbers", .run = absurd },
	{ .name = "no log", .run = no_log },
	{ .name = "a log that ends", .run = ended },
	{ .name = "many lines", .run = many },
	{ .name = "lines that have gone are not new", .run = gone },
	{ .name = "pages of a module are counted, each once", .run = counted },
};
TAP_MAIN(cases)
