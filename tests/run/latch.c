/* SPDX-License-Identifier: MIT */
/* When a program is latched, what its death was, and what of that is kept: the parts
 * that look at no clock and no process. */
#define _GNU_SOURCE
#include <bezoar/bezoar.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "run/evidence.h"
#include "run/state.h"
#include "tap.h"
#include "tool.h"

#define SECOND 1000000000ull

static char said[4096];

/* instead of the program's */
void tool_say(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(said, sizeof(said), fmt, args);
	va_end(args);
}

static struct death at(uint8_t boot, uint64_t boot_s, uint64_t wall_s)
{
	struct death d = { .boot_ns = boot_s * SECOND,
			   .wall_ns = wall_s * SECOND };

	memset(d.boot_id, boot, sizeof(d.boot_id));
	return d;
}

static void counted(void)
{
	struct limits limits = { 2, 600 * SECOND };
	struct deaths d = { .n = 0 };
	struct death now = at(1, 1000, 5000);
	char why[WHY_ROOM];

	CHECK_EQ(latch_of(&d, &now, &limits, why), LATCH_NONE);
	now = at(1, 400, 5000);		/* just outside, whatever the clock says */
	deaths_add(&d, &now);
	now = at(1, 401, 1);
	deaths_add(&d, &now);
	now = at(1, 999, 9999);
	deaths_add(&d, &now);
	now = at(1, 1000, 5000);
	CHECK_EQ(latch_count(&d, &now, limits.within_ns), 3);
	CHECK_EQ(latch_of(&d, &now, &limits, why), LATCH_OFTEN);
	limits.restarts = 3;
	CHECK_EQ(latch_of(&d, &now, &limits, why), LATCH_NONE);
	limits.restarts = 0;
	d.n = 0;
	CHECK_EQ(latch_of(&d, &now, &limits, why), LATCH_OFTEN);
	CHECK(strstr(why, "1 time within 600 s, and may be restarted 0 times"));
	/* of another boot: by the clock; what is in the future is of just now */
	now = at(2, 900, 4400);
	deaths_add(&d, &now);
	now = at(2, 1, 4401);
	deaths_add(&d, &now);
	now = at(2, 1, 9999);
	deaths_add(&d, &now);
	now = at(1, 1000, 5000);
	CHECK_EQ(latch_count(&d, &now, limits.within_ns), 3);
}

static void frames(void)
{
	struct limits limits = { 50, 600 * SECOND };
	struct deaths d = { .n = 0 };
	struct death was = at(1, 1, 1), now = at(2, 1, 2);
	char why[WHY_ROOM];

	/* two that are not known are not the same */
	deaths_add(&d, &was);
	CHECK_EQ(latch_of(&d, &now, &limits, why), LATCH_NONE);
	was.has_frame = now.has_frame = 1;
	was.frame = now.frame = 0;	/* a frame like any other */
	deaths_add(&d, &was);
	CHECK_EQ(latch_of(&d, &now, &limits, why), LATCH_FRAME);
	now.frame = 7;
	CHECK_EQ(latch_of(&d, &now, &limits, why), LATCH_NONE);
	now = was;
	CHECK_EQ(latch_of(&d, &now, &limits, why), LATCH_NONE);
	strcpy(now.dimm, "A1");
	CHECK_EQ(latch_of(&d, &now, &limits, why), LATCH_NONE);
	strcpy(was.dimm, "A1");
	deaths_add(&d, &was);
	CHECK_EQ(latch_of(&d, &now, &limits, why), LATCH_DIMM);
	strcpy(now.dimm, "A");
	CHECK_EQ(latch_of(&d, &now, &limits, why), LATCH_NONE);
}

static void many(void)
{
	struct deaths d = { .n = 0 };
	struct death now;
	uint64_t i;

	for (i = 0; i < DEATHS_MOST + 10; i++) {
		now = at(1, i, i);
		deaths_add(&d, &now);
	}
	CHECK_EQ(d.n, DEATHS_MOST);
	CHECK_EQ(d.death[0].boot_ns, 10 * SECOND);
	CHECK_EQ(d.death[d.n - 1].boot_ns, (DEATHS_MOST + 9) * SECOND);
}

