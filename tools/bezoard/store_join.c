/* SPDX-License-Identifier: MIT */
/*
 * What the kernel has said, put beside the records: which frame, which module. What
 * belongs together may come in any order, some of it before a restart of the
 * daemon, so that everything is looked for in the store, from both sides.
 *
 * A record that names no frame, of a process that the kernel says it signals at
 * about that time, is of the frame that the kernel names with it: if there is
 * only one that it can be. Where there are several none is believed.
 */
#include <bezoar/bezoar.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "store_in.h"

#define SECOND		1000000000ll
#define BEFORE		(10 * SECOND)	/* the line, before the signal is taken */
#define AFTER		SECOND		/* by what the two clocks differ */
#define PAGES_MOST	262144		/* of 1 GiB */

static int64_t clock_ns(clockid_t clock)
{
	struct timespec ts = { 0, 0 };

	clock_gettime(clock, &ts);
	return (int64_t)ts.tv_sec * SECOND + ts.tv_nsec;
}

/* ------------------------------------------------- out of the bytes of a record */

static int64_t pages_of(const struct bez_record *r)
{
	uint64_t pages = r->width / (uint64_t)sysconf(_SC_PAGESIZE);

	return pages < 1 ? 1 : pages > PAGES_MOST ? PAGES_MOST :
						    (int64_t)pages;
}

static int64_t mono_of(const struct bez_record *r)
{
	return r->mono_ns > INT64_MAX ? INT64_MAX : (int64_t)r->mono_ns;
}

static int64_t tid_of(const struct bez_record *r)
{
	return r->tid;
}

/* Of the kernel's line: is all of a huge page lost? */
static const char huge_words[] = ": recovery action for huge page: ";

static void is_huge(sqlite3_context *context, int n, sqlite3_value **values)
{
	const char *text = (const char *)sqlite3_value_text(values[0]);

	(void)n;
	sqlite3_result_int(context, text && strstr(text, huge_words));
}

typedef int64_t of_record(const struct bez_record *r);

static void from_raw(sqlite3_context *context, int n, sqlite3_value **values)
{
	of_record *const *number = sqlite3_user_data(context);
	struct bez_record r;

	(void)n;
	if (sqlite3_value_bytes(values[0]) < (int)sizeof(r))
		return;
	memcpy(&r, sqlite3_value_blob(values[0]), sizeof(r));
	sqlite3_result_int64(context, (*number)(&r));
}

int store_join_functions(sqlite3 *db)
{
	static const struct {
		const char *name;
		of_record *number;
	} functions[] = {
		{ "bez_pages", pages_of },
		{ "bez_mono", mono_of },
		{ "bez_tid", tid_of },
	};
	size_t i;
	int bad = 0;

	for (i = 0; i < sizeof(functions) / sizeof(functions[0]) && !bad; i++)
		bad = sqlite3_create_function(db, functions[i].name, 1,
					      SQLITE_UTF8 |
					      SQLITE_DETERMINISTIC |
					      SQLITE_DIRECTONLY,
					      (void *)&functions[i].number,
					      from_raw, NULL, NULL);
	return bad ? bad :
	       sqlite3_create_function(db, "bez_huge", 1, SQLITE_UTF8 |
				       SQLITE_DETERMINISTIC |
				       SQLITE_DIRECTONLY, NULL, is_huge, NULL,
				       NULL);
}

/* ----------------------------------------------------------------------- boot */

static int digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ?
	       c - 'a' + 10 : -1;
}

static void boot_bytes(unsigned char ret[16])
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	char text[64];
	ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text)), i;
	size_t half = 0;

	memset(ret, 0, 16);
	for (i = 0; i < n && half < 32; i++)
		if (digit(text[i]) >= 0) {
			ret[half / 2] = (unsigned char)(ret[half / 2] << 4 |
							digit(text[i]));
			half++;
		}
	if (fd >= 0)
		close(fd);
}

