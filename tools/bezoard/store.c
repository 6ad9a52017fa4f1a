/* SPDX-License-Identifier: MIT */
/* The transactions: a batch, and where a file was read up to. */
#include "store.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "store_in.h"

int store_run(struct store *s, int which)
{
	int r = sqlite3_step(s->sql[which]);

	sqlite3_reset(s->sql[which]);
	return r == SQLITE_DONE || r == SQLITE_ROW ? SQLITE_OK : r;
}

int store_ask(struct store *s, int which, int64_t *ret_n)
{
	int r = sqlite3_step(s->sql[which]);

	if (r == SQLITE_ROW)
		*ret_n = sqlite3_column_int64(s->sql[which], 0);
	sqlite3_reset(s->sql[which]);
	return r == SQLITE_DONE || r == SQLITE_ROW ? SQLITE_OK : r;
}

static int64_t number(const unsigned char *little_endian)
{
	int64_t n;

	memcpy(&n, little_endian, sizeof(n));
	return n;
}

static void bind_name(sqlite3_stmt *sql, int at, const char *name, size_t most)
{
	sqlite3_bind_blob(sql, at, name, (int)strnlen(name, most),
			  SQLITE_STATIC);
}

/* It had been taken before: as which? */
static int again(struct store *s, struct item *item, const struct bez_record *r)
{
	sqlite3_bind_int64(s->sql[SQL_AGAIN], 1, (int64_t)r->digest);
	sqlite3_bind_int64(s->sql[SQL_AGAIN], 2, (int64_t)r->id);
	return store_ask(s, SQL_AGAIN, &item->number);
}

static int put_record(struct store *s, struct item *item, int64_t now)
{
	sqlite3_stmt *sql = s->sql[SQL_RECORD];
	struct bez_record r;
	int i = 1, bad;

	memcpy(&r, item->raw, sizeof(r));
	sqlite3_bind_int64(sql, i++, (int64_t)r.digest);
	sqlite3_bind_int64(sql, i++, (int64_t)r.id);
	sqlite3_bind_int64(sql, i++, now);
	sqlite3_bind_int64(sql, i++, r.wall_ns > INT64_MAX ?
			   INT64_MAX : (int64_t)r.wall_ns);
	sqlite3_bind_int(sql, i++, item->pid);
	sqlite3_bind_int(sql, i++, r.pid);
	sqlite3_bind_int64(sql, i++, item->uid);
	sqlite3_bind_int(sql, i++, item->origin);
	bind_name(sql, i++, r.comm, sizeof(r.comm));
	bind_name(sql, i++, r.name, sizeof(r.name));
	sqlite3_bind_int(sql, i++, r.outcome);
	sqlite3_bind_int(sql, i++, r.action);
	sqlite3_bind_int(sql, i++, r.cause);
	sqlite3_bind_blob(sql, i++, item->raw, item->bytes, SQLITE_STATIC);
	bind_name(sql, i, item->cgroup, sizeof(item->cgroup));
	bad = store_run(s, SQL_RECORD);
	item->is_new = !bad && sqlite3_changes(s->db);
	if (bad || !item->is_new)
		return bad ? bad : again(s, item, &r);
	item->number = sqlite3_last_insert_rowid(s->db);
	bad = store_place(s, item->number, &r, item->pid);
	if (!bad && item->origin == ORIGIN_FILE)
		bad = store_told_late(s, item, &r);
	return bad;
}

static const struct apart {
	const char *why;
	enum count count;
} apart[] = {
	[ITEM_STRANGE] = { "version", COUNT_STRANGE },
	[ITEM_FORGED] = { "forged", COUNT_FORGED },
	[ITEM_UNVERIFIED] = { "unverified", COUNT_UNVERIFIED },
};

static int put_apart(struct store *s, const struct item *item, int64_t now)
{
	sqlite3_stmt *sql = s->sql[SQL_APART];

	sqlite3_bind_int64(sql, 1, number(item->raw + item->bytes -
					  ITEM_DIGEST));
	sqlite3_bind_int64(sql, 2, now);
	sqlite3_bind_int(sql, 3, item->pid);
	sqlite3_bind_int64(sql, 4, item->uid);
	sqlite3_bind_int(sql, 5, item->origin);
	sqlite3_bind_text(sql, 6, apart[item->kind].why, -1, SQLITE_STATIC);
	sqlite3_bind_blob(sql, 7, item->raw, item->bytes, SQLITE_STATIC);
	return store_run(s, SQL_APART);
}

static int is_apart(const struct item *item)
{
	return item->kind == ITEM_STRANGE || item->kind == ITEM_FORGED ||
	       item->kind == ITEM_UNVERIFIED;
}

