/* SPDX-License-Identifier: MIT */
/* The store: what becomes of it when it is old, newer, damaged, or when there is no
 * room; and what goes by age and size. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kin.h"

#define ROWS "SELECT count(*) FROM records"
#define NOBODY 65534
#define HOUR "3600000000000"

static struct kin k;

static void put(int fd, uint64_t from, uint64_t to)
{
	struct bez_record r;
	uint64_t i;

	for (i = from; i <= to; i++) {
		r = kin_record(i);
		CHECK_EQ(kin_send(fd, &r, sizeof(r)), 0);
		kin_acks(fd, 1);
	}
}

static void made_with(uint64_t rows)
{
	int fd;

	kin_make(&k);
	kin_start(&k, "--delay", "0", NULL);
	fd = kin_connect(&k);
	put(fd, 1, rows);
	close(fd);
	kin_stop(&k);
	CHECK_EQ(kin_ask(&k, ROWS), rows);
}

static void newer(void)
{
	made_with(1);
	kin_change(&k, "UPDATE meta SET value = 999 WHERE key = 'schema'");
	kin_refuses(&k, 1, NULL);
	CHECK(kin_has_said(&k, "is a store of version 999"));
	CHECK_EQ(kin_ask(&k, ROWS), 1);
	kin_end(&k);
}

static void foreign(void)
{
	kin_make(&k);
	kin_change(&k, "CREATE TABLE guests (name)");
	kin_refuses(&k, 1, NULL);
	CHECK(kin_has_said(&k, "a database of something else"));
	CHECK_EQ(kin_ask(&k, "SELECT count(*) FROM guests"), 0);
	kin_end(&k);
}

/* An empty file is a store of version 0. */
static void empty(void)
{
	kin_make(&k);
	close(open(k.store, O_WRONLY | O_CREAT, 0640));
	kin_start(&k, NULL);
	CHECK_EQ(kin_ask(&k, "SELECT value FROM meta WHERE key = 'schema'"), 3);
	kin_end(&k);
}

static int asides(void)
{
	char line[160];
	FILE *f;
	int n = -1;

	snprintf(line, sizeof(line), "ls %s | grep -c 'db.aside-.*Z$'",
		 k.folder);
	f = popen(line, "r");
	CHECK(f);
	CHECK_EQ(fscanf(f, "%d", &n), 1);
	pclose(f);
	return n;
}

/* Bytes of another kind over the whole file, or a page of it. */
static void damage(size_t from, size_t len)
{
	int fd = open(k.store, O_WRONLY);
	char bytes[4096];
	size_t at;

	memset(bytes, 0x55, sizeof(bytes));
	CHECK(fd >= 0);
	for (at = from; at < from + len; at += sizeof(bytes))
		CHECK_EQ(pwrite(fd, bytes, sizeof(bytes), (off_t)at),
			 sizeof(bytes));
	close(fd);
}

static const size_t at_its_head = 0, in_the_middle = 3;

static void corrupt(void)
{
	size_t page = *(const size_t *)tap_data();
	int fd;

	made_with(40);
	kin_change(&k, "PRAGMA wal_checkpoint(TRUNCATE)");
	damage(page * 4096, 2 * 4096);
	kin_start(&k, NULL);
	CHECK(kin_has_said(&k, "CANNOT BE USED"));
	CHECK_EQ(asides(), 1);
	CHECK_EQ(kin_ask(&k, ROWS), 0);
	fd = kin_connect(&k);
	put(fd, 1, 1);
	CHECK_EQ(kin_ask(&k, ROWS), 1);
	kin_end(&k);
}

/* It goes bad while it is used. */
static void corrupt_later(void)
{
	struct bez_record r;
	uint64_t i;
	int fd;

	made_with(40);
	kin_change(&k, "PRAGMA wal_checkpoint(TRUNCATE)");
	kin_start(&k, "--delay", "0", NULL);
	/* another index than the rows want is found when they are put */
	damage(4096, 11 * 4096);
	fd = kin_connect(&k);
	/* which takes some; the words are looked for seldom */
	for (i = 1000; i % 64 || !kin_has_said(&k, "CANNOT BE USED"); i++) {
		r = kin_record(i);
		CHECK_EQ(kin_send(fd, &r, sizeof(r)), 0);
		CHECK(kin_acks(fd, 1) == r.digest);
	}
	CHECK_EQ(asides(), 1);
	/* that one was put into the new one, and none after it is missing */
	CHECK_EQ(kin_ask(&k, "SELECT max(id) FROM records"), i - 1);
	CHECK_EQ(kin_ask(&k, "SELECT max(id) - min(id) + 1 - count(*) FROM "
			 "records"), 0);
	kin_end(&k);
}

