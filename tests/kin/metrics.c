/* SPDX-License-Identifier: MIT */
/* The file for the monitoring system: what is in it is true, and never falls. */
#define _GNU_SOURCE
#include <bezoar/bezoar.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kin.h"

#define ROOM	65536
#define RECORDS	"bezoar_records_total"

static struct kin k;
static char folder[96], file[128], latches[96];
static char text[ROOM];

static void moment(void)
{
	static const struct timespec ms = { 0, 2000000 };

	nanosleep(&ms, NULL);
}

static void make(void)
{
	kin_make(&k);
	snprintf(folder, sizeof(folder), "%s/collected", k.folder);
	snprintf(file, sizeof(file), "%s/bezoar.prom", folder);
	snprintf(latches, sizeof(latches), "%s/run", k.folder);
	CHECK_EQ(mkdir(folder, 0755), 0);
}

/* What is in the file. 0: there is none. */
static int look(void)
{
	int fd = open(file, O_RDONLY);
	ssize_t n;

	if (fd < 0)
		return 0;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	CHECK(n > 0 && n < ROOM - 1);
	text[n] = '\0';
	/* it is whole whenever it is looked at */
	CHECK_EQ(text[n - 1], '\n');
	CHECK(strstr(text, "\nbezoar_store_failing "));
	return 1;
}

/* Of the line that begins with @series; -1: there is none. */
static double value(const char *series)
{
	size_t len = strlen(series);
	const char *at = text;

	for (; at; at = strchr(at, '\n')) {
		at += *at == '\n';
		if (!strncmp(at, series, len) && at[len] == ' ')
			return strtod(at + len, NULL);
	}
	return -1;
}

static double value_now(const char *series)
{
	return look() ? value(series) : -1;
}

static void will_be(const char *series, double n)
{
	while (value_now(series) != n)
		moment();
	CHECK(value(series) == n);
}

/* Of all series of that name. */
static double total(const char *name)
{
	size_t len = strlen(name);
	const char *at = text;
	double n = 0;

	for (; at; at = strchr(at, '\n')) {
		at += *at == '\n';
		if (!strncmp(at, name, len) && at[len] == '{')
			n += strtod(strchr(at, '}') + 1, NULL);
	}
	return n;
}

static void send_it(int fd, struct bez_record *r)
{
	kin_close_record(r);
	CHECK_EQ(send(fd, r, sizeof(*r), 0), sizeof(*r));
}

static void send_as(int fd, uint64_t id, unsigned int outcome,
		    unsigned int cause)
{
	struct bez_record r = kin_record(id);

	r.outcome = (uint16_t)outcome;
	r.cause = (uint16_t)cause;
	send_it(fd, &r);
}

