/* SPDX-License-Identifier: MIT */
/* What processes have left in files is taken, each record once. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kin.h"

#define ROWS "SELECT count(*) FROM records"

static struct kin k;
static char folder[96];

static void begin(void)
{
	kin_make(&k);
	snprintf(folder, sizeof(folder), "%s/left", k.folder);
	CHECK_EQ(mkdir(folder, 0755), 0);
}

static void append(const char *name, const void *bytes, size_t len)
{
	char path[160];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0644);
	CHECK(fd >= 0);
	CHECK_EQ(write(fd, bytes, len), len);
	close(fd);
}

/* Of a process that has died, whatever its number. */
static struct bez_record left(uint64_t id)
{
	struct bez_record r = kin_record(id);

	r.pid = 4000000 + (int)id / 1000;
	kin_close_record(&r);
	return r;
}

static void append_records(const char *name, uint64_t from, uint64_t to)
{
	struct bez_record r;

	for (; from <= to; from++) {
		r = left(from);
		append(name, &r, sizeof(r));
	}
}

static void once(void)
{
	char path[160], other[160];

	begin();
	append_records("a", 1, 700);
	append_records("b\n\033", 701, 710);
	kin_start(&k, "--files", folder, NULL);
	kin_wait(&k, ROWS, 710);
	kin_stop(&k);
	kin_start(&k, "--files", folder, NULL);
	/* what is appended while it runs; and a signal is no reason to end */
	CHECK_EQ(kill(k.pid, SIGHUP), 0);
	append_records("a", 711, 720);
	kin_wait(&k, ROWS, 720);
	/* how far it has come is noted behind what it has taken */
	kin_wait(&k, "SELECT at FROM files WHERE name = x'61'",
		 710 * (long long)sizeof(struct bez_record));
	kin_kill(&k);
	append_records("c", 721, 721);
	kin_start(&k, "--files", folder, NULL);
	kin_wait(&k, ROWS, 721);
	CHECK_EQ(kin_count(&k, "taken"), 721);
	CHECK_EQ(kin_count(&k, "again"), 0);
	CHECK_EQ(kin_ask(&k, ROWS " WHERE origin = 1"), 721);
	/* the same under another name */
	snprintf(path, sizeof(path), "%s/a", folder);
	snprintf(other, sizeof(other), "%s/a.1", folder);
	CHECK_EQ(rename(path, other), 0);
	kin_wait(&k, "SELECT n FROM counts WHERE name = 'again'", 710);
	CHECK_EQ(kin_ask(&k, ROWS), 721);
	kin_end(&k);
}

static void torn(void)
{
	struct bez_record r = left(2);

	begin();
	append_records("a", 1, 1);
	append("a", &r, 100);
	kin_start(&k, "--files", folder, NULL);
	kin_will_say(&k, "the last 100 bytes are no whole record");
	kin_wait(&k, "SELECT n FROM counts WHERE name = 'torn'", 1);
	CHECK_EQ(kin_ask(&k, ROWS), 1);
	kin_stop(&k);
	/* it is not said again; and who comes behind it is found */
	kin_start(&k, "--files", folder, NULL);
	append_records("b", 5, 5);
	kin_wait(&k, ROWS, 2);
	CHECK_EQ(kin_count(&k, "torn"), 1);
	append_records("a", 3, 3);
	kin_wait(&k, ROWS, 3);
	CHECK_EQ(kin_count(&k, "skipped"), 1);
	kin_end(&k);
}

/* Its writer had not come to the end yet. */
static void late(void)
{
	struct bez_record r = left(1);

	begin();
	append("a", &r, 100);
	kin_start(&k, "--files", folder, NULL);
	kin_will_say(&k, "the last 100 bytes");
	append("a", (char *)&r + 100, sizeof(r) - 100);
	kin_wait(&k, ROWS, 1);
	kin_end(&k);
}

/* Whatever somebody puts there: nothing hangs, and the rest is taken. */
static void strange(void)
{
	char path[160], text[3000];

	begin();
	memset(text, 'x', sizeof(text));
	snprintf(path, sizeof(path), "%s/fifo", folder);
	CHECK_EQ(mkfifo(path, 0644), 0);
	snprintf(path, sizeof(path), "%s/link", folder);
	CHECK_EQ(symlink("/dev/zero", path), 0);
	snprintf(path, sizeof(path), "%s/dir", folder);
	CHECK_EQ(mkdir(path, 0755), 0);
	append("text", text, sizeof(text));
	append_records("text", 1, 1);
	kin_start(&k, "--files", folder, NULL);
	kin_wait(&k, ROWS, 1);
	CHECK(kin_count(&k, "skipped") >= 1);
	kin_end(&k);
}