static int put_item(struct store *s, struct item *item, int64_t now,
		    uint64_t *counts)
{
	struct bez_record r;
	int bad;

	item->taken_ns = now;
	if (item->kind == ITEM_RECORD) {
		bad = put_record(s, item, now);
		counts[item->is_new ? COUNT_TAKEN : COUNT_AGAIN]++;
		if (bad || !item->is_new)
			return bad;
		memcpy(&r, item->raw, sizeof(r));
		sums_add(&s->sums, &r, now);
		s->framed += r.flags & BEZ_RECORD_HAS_FRAME;
		return bad;
	}
	if (item->kind == ITEM_KERNEL)
		return store_put_kernel(s, item, now, counts);
	if (item->kind == ITEM_DEATH)
		return store_put_death(s, item, now, counts);
	counts[apart[item->kind].count]++;
	return put_apart(s, item, now);
}

static int put_counts(struct store *s, const uint64_t *counts)
{
	sqlite3_stmt *sql = s->sql[SQL_COUNT];
	int bad = SQLITE_OK, i;

	for (i = 0; i < COUNTS && !bad; i++) {
		if (!counts[i])
			continue;
		sqlite3_bind_text(sql, 1, count_names[i], -1, SQLITE_STATIC);
		sqlite3_bind_int64(sql, 2, (int64_t)counts[i]);
		bad = store_run(s, SQL_COUNT);
	}
	return bad;
}

static int put_all(struct store *s, struct item *items, size_t n)
{
	uint64_t counts[COUNTS];
	int bad = store_run(s, SQL_BEGIN);
	int64_t now = store_now(), offset = s->offset, killed = s->killed_ns;
	int apart_too = 0;
	size_t i;

	memcpy(counts, s->counts, sizeof(counts));
	memset(&s->sums, 0, sizeof(s->sums));
	if (!bad)
		bad = store_clock(s);
	for (i = 0; i < n && !bad; i++) {
		apart_too |= is_apart(&items[i]);
		bad = put_item(s, &items[i], now, counts);
	}
	/* all of these rows are looked at, so once for the batch */
	if (!bad && apart_too)
		bad = store_keep_apart(s, &counts[COUNT_APART_RETIRED]);
	if (!bad)
		bad = put_counts(s, counts);
	if (!bad)
		bad = sums_put(s, &s->sums);
	if (!bad)
		bad = store_run(s, SQL_COMMIT);
	if (!bad) {
		memset(s->counts, 0, sizeof(s->counts));
	} else {
		s->offset = offset;
		s->killed_ns = killed;
	}
	return bad;
}

enum store_answer store_put(struct store *s, struct item *items, size_t n)
{
	enum store_answer answer;
	int bad;

	store_look(s);
	bad = s->db ? put_all(s, items, n) : SQLITE_CANTOPEN;
	if (!bad) {
		/* SQLite writes first and makes it visible then: who follows
		 * (bezoar log --follow) is told now */
		futimens(s->lock, NULL);
		store_well(s);
		return STORE_OK;
	}
	answer = store_trouble(s, bad);
	/* a new one was begun */
	if (answer == STORE_OK && put_all(s, items, n))
		answer = STORE_LATER;
	return answer;
}

static void bind_file(sqlite3_stmt *sql, const struct store_file *file)
{
	bind_name(sql, 1, file->name, strlen(file->name));
	sqlite3_bind_int64(sql, 2, (int64_t)file->dev);
	sqlite3_bind_int64(sql, 3, (int64_t)file->ino);
}

void store_file_at(struct store *s, struct store_file *file)
{
	sqlite3_stmt *sql = s->sql[SQL_FILE_AT];

	file->at = file->torn = 0;
	if (!s->db)
		return;
	bind_file(sql, file);
	if (sqlite3_step(sql) == SQLITE_ROW) {
		file->at = (uint64_t)sqlite3_column_int64(sql, 0);
		file->torn = (uint64_t)sqlite3_column_int64(sql, 1);
	}
	sqlite3_reset(sql);
}

enum store_answer store_file_note(struct store *s,
				  const struct store_file *file)
{
	sqlite3_stmt *sql = s->sql[SQL_FILE_NOTE];
	int bad;

	if (!s->db)
		return STORE_LATER;
	bind_file(sql, file);
	sqlite3_bind_int64(sql, 4, (int64_t)file->at);
	sqlite3_bind_int64(sql, 5, (int64_t)file->torn);
	bad = store_run(s, SQL_FILE_NOTE);
	return bad ? store_trouble(s, bad) : STORE_OK;
}