static void counted(void)
{
	struct bez_record r;
	struct stat st;
	int fd;

	make();
	kin_start(&k, "--metrics", file, NULL);
	will_be("bezoar_up", 1);
	CHECK_EQ(stat(file, &st), 0);
	CHECK_EQ(st.st_mode & 07777, 0644);
	/* what will be counted is there before it happens */
	CHECK(value("bezoar_losses_total{content=\"gone\"}") == 0);
	CHECK(value("bezoar_daemon_events_total{what=\"no room\"}") == 0);
	CHECK(value("bezoar_last_record_timestamp_seconds") < 0);
	fd = kin_connect(&k);
	/* no memory was lost by that */
	send_as(fd, 5, BEZ_OUTCOME_FOREIGN, BEZ_CAUSE_SENT);
	/* bez_lost_add() could not close it */
	send_as(fd, 9, BEZ_OUTCOME_LEFT, BEZ_CAUSE_SAID);
	will_be("bezoar_daemon_events_total{what=\"taken\"}", 2);
	CHECK(value("bezoar_last_record_timestamp_seconds") > 0);
	CHECK(value("bezoar_last_loss_timestamp_seconds") < 0);
	send_as(fd, 1, BEZ_OUTCOME_REPLACED, BEZ_CAUSE_POISON_AR);
	send_as(fd, 2, BEZ_OUTCOME_REPLACED, BEZ_CAUSE_POISON_AR);
	send_as(fd, 3, BEZ_OUTCOME_UNWOUND, BEZ_CAUSE_POISON_AR);
	send_as(fd, 4, BEZ_OUTCOME_WAITED, BEZ_CAUSE_POISON_AR);
	send_as(fd, 6, BEZ_OUTCOME_REPLACED, BEZ_CAUSE_POISON_AO);
	/* frames: two records, one page */
	r = kin_record(7);
	r.flags |= BEZ_RECORD_HAS_FRAME;
	r.frame = 0x1234;
	r.took_ns = 3000000;
	send_it(fd, &r);
	r.id = 8;
	r.took_ns = 5000000000;
	send_it(fd, &r);
	kin_acks(fd, 9);
	will_be("bezoar_daemon_events_total{what=\"taken\"}", 9);
	CHECK(value(RECORDS "{outcome=\"O1\",cause=\"C1\"}") == 4);
	CHECK(value(RECORDS "{outcome=\"O1\",cause=\"C2\"}") == 1);
	CHECK(value(RECORDS "{outcome=\"O16\",cause=\"C1\"}") == 1);
	CHECK(value(RECORDS "{outcome=\"O128\",cause=\"C5\"}") == 1);
	CHECK(total(RECORDS) == 9);
	CHECK(value("bezoar_losses_total{content=\"restored\"}") == 5);
	CHECK(value("bezoar_losses_total{content=\"gone\"}") == 1);
	CHECK(value("bezoar_lost_bytes_total{content=\"restored\"}") ==
	      5 * 4096);
	CHECK(value("bezoar_frames") == 1);
	CHECK(value("bezoar_fault_to_resume_seconds_count") == 6);
	CHECK(value("bezoar_fault_to_resume_seconds_bucket{le=\"2e-06\"}") ==
	      4);
	CHECK(value("bezoar_fault_to_resume_seconds_bucket{le=\"0.001\"}") ==
	      4);
	CHECK(value("bezoar_fault_to_resume_seconds_bucket{le=\"0.01\"}") ==
	      5);
	CHECK(value("bezoar_fault_to_resume_seconds_bucket{le=\"1\"}") == 5);
	CHECK(value("bezoar_fault_to_resume_seconds_bucket{le=\"+Inf\"}") ==
	      6);
	CHECK(value("bezoar_fault_to_resume_seconds_sum") == 5.003);
	CHECK(value("bezoar_last_loss_timestamp_seconds") >
	      (double)time(NULL) - 600);
	CHECK(value("bezoar_last_loss_timestamp_seconds") ==
	      value("bezoar_last_record_timestamp_seconds"));
	/* who and where is nobody's business */
	CHECK(!strstr(text, "kin") && !strstr(text, "table") &&
	      !strstr(text, "/tmp"));
	/* a daemon that has ended says so, and takes nothing back */
	kin_stop(&k);
	CHECK(value_now("bezoar_up") == 0);
	CHECK(total(RECORDS) == 9);
	kin_end(&k);
}

