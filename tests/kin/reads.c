/* SPDX-License-Identifier: MIT */
/* bezoar log of a store: what is in it, by anybody who may read it, while it is
 * written to. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kin.h"

#define NOBODY 65534
#define READERS 4711			/* a group, see there */

static struct kin k;

/* Lines of "bezoar log STORE @words" that hold @what. */
static int lines(const char *words, const char *what, int want_status)
{
	char command[512], line[4096];
	int n = 0;
	FILE *f;

	snprintf(command, sizeof(command), "%s log %s %s 2>&1", BEZOAR, k.store,
		 words);
	f = popen(command, "r");
	CHECK(f);
	while (fgets(line, sizeof(line), f))
		n += strstr(line, what) != NULL;
	CHECK_EQ(pclose(f), want_status << 8);
	return n;
}

static void begin_with(uint64_t records)
{
	struct bez_record r;
	uint64_t i;
	int fd;

	kin_start(&k, "--delay", "0", NULL);
	fd = kin_connect(&k);
	for (i = 1; i <= records; i++) {
		r = kin_record(i);
		if (i == 3) {
			strcpy(r.comm, "\033]0;x\n");
			kin_close_record(&r);
		}
		CHECK_EQ(kin_send(fd, &r, sizeof(r)), 0);
		kin_acks(fd, 1);
	}
	close(fd);
}

static void with(uint64_t records)
{
	kin_make(&k);
	begin_with(records);
}

static void shown(void)
{
	char words[64];

	with(5);
	CHECK_EQ(lines("", "replaced (O1)", 0), 5);
	CHECK_EQ(lines("--json", "\"from\":\"socket\"", 0), 5);
	CHECK_EQ(lines("--id 4", "number    4;", 0), 1);
	CHECK_EQ(lines("--comm kin", "replaced (O1)", 0), 4);
	CHECK_EQ(lines("--since 1h", "replaced (O1)", 0), 5);
	CHECK_EQ(lines("--since 2100-01-01", "replaced", 0), 0);
	snprintf(words, sizeof(words), "--pid %d", getpid());
	CHECK_EQ(lines(words, "stored    as", 0), 5);
	CHECK_EQ(lines("--pid 1", "stored", 0), 0);
	CHECK_EQ(lines("--counts", "taken                      5", 0), 1);
	/* a name of a stranger does nothing */
	CHECK_EQ(lines("", "\033", 0), 0);
	CHECK_EQ(lines("--json", "\033", 0), 0);
	CHECK_EQ(lines("", "\\x1b]0;x\\x0a", 0), 1);
	kin_stop(&k);
	CHECK_EQ(lines("", "replaced (O1)", 0), 5);
	/* one byte of the last row's record is another now */
	kin_change(&k, "UPDATE records SET raw = substr(raw, 1, 380) || x'00' "
		       "|| substr(raw, 382) WHERE number = 5");
	CHECK_EQ(lines("", "replaced (O1)", 1), 4);
	CHECK_EQ(lines("", "row 5 is no whole record", 1), 1);
	kin_change(&k, "UPDATE meta SET value = 999 WHERE key = 'schema'");
	CHECK_EQ(lines("", "newer version", 2), 1);
	kin_end(&k);
}

/* What the kernel has said of where it lies; of a store that cannot know that, too. */
static void places(void)
{
	with(4);
	kin_stop(&k);
	kin_change(&k, "DELETE FROM places; INSERT INTO places VALUES "
		   "(1, 74649, 'DIMM_A1'), (2, 257, ''), "
		   "(3, -1, 'a' || char(27) || 'b')");
	CHECK_EQ(lines("", "  lies in   ", 0), 3);
	CHECK_EQ(lines("", "page frame 0x12399, memory module DIMM_A1\n", 0),
		 1);
	CHECK_EQ(lines("", "lies in   page frame 0x101\n", 0), 1);
	CHECK_EQ(lines("", "lies in   memory module a\\x1bb\n", 0), 1);
	CHECK_EQ(lines("--json", "\"frame\":\"0x12399\",\"dimm\":\"DIMM_A1\"}",
		       0), 1);
	CHECK_EQ(lines("--json", "\"frame\":\"0x101\",\"dimm\":null}", 0), 1);
	CHECK_EQ(lines("--json", "\"frame\":null,\"dimm\":\"a", 0), 1);
	CHECK_EQ(lines("--number 1", "DIMM_A1", 0), 1);
	kin_change(&k, "DROP TABLE places;"
		   "UPDATE meta SET value = 1 WHERE key = 'schema'");
	CHECK_EQ(lines("", "replaced (O1)", 0), 4);
	kin_end(&k);
}

