/* SPDX-License-Identifier: MIT */
/* bezoar log of a store: what is in it, by anybody who may read it, while it is
 * written to. */
#define _GNU_SOURCE
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kin.h"

#define NOBODY 65534

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

static void with(uint64_t records)
{
	struct bez_record r;
	uint64_t i;
	int fd;

	kin_make(&k);
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

/* Who may read the file and write nothing, with and without a daemon; and others
 * may not. In a process that stays another user. */
static void as_nobody(const char *what, int status)
{
	pid_t pid = fork();
	int ended;

	if (!pid) {
		tap_apart();
		CHECK_EQ(setgroups(0, NULL), 0);
		CHECK_EQ(setgid(NOBODY) || setuid(NOBODY), 0);
		CHECK_EQ(lines("", what, status), status ? 1 : 2);
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &ended, 0), pid);
	CHECK_EQ(ended, 0);
}

static void reader(void)
{
	char command[256];

	if (getuid())
		tap_skip("another user is to read it: run as root");
	snprintf(command, sizeof(command), "setpriv --reuid %d --clear-groups "
		 "%s --version >/dev/null 2>&1", NOBODY, BEZOAR);
	if (system(command))
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
};
TAP_MAIN(cases)