static void promtool(void)
{
	char line[256];
	int fd;

	if (system("command -v promtool >/dev/null"))
		tap_skip("promtool is not installed (package prometheus)");
	make();
	kin_start(&k, "--metrics", file, "--latches", latches, NULL);
	fd = kin_connect(&k);
	send_as(fd, 1, BEZ_OUTCOME_REPLACED, BEZ_CAUSE_POISON_AR);
	send_as(fd, 2, 999, 999);
	will_be("bezoar_daemon_events_total{what=\"taken\"}", 2);
	kin_stop(&k);
	kin_change(&k, "INSERT INTO meta VALUES ('sum dimm A\"B\\C' || "
		   "char(10) || 'é', 2);"
		   "CREATE TABLE IF NOT EXISTS places (record INTEGER PRIMARY "
		   "KEY, frame INTEGER NOT NULL, dimm TEXT NOT NULL)");
	snprintf(line, sizeof(line), "%s/web \"1\".json", latches);
	fd = open(line, O_WRONLY | O_CREAT, 0600);
	CHECK_EQ(write(fd, "{\"latched\":true}", 16), 16);
	close(fd);
	kin_start(&k, "--metrics", file, "--latches", latches, NULL);
	will_be("bezoar_latched{name=\"web \\\\\\\"1\\\\\\\"\"}", 1);
	CHECK(value("bezoar_dimm_losses_total{dimm=\"A\\\\\\\"B\\\\\\\\C"
		    "\\\\x0a\\\\xc3\\\\xa9\"}") == 2);
	snprintf(line, sizeof(line), "promtool check metrics <%s 1>&2", file);
	CHECK_EQ(system(line), 0);
	kin_end(&k);
}

/* What is sent by somebody who wants to make trouble. */
static void hostile(void)
{
	struct bez_record r;
	double ns;
	int fd, i;

	make();
	kin_start(&k, "--metrics", file, NULL);
	fd = kin_connect(&k);
	for (i = 0; i < 300; i++) {
		r = kin_record((uint64_t)i + 1);
		r.outcome = (uint16_t)(i < 200 ? 400 + i : BEZ_OUTCOME_REPLACED);
		r.cause = (uint16_t)(i < 200 ? 300 + i : BEZ_CAUSE_POISON_AR);
		r.took_ns = r.width = UINT64_MAX;
		strcpy(r.comm, "\n# HELP x\n");
		strcpy(r.name, "\"} 1\n");
		send_it(fd, &r);
	}
	kin_acks(fd, 300);
	will_be("bezoar_daemon_events_total{what=\"taken\"}", 300);
	CHECK(value(RECORDS "{outcome=\"other\",cause=\"other\"}") == 200);
	CHECK(total(RECORDS) == 300);
	ns = value("bezoar_fault_to_resume_seconds_sum");
	CHECKF(ns == 100 * 60.0, "%f", ns);
	CHECK(value("bezoar_lost_bytes_total{content=\"restored\"}") ==
	      100.0 * (1 << 30));
	CHECK(!strstr(text, "# HELP x"));
	kin_stop(&k);
	/* a sum that is full stays where it is */
	kin_change(&k, "UPDATE meta SET value = 9000000000000000000 - 1 WHERE "
		   "key = 'sum bytes restored'");
	kin_start(&k, "--metrics", file, NULL);
	fd = kin_connect(&k);
	send_as(fd, 1000, BEZ_OUTCOME_REPLACED, BEZ_CAUSE_POISON_AR);
	will_be("bezoar_losses_total{content=\"restored\"}", 101);
	CHECK(value("bezoar_lost_bytes_total{content=\"restored\"}") > 8.9e18);
	kin_end(&k);
}

/* Rows go by size; what was counted of them stays, after a restart, too. */
static void retired(void)
{
	struct bez_record r;
	uint64_t i;
	int fd;

	make();
	kin_start(&k, "--metrics", file, "--max-size", "1", NULL);
	fd = kin_connect(&k);
	for (i = 1; i <= 5000; i++) {
		r = kin_record(i);
		CHECK_EQ(send(fd, &r, sizeof(r), 0), sizeof(r));
	}
	will_be(RECORDS "{outcome=\"O1\",cause=\"C1\"}", 5000);
	kin_stop(&k);
	CHECK(kin_count(&k, "retired") > 0);
	kin_start(&k, "--metrics", file, "--max-size", "1", NULL);
	will_be("bezoar_up", 1);
	CHECK(value(RECORDS "{outcome=\"O1\",cause=\"C1\"}") == 5000);
	CHECK(value("bezoar_losses_total{content=\"restored\"}") == 5000);
	CHECK(value("bezoar_daemon_events_total{what=\"retired\"}") > 0);
	CHECK(value("bezoar_store_bytes") < 2 << 20);
	kin_end(&k);
}

