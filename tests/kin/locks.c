/* SPDX-License-Identifier: MIT */
/* The store and its lock go together: one bezoard writes under a name, wherever what was
 * there before has been moved to. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "kin.h"

#define ROWS "SELECT count(*) FROM records"

static struct kin k, other;
static int sender;

static void put(uint64_t id)
{
	struct bez_record r = kin_record(id);

	CHECK_EQ(kin_send(sender, &r, sizeof(r)), 0);
	kin_acks(sender, 1);
}

/* It waits in memory: nobody can acknowledge it. */
static void send_only(uint64_t id)
{
	struct bez_record r = kin_record(id);

	CHECK_EQ(kin_send(sender, &r, sizeof(r)), 0);
}

static void begin(void)
{
	char old[96];

	kin_make(&k);
	snprintf(old, sizeof(old), "%s/old", k.folder);
	CHECK_EQ(mkdir(old, 0700), 0);
	kin_start(&k, "--delay", "0", NULL);
	sender = kin_connect(&k);
	put(1);
	put(2);
	other = k;
	snprintf(other.socket, sizeof(other.socket), "%s/other", k.folder);
	snprintf(other.said, sizeof(other.said), "%s/other-said", k.folder);
}

static void shell(const char *fmt)
{
	char line[512];

	snprintf(line, sizeof(line), "cd %s && ", k.folder);
	strcat(line, fmt);
	CHECK_EQ(system(line), 0);
}

static void end(void)
{
	close(sender);
	kin_end(&k);
}

/* As anybody would move it. */
static void together(void)
{
	begin();
	shell("mv records.db* old/");
	put(20);
	CHECK(kin_has_said(&k, "HAS BEEN MOVED AWAY"));
	CHECK_EQ(kin_ask(&k, "SELECT min(id) FROM records"), 20);
	/* the name is still its own; the old one is free */
	kin_refuses(&other, 1, NULL);
	CHECK(kin_has_said(&other, "another bezoard writes to it"));
	snprintf(other.store, sizeof(other.store), "%s/old/records.db",
		 k.folder);
	kin_start(&other, NULL);
	CHECK_EQ(kin_ask(&other, ROWS), 2);
	kin_stop(&other);
	put(21);
	CHECK_EQ(kin_ask(&k, ROWS), 2);
	end();
}

static void alone(void)
{
	begin();
	shell("mv records.db.lock old/");
	put(3);
	CHECK_EQ(kin_ask(&k, ROWS), 3);
	kin_refuses(&other, 1, NULL);
	CHECK(kin_has_said(&other, "another bezoard writes to it"));
	CHECK(!kin_has_said(&k, "MOVED"));
	end();
}

/* Somebody else has it by then: two never write. */
static void taken(void)
{
	int i;

	begin();
	shell("rm records.db.lock");
	kin_start(&other, NULL);
	send_only(3);
	kin_will_say(&k, "another bezoard writes to it");
	/* two of its turns, of a second */
	for (i = 0; i < 22; i++) {
		CHECK_EQ(kin_ask(&k, ROWS), 2);
		poll(NULL, 0, 100);
	}
	kin_stop(&other);
	kin_acks(sender, 1);
	CHECK(kin_has_said(&k, "it can be opened again"));
	CHECK_EQ(kin_ask(&k, ROWS), 3);
	end();
}

/* What was put in its place is none of its own. */
static void another(void)
{
	begin();
	shell("mv records.db* old/ && echo 'of mine' >records.db");
	send_only(3);
	kin_will_say(&k, "records.db is a database of something else, or none: "
		     "it was not touched");
	shell("test \"$(cat records.db)\" = 'of mine' && "
	      "test ! -e records.db.lock && rm records.db");
	kin_acks(sender, 1);
	CHECK(kin_has_said(&k, "it can be opened again"));
	CHECK_EQ(kin_ask(&k, "SELECT max(id) + count(*) FROM records"), 4);
	end();
}

/* It is killed, and only the file is moved: what is in its log is kept. */
static void log_left(void)
{
	begin();
	close(sender);
	kin_kill(&k);
	shell("mv records.db old/");
	kin_start(&k, "--delay", "0", NULL);
	sender = kin_connect(&k);
	CHECK(kin_has_said(&k, "IS THE LOG OF A STORE"));
	put(30);
	CHECK_EQ(kin_ask(&k, ROWS), 1);
	close(sender);
	kin_stop(&k);
	shell("mv records.db.aside-*Z-wal old/records.db-wal && "
	      "mv old/records.db old/records.db-wal . && rm -f records.db-shm");
	CHECK_EQ(kin_ask(&k, ROWS), 2);
	kin_end(&k);
}

/* By a link it is the same store. */
static void by_a_link(void)
{
	begin();
	shell("ln -s records.db by-a-link");
	snprintf(other.store, sizeof(other.store), "%s/by-a-link", k.folder);
	kin_refuses(&other, 1, NULL);
	CHECK(kin_has_said(&other, "another bezoard writes to it"));
	close(sender);
	kin_stop(&k);
	kin_start(&other, NULL);
	CHECK_EQ(kin_ask(&k, ROWS), 2);
	kin_stop(&other);
	shell("test ! -e by-a-link.lock && test -L by-a-link");
	kin_end(&k);
}

/* Somebody reads the old one, and hangs: what comes is not held up each time. */
static void a_reader_hangs(void)
{
	struct timespec from, to;
	sqlite3 *reader;
	uint64_t id;

	begin();
	CHECK_EQ(sqlite3_open(k.store, &reader), SQLITE_OK);
	CHECK_EQ(sqlite3_exec(reader, "BEGIN; SELECT count(*) FROM records",
			      NULL, NULL, NULL), SQLITE_OK);
	put(3);
	shell("mv records.db* old/");
	put(4);
	CHECK(kin_has_said(&k, "until its log can be closed"));
	clock_gettime(CLOCK_MONOTONIC, &from);
	for (id = 5; id < 10; id++)
		put(id);
	clock_gettime(CLOCK_MONOTONIC, &to);
	/* two seconds each, it was */
	CHECK(to.tv_sec - from.tv_sec < 5);
	sqlite3_close(reader);
	put(20);
	CHECK_EQ(kin_ask(&k, ROWS), 1);
	end();
}

static void no_folder(void)
{
	char words[128];

	kin_make(&k);
	snprintf(k.store, sizeof(k.store), "%s/none/records.db", k.folder);
	kin_refuses(&k, 1, NULL);
	snprintf(words, sizeof(words), "no such folder. Make it: mkdir -m 751 "
		 "%s/none\n", k.folder);
	CHECK(kin_has_said(&k, words));
	kin_end(&k);
}

static const struct tap_case cases[] = {
	{ .name = "moved away, all of it", .run = together },
	{ .name = "moved away, the lock alone", .run = alone },
	{ .name = "another bezoard has taken it meanwhile", .run = taken },
	{ .name = "something else in its place", .run = another },
	{ .name = "a log that was left behind", .run = log_left },
	{ .name = "by a link", .run = by_a_link },
	{ .name = "a reader that hangs", .run = a_reader_hangs },
	{ .name = "no folder for it", .run = no_folder },
};
TAP_MAIN(cases)