static void bind_boot(struct store *s, int which, int at)
{
	sqlite3_bind_blob(s->sql[which], at, s->boot, sizeof(s->boot),
			  SQLITE_STATIC);
}

void store_join_load(struct store *s)
{
	int64_t huge = 0;

	boot_bytes(s->boot);
	bind_boot(s, SQL_HUGE, 1);
	store_ask(s, SQL_HUGE, &huge);
	s->has_huge = huge != 0;
	s->killed_ns = INT64_MIN;
	bind_boot(s, SQL_KILLED, 1);
	store_ask(s, SQL_KILLED, &s->killed_ns);
}

/* --------------------------------------------------------------------- places */

/* The module of @frame, or of a page that the kernel has lost a huge one by. That is looked
 * for among all lines about the pages that the record says it is of, which may be many
 * thousands, and the sender's word: so only where there is one at all. */
static int put_place(struct store *s, int64_t number, int64_t frame,
		     const struct bez_record *r)
{
	sqlite3_stmt *dimm = s->sql[SQL_DIMM], *place = s->sql[SQL_PLACE];
	int64_t pages = s->has_huge ? pages_of(r) : 1;
	int step;

	sqlite3_bind_int64(dimm, 4, frame);
	sqlite3_bind_int64(dimm, 1, frame / pages * pages);
	sqlite3_bind_int64(dimm, 2, frame / pages * pages + (pages - 1));
	sqlite3_bind_blob(dimm, 3, r->boot_id, sizeof(r->boot_id),
			  SQLITE_STATIC);
	step = sqlite3_step(dimm);
	sqlite3_bind_int64(place, 1, number);
	/* by the kernel's word, of several pages the one that it names */
	sqlite3_bind_int64(place, 2, step == SQLITE_ROW ?
			   sqlite3_column_int64(dimm, 1) : frame);
	if (step == SQLITE_ROW)
		sqlite3_bind_text(place, 3, (const char *)
				  sqlite3_column_text(dimm, 0), -1,
				  SQLITE_TRANSIENT);
	else
		sqlite3_bind_text(place, 3, "", -1, SQLITE_STATIC);
	sqlite3_reset(dimm);
	return step == SQLITE_ROW || step == SQLITE_DONE ?
	       store_run(s, SQL_PLACE) : step;
}

/* What the kernel said it signals @pid for; *@ret_frame is -1 if it is not sure. */
static int ask_frame(struct store *s, const struct bez_record *r, int32_t pid,
		     int64_t *ret_frame)
{
	sqlite3_stmt *sql = s->sql[SQL_FRAME];
	/* by the clock of now: somebody may have set it since */
	int64_t now = clock_ns(CLOCK_MONOTONIC), wall, fresh = -1, known = -1;
	int n_fresh = 0, n_known = 0, step;

	/* what is in the future was made up */
	wall = clock_ns(CLOCK_REALTIME) -
	       (mono_of(r) < now ? now - mono_of(r) : 0);
	*ret_frame = -1;
	if (s->killed_ns == INT64_MIN || s->killed_ns < wall - BEFORE)
		return SQLITE_OK;
	bind_boot(s, SQL_FRAME, 1);
	sqlite3_bind_int64(sql, 2, wall - BEFORE);
	sqlite3_bind_int64(sql, 3, wall + AFTER);
	sqlite3_bind_int(sql, 4, pid);
	/* threads have other numbers in other namespaces */
	sqlite3_bind_int(sql, 5, pid == r->pid ? r->tid : pid);
	while ((step = sqlite3_step(sql)) == SQLITE_ROW) {
		if (sqlite3_column_int(sql, 1)) {
			known = sqlite3_column_int64(sql, 0);
			n_known++;
		} else {
			fresh = sqlite3_column_int64(sql, 0);
			n_fresh++;
		}
	}
	sqlite3_reset(sql);
	if (step != SQLITE_DONE)
		return step;
	if (n_fresh == 1)
		*ret_frame = fresh;
	else if (!n_fresh && n_known == 1)
		*ret_frame = known;
	return SQLITE_OK;
}

