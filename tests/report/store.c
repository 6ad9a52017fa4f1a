/* SPDX-License-Identifier: MIT */
/*
 * store FILE: a store of bezoard of the records on standard input, for tests that
 * want to know what is in it. Each line is fifteen words, numbers unless said:
 *
 *	kind wall taken origin outcome why cause took frame boot pid comm name
 *	cgroup addr
 *
 * @kind: record, or what it is kept apart for; "other" is a record of version 2.
 * @frame: -1 if there is none. @boot: each byte of its id. Names are in hexadecimal
 * digits, or "-".
 */
#include <bezoar/bezoar.h>
#include <bezoar/record.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "schema.h"

static void fail(const char *what)
{
	fprintf(stderr, "store: %s\n", what);
	exit(2);
}

static int name(const char *hex, char *ret, size_t room)
{
	size_t len = strcmp(hex, "-") ? strlen(hex) / 2 : 0, i;
	unsigned int byte;

	if (len > room)
		fail("a name is too long");
	for (i = 0; i < len; i++) {
		if (sscanf(hex + 2 * i, "%2x", &byte) != 1)
			fail("a name is not of hexadecimal digits");
		ret[i] = (char)byte;
	}
	return (int)strnlen(ret, room);
}

static int read_line(const char *line, uint64_t id, sqlite3_stmt *record,
		     sqlite3_stmt *apart)
{
	char kind[32], comm[64], region[128], cgroup[512];
	long long wall, taken, frame;
	unsigned int outcome, why, cause, boot;
	int origin, pid, comm_len, name_len;
	struct bez_record r;
	sqlite3_stmt *s;

	memset(&r, 0, sizeof(r));
	if (sscanf(line, "%31s %lld %lld %d %u %u %u %" SCNu64 " %lld %u %d %63s "
		   "%127s %511s %" SCNx64, kind, &wall, &taken, &origin,
		   &outcome, &why, &cause, &r.took_ns, &frame, &boot, &pid, comm,
		   region, cgroup, &r.addr) != 15)
		return -1;
	memcpy(r.magic, BEZ_RECORD_MAGIC, sizeof(r.magic));
	r.version = strcmp(kind, "other") ? BEZ_RECORD_VERSION : 2;
	r.bytes = sizeof(r);
	r.id = id;
	r.wall_ns = (uint64_t)wall;
	r.pid = r.tid = pid;
	r.width = 4096;
	r.outcome = (uint16_t)outcome;
	r.why = (uint16_t)why;
	r.cause = (uint16_t)cause;
	memset(r.boot_id, (int)boot, sizeof(r.boot_id));
	if (frame >= 0) {
		r.flags |= BEZ_RECORD_HAS_FRAME;
		r.frame = (uint64_t)frame;
	}
	comm_len = name(comm, r.comm, sizeof(r.comm));
	name_len = name(region, r.name, sizeof(r.name));
	name(cgroup, r.cgroup, sizeof(r.cgroup));
	r.region = name_len > 0;
	r.digest = bez_digest(&r, sizeof(r) - sizeof(r.digest));

	s = strcmp(kind, "record") ? apart : record;
	sqlite3_bind_int64(s, 1, (int64_t)r.digest);
	sqlite3_bind_int64(s, 2, taken);
	sqlite3_bind_int(s, 3, pid);
	sqlite3_bind_int(s, 4, origin);
	sqlite3_bind_blob(s, 5, &r, sizeof(r), SQLITE_STATIC);
	if (s == record) {
		sqlite3_bind_int64(s, 6, (int64_t)id);
		sqlite3_bind_int64(s, 7, wall);
		sqlite3_bind_blob(s, 8, r.comm, comm_len, SQLITE_STATIC);
		sqlite3_bind_blob(s, 9, r.name, name_len, SQLITE_STATIC);
		sqlite3_bind_int(s, 10, r.outcome);
		sqlite3_bind_int(s, 11, r.cause);
	} else {
		sqlite3_bind_text(s, 6, strcmp(kind, "other") ? kind : "version",
				  -1, SQLITE_STATIC);
	}
	if (sqlite3_step(s) != SQLITE_DONE)
		fail("a record was not taken");
	sqlite3_reset(s);
	return 0;
}

int main(int argc, char **argv)
{
	sqlite3_stmt *record = NULL, *apart = NULL;
	sqlite3 *db = NULL;
	char line[2048];
	uint64_t id = 0;
	int was;

	if (argc != 2 || sqlite3_open(argv[1], &db) ||
	    schema_bring(db, schema_steps, schema_version, &was) != SCHEMA_OK)
		fail("usage: store FILE, which is made");
	if (sqlite3_exec(db, "BEGIN", NULL, NULL, NULL) ||
	    sqlite3_prepare_v2(db, "INSERT INTO records (digest, taken, pid, "
			       "own_pid, origin, raw, id, wall_ns, comm, region, "
			       "outcome, cause, action, uid) VALUES (?1, ?2, ?3, "
			       "?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, 1, 1000)",
			       -1, &record, NULL) ||
	    sqlite3_prepare_v2(db, "INSERT INTO apart (digest, taken, pid, "
			       "origin, raw, why, uid) VALUES (?1, ?2, ?3, ?4, "
			       "?5, ?6, 1000)", -1, &apart, NULL))
		fail(sqlite3_errmsg(db));
	while (fgets(line, sizeof(line), stdin))
		if (read_line(line, ++id, record, apart))
			fail("a line is not fifteen words");
	sqlite3_finalize(record);
	sqlite3_finalize(apart);
	if (sqlite3_exec(db, "COMMIT", NULL, NULL, NULL))
		fail(sqlite3_errmsg(db));
	sqlite3_close(db);
	return 0;
}
