/* SPDX-License-Identifier: MIT */
/*
 * How old and how much, by a clock that may be set. The age of a row is the time of
 * here since it was taken. Somebody may set the clock by years, and then all rows
 * would be too old, or none ever: so it is compared with the clock that nobody sets
 * (CLOCK_BOOTTIME). Where the two have moved apart the times of all rows are moved
 * along, and stay as long ago as they are. Between two boots nothing can be
 * compared, and the clock is believed.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "store_in.h"

#define SECOND	1000000000ll
#define SET	(60 * SECOND)		/* as much is no drift */
#define SOON	(60 * SECOND)		/* nothing is retired more often */

static int64_t clock_ns(clockid_t clock)
{
	struct timespec ts = { 0, 0 };

	clock_gettime(clock, &ts);
	return (int64_t)ts.tv_sec * SECOND + ts.tv_nsec;
}

int64_t store_now(void)
{
	return clock_ns(CLOCK_REALTIME);
}

static int64_t offset_now(void)
{
	return clock_ns(CLOCK_REALTIME) - clock_ns(CLOCK_BOOTTIME);
}

static void boot_id(char ret[64])
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, ret, 63);

	if (fd >= 0)
		close(fd);
	ret[n > 0 ? n : 0] = '\0';
	ret[strcspn(ret, "\n")] = '\0';
}

void store_clock_load(struct store *s)
{
	static const char sql[] = "SELECT value FROM meta WHERE key = ?";
	sqlite3_stmt *ask = NULL;
	char boot[64];

	s->offset = offset_now();
	boot_id(boot);
	if (sqlite3_prepare_v2(s->db, sql, -1, &ask, NULL))
		return;
	sqlite3_bind_text(ask, 1, "boot", -1, SQLITE_STATIC);
	if (sqlite3_step(ask) == SQLITE_ROW && sqlite3_column_text(ask, 0) &&
	    !strcmp((const char *)sqlite3_column_text(ask, 0), boot)) {
		sqlite3_reset(ask);
		sqlite3_bind_text(ask, 1, "offset", -1, SQLITE_STATIC);
		if (sqlite3_step(ask) == SQLITE_ROW)
			s->offset = sqlite3_column_int64(ask, 0);
	} else {
		s->offset -= 2 * SECOND; /* to be noted with the first batch */
	}
	sqlite3_finalize(ask);
}

static int note(struct store *s, int64_t offset)
{
	char boot[64];
	int bad;

	boot_id(boot);
	sqlite3_bind_text(s->sql[SQL_META], 1, "boot", -1, SQLITE_STATIC);
	sqlite3_bind_text(s->sql[SQL_META], 2, boot, -1, SQLITE_STATIC);
	bad = store_run(s, SQL_META);
	sqlite3_bind_text(s->sql[SQL_META], 1, "offset", -1, SQLITE_STATIC);
	sqlite3_bind_int64(s->sql[SQL_META], 2, offset);
	return bad ? bad : store_run(s, SQL_META);
}

int store_clock(struct store *s)
{
	int64_t offset = offset_now(), by = offset - s->offset;
	int bad = SQLITE_OK, which;

	if (by < SECOND && by > -SECOND)
		return SQLITE_OK;
	if (by >= SET || by <= -SET) {
		for (which = SQL_SHIFT; which <= SQL_SHIFT_DEATHS && !bad;
		     which++) {
			sqlite3_bind_int64(s->sql[which], 1, by);
			bad = store_run(s, which);
		}
		sqlite3_bind_int64(s->sql[SQL_SHIFT_LOSS], 1, by);
		if (!bad)
			bad = store_run(s, SQL_SHIFT_LOSS);
		if (!bad)
			say("the clock was set by %lld s; what is in "
			    "the store keeps its age", (long long)(by / SECOND));
	}
	if (!bad)
		bad = note(s, offset);
	/* whoever has to roll this back takes back these, too */
	if (bad)
		return bad;
	if (s->killed_ns != INT64_MIN && (by >= SET || by <= -SET))
		s->killed_ns += by;
	s->offset = offset;
	return SQLITE_OK;
}

static int retire(struct store *s, int which, uint64_t *retired)
{
	int bad = store_run(s, which);

	if (!bad)
		*retired += (uint64_t)sqlite3_changes(s->db);
	return bad;
}

