/* SPDX-License-Identifier: MIT */
/*
 * What goes where there is too much: an eighth of the records, of the users who have most, to
 * the row. Nobody fills the store with what is not others' loss, and users are easily had,
 * by who has a range of them.
 *
 * Of each user the newest @level are left, and of who has more than that all others go,
 * the oldest first. SQL can say that in one statement, but sorts all records for it in
 * memory; here they are walked twice, in the order of their numbers, with a count for each
 * user.
 */
#include <stdlib.h>
#include <string.h>

#include "store_in.h"

#define PART	8
#define LEAST	64			/* places of the table; a power of 2 */

struct user {
	uint32_t uid;
	uint64_t rows;			/* 0: a free place */
	uint64_t over;			/* of these, to go yet */
};

struct users {
	struct user *user;
	size_t places, n;
	uint64_t rows, most;		/* of all; of one */
};

static struct user *find(const struct users *u, uint32_t uid)
{
	size_t i = uid * 2654435761u;

	while (u->user[i & (u->places - 1)].rows &&
	       u->user[i & (u->places - 1)].uid != uid)
		i++;
	return &u->user[i & (u->places - 1)];
}

static int grow(struct users *u)
{
	struct users more = *u;
	size_t i;

	more.places = u->places ? u->places * 2 : LEAST;
	more.user = calloc(more.places, sizeof(*more.user));
	if (!more.user)
		return SQLITE_NOMEM;
	for (i = 0; i < u->places; i++)
		if (u->user[i].rows)
			*find(&more, u->user[i].uid) = u->user[i];
	free(u->user);
	*u = more;
	return SQLITE_OK;
}

static int count(struct store *s, struct users *u)
{
	sqlite3_stmt *sql = s->sql[SQL_SIZE_USERS];
	int bad = SQLITE_OK, step = SQLITE_DONE;
	struct user *user;

	while (!bad && (step = sqlite3_step(sql)) == SQLITE_ROW) {
		if (u->n * 2 >= u->places)
			bad = grow(u);
		if (bad)
			break;
		user = find(u, (uint32_t)sqlite3_column_int64(sql, 0));
		user->uid = (uint32_t)sqlite3_column_int64(sql, 0);
		u->n += !user->rows++;
		u->rows++;
		if (user->rows > u->most)
			u->most = user->rows;
	}
	sqlite3_reset(sql);
	return bad ? bad : step == SQLITE_DONE ? SQLITE_OK : step;
}

/* How many go if so many of each are left. */
static uint64_t above(const struct users *u, uint64_t level)
{
	uint64_t sum = 0;
	size_t i;

	for (i = 0; i < u->places; i++)
		if (u->user[i].rows > level)
			sum += u->user[i].rows - level;
	return sum;
}

/* As many are to go as @goes. *@ret_last: how many of those that are the last of their
 * user's to go. */
static void share(struct users *u, uint64_t goes, uint64_t *ret_last)
{
	uint64_t level = 0, too_many = u->most, half;
	size_t i;

	/* the highest at which there are enough */
	while (too_many - level > 1) {
		half = level + (too_many - level) / 2;
		if (above(u, half) >= goes)
			level = half;
		else
			too_many = half;
	}
	*ret_last = goes - above(u, level + 1);
	for (i = 0; i < u->places; i++)
		u->user[i].over = u->user[i].rows > level ?
				  u->user[i].rows - level : 0;
}

/* Their numbers. *@ret_n is at most @goes. */
static int choose(struct store *s, struct users *u, uint64_t goes, uint64_t last,
		  int64_t *numbers, uint64_t *ret_n)
{
	sqlite3_stmt *sql = s->sql[SQL_SIZE_ROWS];
	int step = SQLITE_DONE;
	struct user *user;

	*ret_n = 0;
	while (*ret_n < goes && (step = sqlite3_step(sql)) == SQLITE_ROW) {
		user = find(u, (uint32_t)sqlite3_column_int64(sql, 1));
		if (!user->over || (user->over == 1 && !last))
			continue;
		last -= user->over-- == 1;
		numbers[(*ret_n)++] = sqlite3_column_int64(sql, 0);
	}
	sqlite3_reset(sql);
	return step == SQLITE_DONE || step == SQLITE_ROW ? SQLITE_OK : step;
}

int store_keep_size(struct store *s, uint64_t *retired)
{
	struct users u = { .user = NULL };
	uint64_t goes, last, n = 0, i;
	int64_t *numbers = NULL;
	int bad = count(s, &u);

	goes = u.rows / PART + 1;
	if (!bad && u.rows) {
		numbers = calloc(goes, sizeof(*numbers));
		share(&u, goes, &last);
		bad = numbers ? choose(s, &u, goes, last, numbers, &n) :
				SQLITE_NOMEM;
	}
	for (i = 0; i < n && !bad; i++) {
		sqlite3_bind_int64(s->sql[SQL_SIZE_GONE], 1, numbers[i]);
		bad = store_run(s, SQL_SIZE_GONE);
	}
	*retired += i;
	free(numbers);
	free(u.user);
	return bad;
}