static void read_only(void)
{
	/* root may write to everything */
	if (!getuid() && (setgid(NOBODY) || setuid(NOBODY)))
		tap_skip("another user is not to be had here");
	if (access(BEZOARD, X_OK))
		tap_skip("another user than root may not run %s", BEZOARD);
	made_with(2);
	CHECK_EQ(chmod(k.store, 0440), 0);
	kin_start(&k, NULL);
	CHECK(kin_has_said(&k, "CANNOT BE USED"));
	CHECK_EQ(asides(), 1);
	CHECK_EQ(kin_ask(&k, ROWS), 0);
	kin_end(&k);
}

static void two(void)
{
	struct kin other;

	kin_make(&k);
	kin_start(&k, NULL);
	other = k;
	snprintf(other.socket, sizeof(other.socket), "%s/other", k.folder);
	kin_refuses(&other, 1, NULL);
	CHECK(kin_has_said(&k, "another bezoard writes to it"));
	snprintf(other.socket, sizeof(other.socket), "%s", k.socket);
	snprintf(other.store, sizeof(other.store), "%s/other.db", k.folder);
	kin_refuses(&other, 1, NULL);
	CHECK(kin_has_said(&k, "another bezoard listens there"));
	kin_end(&k);
}

/* The disk is full: it is said, counted, and it goes on when there is room. */
static void full(void)
{
	enum { MANY = 3000 };
	struct rlimit small = { 262144, RLIM_INFINITY },
		      large = { RLIM_INFINITY, RLIM_INFINITY };
	struct bez_record r;
	long long lost, taken;
	uint64_t i, sent = 0;
	int fd;

	kin_make(&k);
	kin_start(&k, "--delay", "1", NULL);
	CHECK_EQ(prlimit(k.pid, RLIMIT_FSIZE, &small, NULL), 0);
	fd = kin_connect(&k);
	for (i = 1; i <= MANY; i++) {
		r = kin_record(i);
		CHECK_EQ(send(fd, &r, sizeof(r), 0), sizeof(r));
		sent++;
	}
	kin_will_say(&k, "tried again each second");
	CHECK_EQ(prlimit(k.pid, RLIMIT_FSIZE, &large, NULL), 0);
	kin_will_say(&k, "there is room again");
	r = kin_record(MANY + 1);
	CHECK_EQ(send(fd, &r, sizeof(r), 0), sizeof(r));
	kin_wait(&k, ROWS " WHERE id = 3001", 1);
	kin_stop(&k);
	lost = kin_count(&k, "no room");
	taken = kin_count(&k, "taken");
	CHECK(lost > 0);
	CHECK_EQ(taken + lost, sent + 1);
	CHECK_EQ(kin_ask(&k, ROWS), taken);
	kin_end(&k);
}

/* No room to make it what it is to be: it stays what it was, and where it is. */
static void full_at_first(void)
{
	struct rlimit small = { 12000, RLIM_INFINITY },
		      large = { RLIM_INFINITY, RLIM_INFINITY };
	sqlite3 *reader;

	made_with(3);
	kin_change(&k, "DROP TABLE kernel; DROP TABLE deaths; DROP TABLE places;"
		   "ALTER TABLE records DROP COLUMN cgroup;"
		   "UPDATE meta SET value = 1 WHERE key = 'schema'");
	/* the index of the log is there, for who reads: it is larger */
	CHECK_EQ(sqlite3_open(k.store, &reader), SQLITE_OK);
	CHECK_EQ(sqlite3_exec(reader, ROWS, NULL, NULL, NULL), SQLITE_OK);
	CHECK_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
	kin_refuses(&k, 1, NULL);
	CHECK_EQ(setrlimit(RLIMIT_FSIZE, &large), 0);
	sqlite3_close(reader);
	CHECK(!kin_has_said(&k, "CANNOT BE USED"));
	kin_start(&k, NULL);
	CHECK(kin_has_said(&k, "was of version 1"));
	CHECK_EQ(kin_ask(&k, ROWS), 3);
	kin_end(&k);
}