int store_place(struct store *s, int64_t number, const struct bez_record *r,
		int32_t pid)
{
	int64_t frame = -1;
	int bad;

	if (memcmp(r->boot_id, s->boot, sizeof(s->boot)) != 0 &&
	    !(r->flags & BEZ_RECORD_HAS_FRAME))
		return SQLITE_OK;
	if (r->flags & BEZ_RECORD_HAS_FRAME) {
		frame = r->frame > INT64_MAX ? -1 : (int64_t)r->frame;
	} else if (r->cause == BEZ_CAUSE_POISON_AR ||
		   r->cause == BEZ_CAUSE_POISON_AO) {
		bad = ask_frame(s, r, pid, &frame);
		if (bad)
			return bad;
	}
	return frame < 0 ? SQLITE_OK : put_place(s, number, frame, r);
}

/* ----------------------------------------------------------------- kernel lines */

/* Records that this line may tell the frame of. */
static int place_others(struct store *s, const struct item *item)
{
	int64_t mono = item->more.kernel.wall_ns - clock_ns(CLOCK_REALTIME) +
		       clock_ns(CLOCK_MONOTONIC);
	sqlite3_stmt *sql = s->sql[SQL_UNPLACED];
	struct { int64_t number; int32_t pid; struct bez_record r; } found[16];
	int n = 0, i, bad, step;

	bind_boot(s, SQL_UNPLACED, 1);
	sqlite3_bind_int(sql, 2, item->pid);
	sqlite3_bind_int64(sql, 3, mono - AFTER);
	sqlite3_bind_int64(sql, 4, mono + BEFORE);
	while ((step = sqlite3_step(sql)) == SQLITE_ROW && n < 16) {
		if (sqlite3_column_bytes(sql, 2) != sizeof(found[n].r))
			continue;
		found[n].number = sqlite3_column_int64(sql, 0);
		found[n].pid = sqlite3_column_int(sql, 1);
		memcpy(&found[n].r, sqlite3_column_blob(sql, 2),
		       sizeof(found[n].r));
		n++;
	}
	sqlite3_reset(sql);
	bad = step == SQLITE_ROW || step == SQLITE_DONE ? SQLITE_OK : step;
	for (i = 0; i < n && !bad; i++)
		bad = store_place(s, found[i].number, &found[i].r,
				  found[i].pid);
	return bad;
}

/* Records of this frame whose module was not known: if by now the kernel has said both,
 * that it is lost and where it is. */
static int name_others(struct store *s, const struct item_kernel *line)
{
	sqlite3_stmt *lost = s->sql[SQL_LOST], *sql = s->sql[SQL_PLACE_DIMM];
	int step, known;

	sqlite3_bind_int64(lost, 1, line->frame);
	bind_boot(s, SQL_LOST, 2);
	step = sqlite3_step(lost);
	known = step == SQLITE_ROW &&
		sqlite3_column_type(lost, 0) != SQLITE_NULL &&
		sqlite3_column_type(lost, 1) != SQLITE_NULL;
	if (known) {
		sqlite3_bind_text(sql, 1, (const char *)
				  sqlite3_column_text(lost, 0), -1,
				  SQLITE_TRANSIENT);
		sqlite3_bind_int64(sql, 2, line->frame);
		bind_boot(s, SQL_PLACE_DIMM, 3);
		sqlite3_bind_int(sql, 4, sqlite3_column_int(lost, 1));
	}
	sqlite3_reset(lost);
	if (step != SQLITE_ROW && step != SQLITE_DONE)
		return step;
	return known ? store_run(s, SQL_PLACE_DIMM) : SQLITE_OK;
}

static int says_huge(const struct item *item)
{
	size_t len = sizeof(huge_words) - 1, i;

	for (i = 0; i + len <= item->bytes; i++)
		if (!memcmp(item->raw + i, huge_words, len))
			return 1;
	return 0;
}