static int by_age(struct store *s, uint64_t *retired, uint64_t *lines)
{
	int64_t limit = store_now() - (int64_t)s->max_age_ns;
	int bad;

	if (!s->max_age_ns)
		return SQLITE_OK;
	sqlite3_bind_int64(s->sql[SQL_KEEP_AGE], 1, limit);
	sqlite3_bind_int64(s->sql[SQL_KEEP_AGE_KERNEL], 1, limit);
	sqlite3_bind_int64(s->sql[SQL_KEEP_AGE_DEATHS], 1, limit);
	bad = retire(s, SQL_KEEP_AGE, retired);
	if (!bad)
		bad = retire(s, SQL_KEEP_AGE_KERNEL, lines);
	return bad ? bad : store_run(s, SQL_KEEP_AGE_DEATHS);
}

/* @most, or as many of @row bytes as are a part of all that there may be. */
static int to_number(struct store *s, int which, uint64_t most, uint64_t share,
		     uint64_t row, uint64_t *retired)
{
	uint64_t room = s->max_bytes / share / row;

	if (s->max_bytes && room < most)
		most = room;
	sqlite3_bind_int64(s->sql[which], 1, (int64_t)most);
	return retire(s, which, retired);
}

int store_keep_kernel(struct store *s, uint64_t *retired)
{
	return to_number(s, SQL_KEEP_KERNEL, STORE_KERNEL_MOST,
			 STORE_KERNEL_SHARE, STORE_KERNEL_ROW, retired);
}

int store_keep_apart(struct store *s, uint64_t *retired)
{
	return to_number(s, SQL_KEEP_APART, STORE_APART_MOST,
			 STORE_APART_SHARE, STORE_APART_ROW, retired);
}

/* An eighth at a time: what is deleted makes room for as much. */
static int by_size(struct store *s, uint64_t *retired)
{
	uint64_t before;
	int64_t used = 0;
	int bad = store_ask(s, SQL_USED, &used), gone = 1;

	while (!bad && s->max_bytes && gone &&
	       (uint64_t)used > s->max_bytes) {
		before = *retired;
		bad = store_keep_size(s, retired);
		if (!bad)
			bad = store_run(s, SQL_KEEP_PLACES);
		gone = *retired > before;
		if (!bad)
			bad = store_ask(s, SQL_USED, &used);
	}
	return bad;
}

static int count(struct store *s, enum count what, uint64_t n)
{
	if (!n)
		return SQLITE_OK;
	sqlite3_bind_text(s->sql[SQL_COUNT], 1, count_names[what], -1,
			  SQLITE_STATIC);
	sqlite3_bind_int64(s->sql[SQL_COUNT], 2, (int64_t)n);
	return store_run(s, SQL_COUNT);
}

static int keep(struct store *s, uint64_t *ret_next_ns)
{
	uint64_t retired = 0, lines = 0, apart = 0;
	int64_t oldest = -1, left, offset = s->offset, killed = s->killed_ns;
	int bad = store_run(s, SQL_BEGIN);

	if (!bad)
		bad = store_clock(s);
	if (!bad)
		bad = by_age(s, &retired, &lines);
	if (!bad)
		bad = store_keep_kernel(s, &lines);
	if (!bad)
		bad = store_keep_apart(s, &apart);
	if (!bad)
		bad = by_size(s, &retired);
	if (!bad && retired)
		bad = store_run(s, SQL_KEEP_PLACES);
	if (!bad)
		bad = count(s, COUNT_RETIRED, retired);
	if (!bad)
		bad = count(s, COUNT_KERNEL_RETIRED, lines);
	if (!bad)
		bad = count(s, COUNT_APART_RETIRED, apart);
	if (!bad)
		bad = store_ask(s, SQL_OLDEST, &oldest);
	if (!bad)
		bad = store_run(s, SQL_COMMIT);
	*ret_next_ns = 0;
	if (bad) {
		s->offset = offset;
		s->killed_ns = killed;
	}
	if (bad || oldest < 0 || !s->max_age_ns)
		return bad;
	left = oldest + (int64_t)s->max_age_ns - store_now();
	*ret_next_ns = (uint64_t)(left > SOON ? left : SOON);
	return bad;
}

enum store_answer store_keep(struct store *s, uint64_t *ret_next_ns)
{
	int bad = s->db ? keep(s, ret_next_ns) : SQLITE_CANTOPEN;
	enum store_answer answer;

	if (!bad)
		return STORE_OK;
	*ret_next_ns = (uint64_t)SOON;
	answer = store_trouble(s, bad);
	return answer == STORE_OK ? STORE_LATER : answer;
}