/* A store of before there were sums: its rows are counted, once. */
static void older(void)
{
	int fd;

	make();
	kin_start(&k, NULL);
	fd = kin_connect(&k);
	send_as(fd, 1, BEZ_OUTCOME_REPLACED, BEZ_CAUSE_POISON_AR);
	send_as(fd, 2, BEZ_OUTCOME_UNWOUND, BEZ_CAUSE_POISON_AR);
	kin_acks(fd, 2);
	kin_stop(&k);
	kin_change(&k, "DELETE FROM meta WHERE key GLOB 'sum*' OR "
		   "key = 'last loss'");
	kin_start(&k, "--metrics", file, NULL);
	will_be(RECORDS "{outcome=\"O16\",cause=\"C1\"}", 1);
	CHECK(total(RECORDS) == 2);
	CHECK(value("bezoar_last_loss_timestamp_seconds") ==
	      value("bezoar_last_record_timestamp_seconds"));
	kin_stop(&k);
	kin_start(&k, "--metrics", file, NULL);
	will_be("bezoar_up", 1);
	CHECK(total(RECORDS) == 2);
	kin_end(&k);
}

/* Somebody who sends for ever, to whatever daemon there is. */
static void sender(void)
{
	struct bez_record r;
	uint64_t i = 1;
	int fd;

	tap_apart();
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		fd = kin_connect(&k);
		if (fd < 0) {
			moment();
			continue;
		}
		do {
			r = kin_record(i++);
			r.took_ns = i * 1000;
			kin_close_record(&r);
		} while (send(fd, &r, sizeof(r), MSG_NOSIGNAL) == sizeof(r));
		close(fd);
	}
}

static int is_counter(const char *line)
{
	return strstr(line, "_total{") || strstr(line, "_total ") ||
	       strstr(line, "_seconds_bucket{") ||
	       strstr(line, "_seconds_sum ") || strstr(line, "_seconds_count ");
}

/* Each counter of @before is there and not less. Returns how many there are. */
static int compare(char *before)
{
	char *line, *rest = before, *end;
	double was, is;
	int n = 0;

	while ((line = strsep(&rest, "\n"))) {
		if (*line == '#' || !is_counter(line))
			continue;
		end = strrchr(line, ' ');
		*end = '\0';
		was = strtod(end + 1, NULL);
		is = value(line);
		CHECKF(is >= was, "%s was %.15g and is %.15g", line, was, is);
		n++;
	}
	return n;
}

/* The one that was there is not there any more. */
static void another(ino_t *ino)
{
	struct stat st;

	while (stat(file, &st) || st.st_ino == *ino)
		moment();
	*ino = st.st_ino;
}