/* -------------------------------------------------------------------- evidence */

static void evidence(void)
{
	static const struct {
		uint16_t cause, outcome;
		int region, code, status, real, emulated;
	} rows[] = {
		{ BEZ_CAUSE_POISON_AR, BEZ_OUTCOME_DEFAULT, 1, CLD_KILLED, 7, 1, 1 },
		{ BEZ_CAUSE_POISON_AR, BEZ_OUTCOME_DEFAULT, 1, CLD_DUMPED, 7, 1, 1 },
		{ BEZ_CAUSE_POISON_AR, BEZ_OUTCOME_FOREIGN, 0, CLD_KILLED, 7, 1, 1 },
		{ BEZ_CAUSE_POISON_AO, BEZ_OUTCOME_FOREIGN, 0, CLD_KILLED, 7, 1, 1 },
		{ BEZ_CAUSE_MISSING, BEZ_OUTCOME_FOREIGN, 0, CLD_KILLED, 7, 1, 1 },
		{ BEZ_CAUSE_POISON_AR, BEZ_OUTCOME_DEFAULT, 1, CLD_EXITED, 135, 1, 1 },
		{ BEZ_CAUSE_POISON_AR, BEZ_OUTCOME_DEFAULT, 1, CLD_EXITED, 7, 0, 0 },
		{ BEZ_CAUSE_POISON_AR, BEZ_OUTCOME_DEFAULT, 1, CLD_KILLED, 11, 0, 0 },
		{ BEZ_CAUSE_POISON_AR, BEZ_OUTCOME_SHUTDOWN, 1, CLD_EXITED, 0, 1, 1 },
		{ BEZ_CAUSE_POISON_AR, BEZ_OUTCOME_SHUTDOWN_BEGUN, 1, CLD_KILLED, 6, 1, 1 },
		{ BEZ_CAUSE_CUT, BEZ_OUTCOME_SHUTDOWN, 1, CLD_EXITED, 0, 0, 0 },
		{ BEZ_CAUSE_CUT, BEZ_OUTCOME_DEFAULT, 1, CLD_KILLED, 7, 0, 0 },
		{ BEZ_CAUSE_UNREADABLE, BEZ_OUTCOME_DEFAULT, 1, CLD_KILLED, 7, 0, 0 },
		{ BEZ_CAUSE_SENT, BEZ_OUTCOME_FOREIGN, 0, CLD_KILLED, 7, 0, 0 },
		{ BEZ_CAUSE_SEGV, BEZ_OUTCOME_DEFAULT, 1, CLD_KILLED, 11, 0, 0 },
		/* without memory failure emulation looks like a file's trouble */
		{ BEZ_CAUSE_ADRERR, BEZ_OUTCOME_DEFAULT, 1, CLD_KILLED, 7, 0, 1 },
		{ BEZ_CAUSE_ADRERR, BEZ_OUTCOME_FOREIGN, 0, CLD_KILLED, 7, 0, 0 },
	};
	size_t i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct bez_record r = { .cause = rows[i].cause,
					.outcome = rows[i].outcome,
					.region = (uint64_t)rows[i].region };
		struct ending e = { rows[i].code, rows[i].status };

		CHECKF(evidence_is_last(&r), "row %zu", i);
		CHECKF(evidence_says(&e, &r, 1) == rows[i].real, "row %zu", i);
		CHECKF(evidence_says(&e, &r, 0) == rows[i].emulated, "row %zu",
		       i);
		CHECKF(!evidence_says(&e, NULL, 1), "row %zu", i);
	}
	CHECK(!evidence_is_last(&(struct bez_record){
		.outcome = BEZ_OUTCOME_REPLACED }));
	CHECK(!evidence_is_last(&(struct bez_record){
		.outcome = BEZ_OUTCOME_SHUTDOWN_WAITS }));
}

/* ------------------------------------------------------------------- the state */