/* Somebody takes it away while it is used: a new one is begun, and that is said. */
static void moved(void)
{
	char away[128];
	int fd;

	made_with(2);
	kin_start(&k, "--delay", "0", NULL);
	fd = kin_connect(&k);
	put(fd, 10, 11);
	snprintf(away, sizeof(away), "%s/away.db", k.folder);
	CHECK_EQ(rename(k.store, away), 0);
	put(fd, 20, 22);
	CHECK(kin_has_said(&k, "HAS BEEN MOVED AWAY"));
	CHECK_EQ(kin_ask(&k, ROWS), 3);
	CHECK_EQ(kin_ask(&k, "SELECT min(id) FROM records"), 20);
	kin_stop(&k);
	/* and what was taken before is all in the old one */
	CHECK_EQ(rename(away, k.store), 0);
	CHECK_EQ(kin_ask(&k, ROWS), 4);
	kin_end(&k);
}

static void by_size(void)
{
	struct bez_record r;
	uint64_t i;
	int fd;

	kin_make(&k);
	kin_start(&k, "--max-size", "1", NULL);
	fd = kin_connect(&k);
	for (i = 1; i <= 5000; i++) {
		r = kin_record(i);
		CHECK_EQ(send(fd, &r, sizeof(r), 0), sizeof(r));
	}
	kin_wait(&k, "SELECT max(id) FROM records", 5000);
	kin_stop(&k);
	CHECK(kin_count(&k, "retired") > 0);
	CHECK_EQ(kin_ask(&k, ROWS) + kin_count(&k, "retired"), 5000);
	CHECK(kin_ask(&k, ROWS) > 1000);
	CHECK_EQ(kin_ask(&k, "SELECT min(id) FROM records"),
		 kin_count(&k, "retired") + 1);
	CHECK(kin_ask(&k, "PRAGMA page_count") * 4096 < 3 << 20);
	kin_end(&k);
}

/* A stranger who fills it takes nothing from others, nor of what the kernel said. */
static void by_user(void)
{
	struct bez_record r;
	uint64_t i;
	int fd;

	kin_make(&k);
	kin_start(&k, "--max-size", "1", "--delay", "5", NULL);
	fd = kin_connect(&k);
	put(fd, 1, 10);
	close(fd);
	kin_stop(&k);
	kin_change(&k, "UPDATE records SET uid = 4711;"
		   "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 "
		   "FROM n WHERE i < 99) INSERT INTO kernel (taken, boot_id, "
		   "seq, wall_ns, kind, frame, dimm, pid, text) SELECT (SELECT "
		   "max(taken) FROM records), x'00', i, 1, 'poison', i, '', 0, "
		   "x'00' FROM n");
	kin_start(&k, "--max-size", "1", NULL);
	fd = kin_connect(&k);
	for (i = 100; i <= 5000; i++) {
		r = kin_record(i);
		CHECK_EQ(send(fd, &r, sizeof(r), 0), sizeof(r));
	}
	kin_wait(&k, "SELECT max(id) FROM records", 5000);
	kin_stop(&k);
	CHECK(kin_count(&k, "retired") > 0);
	CHECK_EQ(kin_ask(&k, ROWS " WHERE uid = 4711"), 10);
	CHECK_EQ(kin_ask(&k, "SELECT count(*) FROM kernel"), 100);
	CHECK(kin_ask(&k, "PRAGMA page_count") * 4096 < 3 << 20);
	kin_end(&k);
}

/* Of each of the tables besides, two rows: of now, and of so many hours before. */
#define OTHERS(hours)							\
	"INSERT INTO kernel (taken, boot_id, seq, wall_ns, kind, frame, dimm, " \
	"pid, text) SELECT t, x'00', i, t, 'poison', i, '', 0, x'00' FROM ("	\
	ROWS_OF(hours) ");"							\
	"INSERT INTO deaths (taken, boot_id, pid, start_ticks, uid, comm, "	\
	"status, told) SELECT t, x'00', i, 1, 0, 'x', 7, 0 FROM ("		\
	ROWS_OF(hours) ");"							\
	"INSERT INTO apart (digest, taken, pid, uid, origin, why, raw) SELECT "	\
	"i, t, i, 0, 0, 'forged', x'00' FROM (" ROWS_OF(hours) ")"