static void killed(void)
{
	static char before[ROOM];
	double first = -1, last = 0;
	struct timespec pause;
	int kills, compared = 0;
	ino_t ino = 0;
	pid_t pid;

	make();
	pid = fork();
	if (!pid)
		sender();
	for (kills = 0; kills < 12; kills++) {
		kin_start(&k, "--metrics", file, "--delay", "1", "--max-size",
			  "1", "--rate", "1000000", NULL);
		another(&ino);
		/* some are killed when they have written again */
		if (kills % 5 == 4)
			another(&ino);
		CHECK(look());
		if (*before)
			compared += compare(before);
		/* at another moment of the daemon's each time */
		pause = (struct timespec){ 0, kills % 7 * 40000000 };
		nanosleep(&pause, NULL);
		kin_kill(&k);
		CHECK(look());
		last = value(RECORDS "{outcome=\"O1\",cause=\"C1\"}");
		if (first < 0)
			first = last;
		strcpy(before, text);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	kin_start(&k, "--metrics", file, NULL);
	kin_stop(&k);
	CHECK(look());
	compared += compare(before);
	CHECKF(compared > 12 * 20, "%d counters were compared", compared);
	/* and they are those of the store */
	CHECK(total(RECORDS) == (double)kin_count(&k, "taken"));
	CHECK_EQ(kin_ask(&k, "SELECT count(*) FROM records") +
		 kin_count(&k, "retired"), kin_count(&k, "taken"));
	CHECKF(last > first, "%f, %f", first, last);
	tap_diag("killed %d times, %.0f records", kills, total(RECORDS));
	kin_end(&k);
}

/* How often the file was put in its place, since the last time. */
static int writes(int notify)
{
	char events[4096] __attribute__((aligned(8)));
	ssize_t n = read(notify, events, sizeof(events)), at = 0;
	int puts = 0;

	while (at < n) {
		const struct inotify_event *e = (const void *)(events + at);

		puts += !!(e->mask & IN_MOVED_TO);
		at += (ssize_t)sizeof(*e) + e->len;
	}
	return puts;
}

static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void seldom(void)
{
	static const struct timespec while_ = { 1, 500000000 };
	int notify = inotify_init1(IN_NONBLOCK), fd, n;
	double began, took;
	uint64_t i = 1;

	make();
	/* with what comes between, as two that are the same become one */
	CHECK(inotify_add_watch(notify, folder, IN_CREATE | IN_MOVED_TO) >= 0);
	kin_start(&k, "--metrics", file, "--delay", "1", NULL);
	fd = kin_connect(&k);
	began = seconds();
	while (seconds() - began < 2.5) {
		send_as(fd, i++, BEZ_OUTCOME_REPLACED, BEZ_CAUSE_POISON_AR);
		kin_acks(fd, 1);
	}
	will_be(RECORDS "{outcome=\"O1\",cause=\"C1\"}", (double)(i - 1));
	took = seconds() - began;
	n = writes(notify);
	tap_diag("%d times in %.1f s, with %d commits", n, took, (int)i - 1);
	CHECK(n >= 2 && n <= (int)took + 2);
	/* nothing is committed in this time */
	nanosleep(&while_, NULL);
	CHECK_EQ(writes(notify), 0);
	/* something is */
	send_as(fd, 1, BEZ_OUTCOME_STALE, BEZ_CAUSE_POISON_AR);
	will_be(RECORDS "{outcome=\"O6\",cause=\"C1\"}", 1);
	CHECK_EQ(writes(notify), 1);
	kin_end(&k);
}

static void put_latch(const char *name, const char *content, size_t len)
{
	char path[256], fresh[256];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", latches, name);
	snprintf(fresh, sizeof(fresh), "%s/fresh", latches);
	fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	CHECK(fd >= 0);
	CHECK_EQ(write(fd, content, len), len);
	close(fd);
	CHECK_EQ(rename(fresh, path), 0);
}

static void latched(void)
{
	static const char yes[] = "{\"version\":1,\"latched\":true,\"why\":\"x\"}",
			  no[] = "{\"latched\":false}",
			  neither[] = "{\"latched\":\"true\"}",
			  torn[] = "{\"latched\":true",
			  why[] = "{\"latched\":{\"why\":\"x\"}}",
			  null[] = "{\"latched\":null}";
	static char large[(1 << 20) + 1];
	char path[160];

	make();
	kin_start(&k, "--metrics", file, "--latches", latches, NULL);
	will_be("bezoar_up", 1);
	CHECK(!strstr(text, "bezoar_latched{"));
	memset(large, ' ', sizeof(large));
	memcpy(large, yes, sizeof(yes) - 1);
	put_latch("large.json", large, sizeof(large));
	put_latch("neither.json", neither, sizeof(neither) - 1);
	put_latch("torn.json", torn, sizeof(torn) - 1);
	put_latch("array.json", "[1]", 3);
	put_latch("other.txt", yes, sizeof(yes) - 1);
	snprintf(path, sizeof(path), "%s/link.json", latches);
	CHECK_EQ(symlink("web.json", path), 0);
	put_latch("db.json", no, sizeof(no) - 1);
	put_latch("cache.json", null, sizeof(null) - 1);
	put_latch("mail.json", why, sizeof(why) - 1);
	put_latch("web.json", yes, sizeof(yes) - 1);
	put_latch("z\n\x80\".json", yes, sizeof(yes) - 1);
	will_be("bezoar_latched{name=\"z\\\\x0a\\\\x80\\\\\\\"\"}", 1);
	CHECK(value("bezoar_latched{name=\"web\"}") == 1);
	CHECK(value("bezoar_latched{name=\"db\"}") == 0);
	CHECK(value("bezoar_latched{name=\"cache\"}") == 0);
	CHECK(value("bezoar_latched{name=\"mail\"}") == 1);
	CHECK(total("bezoar_latched") == 3);
	/* cleared */
	put_latch("web.json", no, sizeof(no) - 1);
	will_be("bezoar_latched{name=\"web\"}", 0);
	snprintf(path, sizeof(path), "%s/web.json", latches);
	CHECK_EQ(unlink(path), 0);
	will_be("bezoar_latched{name=\"web\"}", -1);
	kin_end(&k);
}

/* A folder that is not there: records are taken all the same. */
static void nowhere(void)
{
	int fd;

	make();
	CHECK_EQ(rmdir(folder), 0);
	kin_start(&k, "--metrics", file, NULL);
	kin_will_say(&k, "it cannot be written, and is tried again");
	fd = kin_connect(&k);
	send_as(fd, 1, BEZ_OUTCOME_REPLACED, BEZ_CAUSE_POISON_AR);
	kin_acks(fd, 1);
	CHECK_EQ(mkdir(folder, 0755), 0);
	will_be(RECORDS "{outcome=\"O1\",cause=\"C1\"}", 1);
	kin_will_say(&k, "it is written again");
	kin_stop(&k);
	kin_refuses(&k, 2, "--latches", latches, NULL);
	kin_end(&k);
}

/* A store that is gone and cannot be had again is not a healthy one. */
static void no_store(void)
{
	struct bez_record r = kin_record(1);
	char sub[96], away[96];

	make();
	snprintf(sub, sizeof(sub), "%s/sub", k.folder);
	snprintf(away, sizeof(away), "%s/away", k.folder);
	snprintf(k.store, sizeof(k.store), "%s/sub/db", k.folder);
	CHECK_EQ(mkdir(sub, 0755), 0);
	kin_start(&k, "--metrics", file, "--delay", "1", NULL);
	will_be("bezoar_store_failing", 0);
	CHECK_EQ(rename(sub, away), 0);
	CHECK_EQ(kin_send(kin_connect(&k), &r, sizeof(r)), 0);
	will_be("bezoar_store_failing", 1);
	CHECK_EQ(value("bezoar_up"), 1);
	CHECK(strstr(text, "bezoar_build_info{"));
	/* and when it can */
	CHECK_EQ(rename(away, sub), 0);
	will_be("bezoar_store_failing", 0);
	CHECK_EQ(kin_ask(&k, "SELECT count(*) FROM records"), 1);
	kin_end(&k);
}

static const struct tap_case cases[] = {
	{ .name = "records are counted, and nobody is named", .run = counted },
	{ .name = "promtool has nothing to say of it", .run = promtool },
	{ .name = "nonsense has its limits", .run = hostile },
	{ .name = "rows go, counters stay", .run = retired },
	{ .name = "rows of an older store are counted once", .run = older },
	{ .name = "killed at any moment: no counter falls", .run = killed,
	  .timeout_s = 120 },
	{ .name = "once a second, and not while nothing changes",
	  .run = seldom },
	{ .name = "what is latched", .run = latched },
	{ .name = "nowhere to write it to", .run = nowhere },
	{ .name = "no store any more", .run = no_store, .timeout_s = 20 },
};
TAP_MAIN(cases)