/* The folder of bezoar run, where the records are not alone: the others are no damaged ones,
 * however often they are written. */
static void of_run(void)
{
	static const char text[] = "{\"version\":1,\"latched\":null}";
	int i;

	begin();
	append_records("shop.records.old", 1, 3);
	append_records("shop.records", 4, 5);
	append("shop.json", text, sizeof(text));
	append("shop.lock", text, sizeof(text));
	append(".lock", text, sizeof(text));
	kin_start(&k, "--files", folder, NULL);
	kin_wait(&k, ROWS, 5);
	for (i = 0; i < 3; i++)
		append("shop.json", text, sizeof(text));
	append("shop.new", text, sizeof(text));
	append_records("shop.records", 6, 6);
	kin_wait(&k, ROWS, 6);
	kin_stop(&k);
	CHECK_EQ(kin_count(&k, "skipped") + kin_count(&k, "torn"), 0);
	CHECK(!kin_has_said(&k, "no whole record"));
	kin_end(&k);
}

/* Whose death it was is not for another user to tell. */
static void others(void)
{
	struct bez_record r = left(1);
	char path[160], sql[256];
	int i;

	if (getuid())
		tap_skip("files of other users are to be made: run as root");
	begin();
	kin_start(&k, NULL);
	kin_stop(&k);
	snprintf(sql, sizeof(sql), "INSERT INTO deaths (taken, boot_id, pid, "
		 "start_ticks, uid, comm, status, told) VALUES (1, zeroblob(16), "
		 "%d, 4711, 1000, 'x', 7, 0)", r.pid);
	kin_change(&k, sql);
	for (i = 0; i < 2; i++) {
		r = left((uint64_t)i + 1);
		r.start_ticks = 4711;
		memset(r.boot_id, 0, sizeof(r.boot_id));
		kin_close_record(&r);
		append(i ? "b" : "a", &r, sizeof(r));
		snprintf(path, sizeof(path), "%s/%s", folder, i ? "b" : "a");
		CHECK_EQ(chown(path, i ? 1000 : 65534, (gid_t)-1), 0);
		kin_start(&k, "--max-age", "0", "--files", folder, NULL);
		kin_wait(&k, ROWS, i + 1);
		kin_stop(&k);
		CHECK_EQ(kin_ask(&k, "SELECT told FROM deaths"), i ? 2 : 0);
	}
	kin_end(&k);
}

static void missing(void)
{
	kin_make(&k);
	kin_refuses(&k, 1, "--files", "/nowhere/at/all", NULL);
	kin_refuses(&k, 2, "--files", "/tmp", "--files", "/var", NULL);
	CHECK(kin_has_said(&k, "one folder can be read, and that is /tmp"));
	CHECK(kin_has_said(&k, "/nowhere/at/all: No such file"));
	kin_end(&k);
}

static void refuses(const char *dir)
{
	unlink(k.said);
	kin_refuses(&k, 1, "--files", dir, NULL);
	CHECK(kin_has_said(&k, "holds the store"));
}

/* A folder that holds the store, by whatever name: nothing is made, nor changed. */
static void store(void)
{
	char real[96], other[160];

	begin();
	refuses(k.folder);
	CHECK_EQ(access(k.store, F_OK), -1);
	snprintf(other, sizeof(other), "%s.lock", k.store);
	CHECK_EQ(access(other, F_OK), -1);
	snprintf(other, sizeof(other), "%s/../", folder);
	refuses(other);
	snprintf(other, sizeof(other), "%s/link", folder);
	CHECK_EQ(symlink(k.folder, other), 0);
	refuses(other);
	/* one beside it is another; and one below it, which is not looked into */
	append_records("a", 1, 3);
	kin_start(&k, "--files", folder, NULL);
	kin_wait(&k, ROWS, 3);
	kin_stop(&k);
	/* the store's name is a link, in there or to there */
	strcpy(real, k.store);
	snprintf(k.store, sizeof(k.store), "%s/left/db", k.folder);
	CHECK_EQ(symlink(real, k.store), 0);
	refuses(k.folder);
	refuses(folder);
	strcpy(k.store, real);
	CHECK_EQ(kin_ask(&k, ROWS), 3);
	kin_end(&k);
}