static int folder(char path[32])
{
	int fd;

	strcpy(path, "/tmp/bezoar-latch-XXXXXX");
	CHECK(mkdtemp(path));
	fd = state_open(path, 0);
	CHECK(fd >= 0);
	return fd;
}

static void gone(const char *path)
{
	char line[64];

	snprintf(line, sizeof(line), "rm -rf %s", path);
	CHECK_EQ(system(line), 0);
}

static void same_state(const struct state *a, const struct state *b)
{
	size_t i;

	CHECK_EQ(a->latch, b->latch);
	CHECK_EQ(a->latched_ns, b->latched_ns);
	CHECK_EQ(a->looked, b->looked);
	CHECK(!strcmp(a->why, b->why));
	CHECK_EQ(a->deaths.n, b->deaths.n);
	for (i = 0; i < a->deaths.n; i++) {
		const struct death *x = &a->deaths.death[i],
				   *y = &b->deaths.death[i];

		CHECK(!memcmp(x->boot_id, y->boot_id, 16));
		CHECK(!strcmp(x->dimm, y->dimm));
		CHECK_EQ(x->wall_ns, y->wall_ns);
		CHECK_EQ(x->boot_ns, y->boot_ns);
		CHECK_EQ(x->pid, y->pid);
		CHECK_EQ(x->start_ticks, y->start_ticks);
		CHECK_EQ(x->by, y->by);
		CHECK_EQ(x->has_frame, y->has_frame);
		CHECK_EQ(x->frame, y->frame);
		CHECK_EQ(x->digest, y->digest);
	}
}

static void comes_back(void)
{
	static struct state was, is;
	static const char name[] = "x/\n\"\377";
	struct death d = at(0xfe, 3, 4);
	char path[32];
	int fd = folder(path);

	CHECK_EQ(state_load(fd, name, &is), 0);
	same_state(&was, &is);
	was.latch = LATCH_DIMM;
	strcpy(was.why, "it is \"so\" \\x1b");
	was.latched_ns = INT64_MAX;
	was.looked = INT64_MAX;
	d.start_ticks = INT64_MAX;
	d.pid = INT32_MAX;
	d.by = BY_KERNEL;
	d.has_frame = 1;
	d.frame = UINT64_MAX >> 1;
	d.digest = UINT64_MAX;
	memset(d.dimm, '\\', DIMM_ROOM - 1);
	deaths_add(&was.deaths, &d);
	d = at(0, 0, 0);
	while (was.deaths.n < DEATHS_MOST)
		deaths_add(&was.deaths, &d);
	CHECK_EQ(state_save(fd, name, &was), 0);
	CHECK_EQ(state_load(fd, name, &is), 0);
	same_state(&was, &is);
	CHECK_EQ(state_load(fd, "x/\n\"\376", &is), 0);
	CHECK_EQ(is.deaths.n, 0);
	/* what was looked at stays so when the deaths are forgotten */
	CHECK_EQ(state_forget(fd, name), 0);
	CHECK_EQ(state_load(fd, name, &is), 0);
	CHECK_EQ(is.deaths.n, 0);
	CHECK_EQ(is.latch, LATCH_NONE);
	CHECK_EQ(is.looked, INT64_MAX);
	CHECK_EQ(state_forget(fd, name), -ENOENT);
	/* what would not be read is not written, and the former stays */
	was.deaths.death[1].pid = -5;
	CHECK_EQ(state_save(fd, name, &was), -EINVAL);
	CHECK_EQ(state_load(fd, name, &is), 0);
	CHECK_EQ(is.looked, INT64_MAX);
	CHECK_EQ(*said, 0);
	gone(path);
}