/* None of this is for who may read it. */
static void changes_nothing(void)
{
	char name[128];

	CHECK_EQ(open(k.store, O_RDWR), -1);
	CHECK_EQ(unlink(k.store), -1);
	CHECK_EQ(unlink(k.socket), -1);
	snprintf(name, sizeof(name), "%s-wal", k.store);
	CHECK_EQ(open(name, O_RDWR), -1);
	CHECK_EQ(rename(name, k.store), -1);
	snprintf(name, sizeof(name), "%s.lock", k.store);
	CHECK_EQ(open(name, O_RDWR), -1);
	CHECK_EQ(unlink(name), -1);
}

/* Who may read the file and write nothing, with and without a daemon; and others
 * may not. In a process that stays another user. */
static void as_nobody_in(gid_t group, const char *what, int status)
{
	pid_t pid = fork();
	int ended;

	if (!pid) {
		tap_apart();
		CHECK_EQ(setgroups(group ? 1 : 0, &group), 0);
		CHECK_EQ(setgid(NOBODY) || setuid(NOBODY), 0);
		CHECK_EQ(lines("", what, status), status ? 1 : 2);
		changes_nothing();
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &ended, 0), pid);
	CHECK_EQ(ended, 0);
}

static void as_nobody(const char *what, int status)
{
	as_nobody_in(0, what, status);
}

static int others_may_run(void)
{
	char command[256];

	snprintf(command, sizeof(command), "setpriv --reuid %d --clear-groups "
		 "%s --version >/dev/null 2>&1", NOBODY, BEZOAR);
	return !system(command);
}

/* Seen by this process and its children alone: a system that has the group. */
static void make_group(void)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/group", k.folder);
	f = fopen(path, "we");
	CHECK(f);
	fprintf(f, "root:x:0:\nbezoar:x:%d:\n", READERS);
	fclose(f);
	if (unshare(CLONE_NEWNS) ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount(path, "/etc/group", NULL, MS_BIND, NULL)) {
		kin_end(&k);
		tap_skip("no mount namespace may be made here: run as root");
	}
	CHECK(getgrnam("bezoar") && getgrnam("bezoar")->gr_gid == READERS);
}

/* The daemon gives what it makes to the group that there is for that. */
static void group(void)
{
	static const char *const ends[] = { "", "-wal", "-shm" };
	char name[128];
	struct stat st;
	size_t i;

	if (getuid())
		tap_skip("a group is to be had: run as root");
	kin_make(&k);
	make_group();
	/* as the unit has it */
	CHECK_EQ(chmod(k.folder, 0751), 0);
	begin_with(2);
	for (i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		snprintf(name, sizeof(name), "%s%s", k.store, ends[i]);
		CHECK_EQ(stat(name, &st), 0);
		CHECKF(st.st_gid == READERS && (st.st_mode & 0777) == 0640,
		       "%s: group %u, mode %o", name, st.st_gid, st.st_mode);
	}
	if (!others_may_run()) {
		kin_end(&k);
		tap_skip("another user than root may not run %s", BEZOAR);
	}
	as_nobody_in(READERS, "replaced (O1)", 0);
	as_nobody("ermission denied", 2);
	kin_stop(&k);
	as_nobody_in(READERS, "replaced (O1)", 0);
	as_nobody("ermission denied", 2);
	kin_end(&k);
}

static void reader(void)
{
	char command[256];

	if (getuid())
		tap_skip("another user is to read it: run as root");
	if (!others_may_run())
		tap_skip("another user than root may not run %s", BEZOAR);
	with(2);
	CHECK_EQ(chmod(k.folder, 0755), 0);
	as_nobody("ermission denied", 2);
	snprintf(command, sizeof(command), "chgrp %d %s*", NOBODY, k.store);
	CHECK_EQ(system(command), 0);
	as_nobody("replaced (O1)", 0);
	kin_stop(&k);
	as_nobody("replaced (O1)", 0);
	kin_end(&k);
}

static const struct tap_case cases[] = {
	{ .name = "what is in the store", .run = shown },
	{ .name = "where each lies, as far as that is known", .run = places },
	{ .name = "a reader that may not write", .run = reader },
	{ .name = "the group bezoar, and nobody else", .run = group },
};
TAP_MAIN(cases)