/* Somebody has mistaken the name of the store: what lies there stays, and nothing comes
 * beside it. */
static void store_is_another(void)
{
	char shell[200], text[8] = "";
	struct stat st;
	FILE *f;

	kin_make(&k);
	CHECK((f = fopen(k.store, "we")) != NULL);
	fputs("mine", f);
	fclose(f);
	kin_refuses(&k, 1, NULL);
	CHECK(kin_has_said(&k, "a database of something else, or none"));
	CHECK((f = fopen(k.store, "re")) && fgets(text, sizeof(text), f));
	fclose(f);
	CHECK(!strcmp(text, "mine"));
	CHECK_EQ(unlink(k.store), 0);
	CHECK_EQ(mkdir(k.store, 0755), 0);
	kin_refuses(&k, 1, NULL);
	CHECK(kin_has_said(&k, "is no file"));
	CHECK(!stat(k.store, &st) && S_ISDIR(st.st_mode));
	CHECK_EQ(rmdir(k.store), 0);
	CHECK_EQ(symlink("nowhere", k.store), 0);
	kin_refuses(&k, 1, NULL);
	CHECK(kin_has_said(&k, "leads nowhere"));
	CHECK_EQ(unlink(k.store), 0);
	snprintf(shell, sizeof(shell), "! ls -d %s?* 2>/dev/null", k.store);
	CHECK_EQ(system(shell), 0);
	kin_end(&k);
}

/* A database that is well, with a table that we have, too: not a byte of it changes, and
 * it keeps its journal. */
static void store_is_a_database(void)
{
	char shell[400];

	kin_make(&k);
	kin_change(&k, "CREATE TABLE meta (name, what)");
	snprintf(shell, sizeof(shell), "cksum <%s >%s.sum", k.store, k.folder);
	CHECK_EQ(system(shell), 0);
	kin_refuses(&k, 1, NULL);
	CHECK(kin_has_said(&k, "a database of something else"));
	snprintf(shell, sizeof(shell), "cksum <%s | cmp - %s.sum && rm %s.sum && "
		 "! ls -d %s?* 2>/dev/null", k.store, k.folder, k.folder,
		 k.store);
	CHECK_EQ(system(shell), 0);
	kin_end(&k);
}

/* Nor is a file a socket that somebody has left. */
static void socket_is_another(void)
{
	struct stat st;
	FILE *f;

	kin_make(&k);
	CHECK((f = fopen(k.socket, "we")) != NULL);
	fputs("mine", f);
	fclose(f);
	kin_refuses(&k, 1, NULL);
	CHECK(kin_has_said(&k, "or it is no socket"));
	CHECK(!stat(k.socket, &st) && st.st_size == 4);
	kin_end(&k);
}

/* What is there, and is no log of the kernel that can be waited for: named once, and all else
 * goes on. */
static void no_log(void)
{
	const char *const paths[] = { "/dev/null", k.folder, folder };
	struct bez_record r = kin_record(1);
	char why[160];
	size_t i;
	int fd;

	for (i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		begin();
		snprintf(folder, sizeof(folder), "%s/file", k.folder);
		close(open(folder, O_WRONLY | O_CREAT, 0600));
		kin_start(&k, "--kmsg", paths[i], NULL);
		snprintf(why, sizeof(why), "%s: it cannot be waited for", paths[i]);
		kin_will_say(&k, why);
		fd = kin_connect(&k);
		CHECK_EQ(kin_send(fd, &r, sizeof(r)), 0);
		kin_acks(fd, 1);
		close(fd);
		CHECK(kin_has_said(&k, "without what the kernel says"));
		kin_end(&k);
	}
}

static const struct tap_case cases[] = {
	{ .name = "the store's name is another's", .run = store_is_another },
	{ .name = "the store's name is a database's", .run = store_is_a_database },
	{ .name = "the socket's name is a file's", .run = socket_is_another },
	{ .name = "each record of each file, once", .run = once },
	{ .name = "a torn end is said, and passed over", .run = torn },
	{ .name = "an end that was not there yet", .run = late },
	{ .name = "what is no file of records", .run = strange },
	{ .name = "the folder of bezoar run", .run = of_run },
	{ .name = "another user's death", .run = others },
	{ .name = "no such folder", .run = missing },
	{ .name = "a file for the kernel's log", .run = no_log },
	{ .name = "the folder of the store", .run = store,
	  .timeout_s = 20 },
};
TAP_MAIN(cases)