static void file_names(void)
{
	static const char *const names[] = {
		"shop", ".", "..", "a/b", "%2F", "\377\001", "-x", "a.json",
	};
	char file[NAME_FILE], other[NAME_FILE], long_name[NAME_MOST + 2];
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		CHECK_EQ(state_file(file, names[i], ".json"), 0);
		CHECK(file[0] != '.' && !strchr(file, '/'));
		CHECK_EQ(state_file(other, names[(i + 1) %
				    (sizeof(names) / sizeof(names[0]))],
				    ".json"), 0);
		CHECKF(strcmp(file, other), "%s", file);
	}
	/* of a long one its digest tells it from others */
	memset(long_name, '\001', sizeof(long_name));
	long_name[NAME_MOST + 1] = '\0';
	CHECK_EQ(state_file(file, long_name, ".records.old"), -1);
	CHECK_EQ(state_file(file, "", ".json"), -1);
	for (i = 1; i <= NAME_MOST; i++) {
		memset(long_name, i % 2 ? '\001' : 'u', i);
		long_name[i] = '\0';
		CHECK_EQ(state_file(file, long_name, ".records.old"), 0);
		CHECKF(strlen(file) < 220, "%zu: %s", i, file);
		long_name[i - 1] = 'x';
		CHECK_EQ(state_file(other, long_name, ".records.old"), 0);
		CHECKF(strcmp(file, other), "%zu: %s", i, file);
	}
}

/* What others can write to is not believed, and who holds a lock delays nobody for
 * long. */
static void others(void)
{
	static struct state s;
	char path[32], file[64];
	int fd = folder(path), lock, again;

	CHECK_EQ(chmod(path, 0777), 0);
	CHECK_EQ(state_open(path, 0), -EPERM);
	CHECK_EQ(chmod(path, 0755), 0);
	again = state_open(path, 0);
	CHECK(again >= 0);
	lock = state_lock(fd);
	CHECK(lock >= 0);
	CHECK_EQ(state_lock(again), -EWOULDBLOCK);
	/* nor the folder, which others may open */
	state_unlock(lock);
	CHECK_EQ(flock(again, LOCK_EX), 0);
	lock = state_lock(fd);
	CHECK(lock >= 0);
	state_unlock(lock);
	snprintf(file, sizeof(file), "%s/.lock", path);
	CHECK_EQ(access(file, F_OK), 0);
	/* a file that others can write */
	CHECK_EQ(state_save(fd, "x", &s), 0);
	snprintf(file, sizeof(file), "%s/x.json", path);
	CHECK_EQ(chmod(file, 0666), 0);
	CHECK_EQ(state_look(fd, "x.json", &s), -EBADMSG);
	/* a link in the way of the file that is written first */
	CHECK_EQ(unlink(file), 0);
	snprintf(file, sizeof(file), "%s/x.new", path);
	CHECK_EQ(symlink("/dev/full", file), 0);
	CHECK_EQ(state_save(fd, "x", &s), 0);
	CHECK_EQ(state_look(fd, "x.json", &s), 0);
	*said = '\0';
	gone(path);
}

/* A disk without room: what was there is still there. */
static void no_room(void)
{
	static struct state was, is;
	struct death d = at(1, 2, 3);
	struct rlimit was_most, none;
	char path[32];
	int fd = folder(path), full;

	deaths_add(&was.deaths, &d);
	CHECK_EQ(state_save(fd, "x", &was), 0);
	/* as if there were none */
	signal(SIGXFSZ, SIG_IGN);
	CHECK_EQ(getrlimit(RLIMIT_FSIZE, &was_most), 0);
	none = was_most;
	none.rlim_cur = 100;
	CHECK_EQ(setrlimit(RLIMIT_FSIZE, &none), 0);
	deaths_add(&was.deaths, &d);
	full = state_save(fd, "x", &was);
	CHECK_EQ(setrlimit(RLIMIT_FSIZE, &was_most), 0);
	CHECK_EQ(full, -EFBIG);
	CHECK_EQ(state_load(fd, "x", &is), 0);
	CHECK_EQ(is.deaths.n, 1);
	gone(path);
}

static const struct tap_case cases[] = {
	{ .name = "so many in so long", .run = counted },
	{ .name = "frames and modules", .run = frames },
	{ .name = "the oldest go", .run = many },
	{ .name = "what a death was", .run = evidence },
	{ .name = "what is kept comes back", .run = comes_back },
	{ .name = "names of files", .run = file_names },
	{ .name = "others who can write, or hold a lock", .run = others },
	{ .name = "what cannot be written leaves what was", .run = no_room },
};
TAP_MAIN(cases)