#define ROWS_OF(hours)							\
	"SELECT 1 AS i, max(taken) - " hours " * " HOUR " AS t FROM records "	\
	"UNION ALL SELECT 2, max(taken) FROM records"

static void by_age(void)
{
	made_with(10);
	kin_change(&k, OTHERS("25"));
	kin_change(&k, "UPDATE records SET taken = taken - 25 * " HOUR
		       " WHERE number <= 4");
	kin_start(&k, "--max-age", "1", NULL);
	kin_wait(&k, ROWS, 6);
	CHECK_EQ(kin_ask(&k, "SELECT min(number) FROM records"), 5);
	CHECK_EQ(kin_count(&k, "retired"), 4);
	/* the younger one of each is left */
	CHECK_EQ(kin_ask(&k, "SELECT sum(seq) FROM kernel"), 2);
	CHECK_EQ(kin_count(&k, "kernel lines retired"), 1);
	CHECK_EQ(kin_ask(&k, "SELECT sum(pid) FROM deaths"), 2);
	kin_end(&k);
}

/* The difference to the clock of now, at most, of column @c. */
#define AWAY(c, table)							\
	"SELECT max(abs(" c " / 1000000000 - strftime('%s'))) FROM " table

/* As if the clock had been put forward by two days: nothing is older for that. */
static void clock_set(void)
{
	made_with(10);
	kin_change(&k, OTHERS("0"));
	kin_change(&k, "UPDATE kernel SET taken = taken - 48 * " HOUR ", "
		       "wall_ns = wall_ns - 48 * " HOUR ";"
		       "UPDATE deaths SET taken = taken - 48 * " HOUR ";"
		       "UPDATE apart SET taken = taken - 48 * " HOUR);
	kin_change(&k, "UPDATE meta SET value = value - 48 * " HOUR
		       " WHERE key = 'offset';"
		       "UPDATE records SET taken = taken - 48 * " HOUR ";"
		       "UPDATE meta SET value = value - 48 * " HOUR
		       " WHERE key = 'last loss'");
	kin_start(&k, "--max-age", "1", NULL);
	kin_will_say(&k, "the clock was set by 172");
	kin_stop(&k);
	CHECK_EQ(kin_ask(&k, "SELECT abs(value / 1000000000 - strftime('%s')) "
			     "< 60 FROM meta WHERE key = 'last loss'"), 1);
	CHECK_EQ(kin_ask(&k, ROWS), 10);
	CHECK(kin_ask(&k, AWAY("taken", "records")) < 60);
	CHECK_EQ(kin_ask(&k, "SELECT count(*) FROM kernel, deaths, apart"), 8);
	CHECK(kin_ask(&k, AWAY("taken", "kernel")) < 60);
	CHECK(kin_ask(&k, AWAY("wall_ns", "kernel")) < 60);
	CHECK(kin_ask(&k, AWAY("taken", "deaths")) < 60);
	CHECK(kin_ask(&k, AWAY("taken", "apart")) < 60);
	kin_end(&k);
}

static const struct tap_case cases[] = {
	{ .name = "a newer store is refused, and not touched", .run = newer },
	{ .name = "so is a database of something else", .run = foreign },
	{ .name = "an empty file becomes a store", .run = empty },
	{ .name = "damaged at its head: kept aside", .run = corrupt,
	  .data = &at_its_head },
	{ .name = "damaged in the middle: kept aside", .run = corrupt,
	  .data = &in_the_middle },
	{ .name = "damaged while it is used", .run = corrupt_later },
	{ .name = "read-only: kept aside", .run = read_only },
	{ .name = "there is one daemon for a store and a socket", .run = two },
	{ .name = "no room on the disk", .run = full },
	{ .name = "no room for a newer version", .run = full_at_first },
	{ .name = "moved away while it is used", .run = moved },
	{ .name = "the oldest go by size", .run = by_size },
	{ .name = "of the user who has most", .run = by_user },
	{ .name = "the oldest go by age", .run = by_age },
	{ .name = "a clock that is set makes nothing older",
	  .run = clock_set },
};
TAP_MAIN(cases)
