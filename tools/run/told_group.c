/* SPDX-License-Identifier: MIT */
/* What a unit's processes have died of: by their control group, for who was not there. */
#include "told.h"

#include <stdio.h>
#include <string.h>

#include "../read.h"

#ifdef HAVE_SQLITE
#include "../bezoard/item.h"
#include "told_in.h"

static int same(const struct death *d, const struct bez_record *r)
{
	return d->pid == r->pid && d->start_ticks == r->start_ticks &&
	       !memcmp(d->boot_id, r->boot_id, sizeof(d->boot_id));
}

/* What a process has said before its last word does not count. */
static int is_new(const struct bez_record *r, const struct deaths *seen)
{
	size_t i;

	for (i = 0; i < seen->n; i++)
		if (same(&seen->death[i], r) ||
		    seen->death[i].digest == r->digest)
			return 0;
	return 1;
}

static void add_seen(const struct bez_record *r, struct deaths *seen)
{
	struct death d = { .pid = r->pid, .start_ticks = r->start_ticks };

	memcpy(d.boot_id, r->boot_id, sizeof(d.boot_id));
	deaths_add(seen, &d);
}

/* Newest first; those of whom the last word is something else are passed over. */
static int look(sqlite3_stmt *s, const struct deaths *seen,
		const struct ending *e, uint64_t *looked,
		struct bez_record *ret_record)
{
	struct deaths others = { .n = 0 };
	struct piece p = { .kind = PIECE_OTHER };
	int real = evidence_kernel_is_real(), found = 0;

	while (!found && sqlite3_step(s) == SQLITE_ROW) {
		uint64_t number = (uint64_t)sqlite3_column_int64(s, 0);
		const void *raw = sqlite3_column_blob(s, 1);
		size_t len = (size_t)sqlite3_column_bytes(s, 1);

		if (number > *looked)
			*looked = number;
		if (!raw || piece_first(raw, len, 1, &p) != len ||
		    p.kind != PIECE_RECORD || p.record.pid <= 0 ||
		    !evidence_is_last(&p.record) || !is_new(&p.record, seen) ||
		    !is_new(&p.record, &others))
			continue;
		found = evidence_says(e, &p.record, real);
		if (found)
			*ret_record = p.record;
		else
			add_seen(&p.record, &others);
	}
	sqlite3_reset(s);
	return found;
}

/* Numbers of a store that was begun anew begin anew. */
static uint64_t last_number(struct told *t)
{
	sqlite3_stmt *s = told_ask(t, "SELECT seq FROM sqlite_sequence WHERE "
				   "name = 'records'");
	uint64_t n = 0;

	if (s && sqlite3_step(s) == SQLITE_ROW)
		n = (uint64_t)sqlite3_column_int64(s, 0);
	sqlite3_finalize(s);
	return n;
}

int told_of_group(const char *store, const char *cgroup, uint64_t since_ns,
		  const struct deaths *seen, const struct ending *e, int patient,
		  uint64_t *looked, struct bez_record *ret_record)
{
	char below[ITEM_CGROUP + 1];
	uint64_t from = *looked;
	sqlite3_stmt *s;
	struct told t;
	int len, found = 0;

	len = snprintf(below, sizeof(below), "%s/", cgroup);
	if (len >= (int)sizeof(below) || told_open(&t, store))
		return 0;
	if (from > last_number(&t))
		*looked = from = 0;
	s = told_ask(&t, "SELECT number, raw FROM records WHERE number > ?1 AND "
			 "taken >= ?2 AND origin = 0 AND (cgroup = ?3 OR "
			 "substr(cgroup, 1, length(?4)) = ?4) "
			 "ORDER BY number DESC LIMIT 1000");
	if (s) {
		sqlite3_bind_int64(s, 1, (int64_t)from);
		sqlite3_bind_int64(s, 2, (int64_t)since_ns);
		sqlite3_bind_blob(s, 3, below, len - 1, SQLITE_STATIC);
		sqlite3_bind_blob(s, 4, below, len, SQLITE_STATIC);
		do
			found = look(s, seen, e, looked, ret_record);
		while (!found && patient && told_waits(&t));
	}
	sqlite3_finalize(s);
	told_close(&t);
	return found;
}

#else /* no SQLite: nothing is known */

int told_of_group(const char *store, const char *cgroup, uint64_t since_ns,
		  const struct deaths *seen, const struct ending *e, int patient,
		  uint64_t *looked, struct bez_record *ret_record)
{
	(void)e;
	(void)looked;
	(void)store;
	(void)cgroup;
	(void)since_ns;
	(void)seen;
	(void)patient;
	(void)ret_record;
	return 0;
}
#endif