static int join(struct store *s, const struct item *item)
{
	const struct item_kernel *line = &item->more.kernel;
	int bad;

	/* "MCE: Killing ..." names none, and so tells nothing of any */
	if (line->frame < 0)
		return SQLITE_OK;
	/* be it rolled back: it will come again */
	s->has_huge |= says_huge(item);
	bad = name_others(s, line);
	if (bad || strcmp(line->kind, kmsg_kind_names[KMSG_KILLED]) != 0)
		return bad;
	if (line->wall_ns > s->killed_ns)
		s->killed_ns = line->wall_ns;
	return place_others(s, item);
}

int store_put_kernel(struct store *s, struct item *item, int64_t now,
		     uint64_t *counts)
{
	const struct item_kernel *line = &item->more.kernel;
	sqlite3_stmt *sql = s->sql[SQL_KERNEL];
	int bad;

	sqlite3_bind_int64(sql, 1, now);
	bind_boot(s, SQL_KERNEL, 2);
	sqlite3_bind_int64(sql, 3, (int64_t)line->seq);
	sqlite3_bind_int64(sql, 4, line->wall_ns);
	sqlite3_bind_text(sql, 5, line->kind, -1, SQLITE_STATIC);
	sqlite3_bind_int64(sql, 6, line->frame);
	sqlite3_bind_text(sql, 7, line->dimm, -1, SQLITE_STATIC);
	sqlite3_bind_int(sql, 8, item->pid);
	sqlite3_bind_blob(sql, 9, item->raw, item->bytes, SQLITE_STATIC);
	bad = store_run(s, SQL_KERNEL);
	item->is_new = !bad && sqlite3_changes(s->db);
	if (!item->is_new)
		return bad;
	item->number = sqlite3_last_insert_rowid(s->db);
	counts[COUNT_KERNEL]++;
	bad = join(s, item);
	if (bad)
		return bad;
	return store_keep_kernel(s, &counts[COUNT_KERNEL_RETIRED]);
}

/* --------------------------------------------------------------------- deaths */

int store_put_death(struct store *s, struct item *item, int64_t now,
		    uint64_t *counts)
{
	const struct item_death *death = &item->more.death;
	sqlite3_stmt *sql = s->sql[SQL_DEATH];
	int bad;

	sqlite3_bind_int64(sql, 1, now);
	bind_boot(s, SQL_DEATH, 2);
	sqlite3_bind_int(sql, 3, item->pid);
	sqlite3_bind_int64(sql, 4, (int64_t)death->start_ticks);
	sqlite3_bind_int64(sql, 5, item->uid);
	sqlite3_bind_blob(sql, 6, item->raw, item->bytes, SQLITE_STATIC);
	sqlite3_bind_int(sql, 7, death->status);
	sqlite3_bind_int64(sql, 8, death->told);
	bad = store_run(s, SQL_DEATH);
	if (bad)
		return bad;
	item->number = sqlite3_last_insert_rowid(s->db);
	item->is_new = 1;
	counts[COUNT_DEATHS]++;
	counts[COUNT_UNTOLD] += !death->told;
	sqlite3_bind_int64(s->sql[SQL_KEEP_DEATHS], 1, STORE_DEATHS_MOST);
	return store_run(s, SQL_KEEP_DEATHS);
}

int store_told_late(struct store *s, const struct item *item,
		    const struct bez_record *r)
{
	sqlite3_stmt *sql = s->sql[SQL_DEATH_TOLD];

	sqlite3_bind_int64(sql, 5, item->uid);
	sqlite3_bind_int64(sql, 1, item->number);
	sqlite3_bind_blob(sql, 2, r->boot_id, sizeof(r->boot_id),
			  SQLITE_STATIC);
	sqlite3_bind_int(sql, 3, r->pid);
	sqlite3_bind_int64(sql, 4, (int64_t)r->start_ticks);
	return store_run(s, SQL_DEATH_TOLD);
}
