/* SPDX-License-Identifier: MIT */
/* All that the daemon asks of the store, and tells it. */
#include "store_in.h"

/* What of a frame says that it is lost; and a huge page with it. */
#define LOST	"('poison', 'handled', 'killed', 'uncorrected')"
#define HUGE	"bez_huge"

const char *const store_sql[SQLS] = {
	[SQL_BEGIN] = "BEGIN IMMEDIATE",
	[SQL_COMMIT] = "COMMIT",
	[SQL_ROLLBACK] = "ROLLBACK",
	[SQL_RECORD] = "INSERT INTO records (digest, id, taken, wall_ns, pid, "
		"own_pid, uid, origin, comm, region, outcome, action, cause, "
		"raw, cgroup) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) "
		"ON CONFLICT (digest, id) DO NOTHING",
	[SQL_APART] = "INSERT INTO apart (digest, taken, pid, uid, origin, "
		"why, raw) VALUES (?,?,?,?,?,?,?) "
		"ON CONFLICT (digest, pid, why) DO NOTHING",
	[SQL_COUNT] = "INSERT INTO counts VALUES (?1, ?2) "
		"ON CONFLICT (name) DO UPDATE SET n = n + ?2",
	[SQL_META] = "INSERT OR REPLACE INTO meta VALUES (?, ?)",
	[SQL_SHIFT] = "UPDATE records SET taken = taken + ?",
	[SQL_SHIFT_APART] = "UPDATE apart SET taken = taken + ?",
	[SQL_SHIFT_KERNEL] = "UPDATE kernel SET taken = taken + ?1, "
		"wall_ns = wall_ns + ?1",
	[SQL_SHIFT_DEATHS] = "UPDATE deaths SET taken = taken + ?",
	[SQL_SHIFT_LOSS] = "UPDATE meta SET value = value + ? "
		"WHERE key = 'last loss'",
	[SQL_FILE_AT] = "SELECT at, torn FROM files WHERE name = ? AND dev = ? AND "
		"ino = ?",
	[SQL_FILE_NOTE] = "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?)",
	/* by the numbers, which are older the smaller they are */
	[SQL_KEEP_AGE] = "DELETE FROM records WHERE number < ifnull("
		"(SELECT number FROM records WHERE taken >= ? ORDER BY number "
		"LIMIT 1), 9223372036854775807)",
	[SQL_KEEP_AGE_KERNEL] = "DELETE FROM kernel WHERE number < ifnull("
		"(SELECT number FROM kernel WHERE taken >= ? ORDER BY number "
		"LIMIT 1), 9223372036854775807)",
	[SQL_KEEP_AGE_DEATHS] = "DELETE FROM deaths WHERE taken < ?",
	[SQL_SIZE_USERS] = "SELECT uid FROM records NOT INDEXED",
	[SQL_SIZE_ROWS] = "SELECT number, uid FROM records ORDER BY number",
	[SQL_SIZE_GONE] = "DELETE FROM records WHERE number = ?",
	/* few, so that they can be put in order: of the users who have most, to the row */
	[SQL_KEEP_APART] = "DELETE FROM apart WHERE number IN (SELECT number "
		"FROM (SELECT number, row_number() OVER (PARTITION BY uid "
		"ORDER BY number DESC) AS nth FROM apart) "
		"ORDER BY nth DESC, number LIMIT "
		"max(0, (SELECT count(*) FROM apart) - ?))",
	[SQL_KEEP_KERNEL] = "DELETE FROM kernel WHERE number <= "
		"(SELECT max(number) FROM kernel) - ?",
	[SQL_KEEP_DEATHS] = "DELETE FROM deaths WHERE number IN (SELECT number "
		"FROM deaths WHERE uid = (SELECT uid FROM deaths GROUP BY uid "
		"ORDER BY count(*) DESC LIMIT 1) ORDER BY number LIMIT "
		"max(0, (SELECT count(*) FROM deaths) - ?))",
	[SQL_KEEP_PLACES] = "DELETE FROM places WHERE NOT EXISTS "
		"(SELECT 1 FROM records WHERE number = record)",
	[SQL_OLDEST] = "SELECT t FROM (SELECT (SELECT taken FROM records ORDER "
		"BY number LIMIT 1) AS t UNION ALL SELECT (SELECT taken FROM "
		"kernel ORDER BY number LIMIT 1) UNION ALL SELECT (SELECT "
		"taken FROM deaths ORDER BY number LIMIT 1)) "
		"WHERE t NOT NULL ORDER BY t LIMIT 1",
	[SQL_USED] = "SELECT (page_count - freelist_count) * page_size FROM "
		"pragma_page_count, pragma_freelist_count, pragma_page_size",
	/* a sum that has no room for more stays where it is */
	[SQL_SUM] = "INSERT INTO meta VALUES (?1, ?2) "
		"ON CONFLICT (key) DO UPDATE SET value = "
		"iif(value > 9000000000000000000 - ?2, value, value + ?2)",
	[SQL_AGAIN] = "SELECT number FROM records WHERE digest = ? AND id = ?",
	/* the log is read again from its beginning by each daemon: what has gone
	 * from here before is not new */
	[SQL_KERNEL] = "INSERT INTO kernel (taken, boot_id, seq, wall_ns, kind, "
		"frame, dimm, pid, text) SELECT ?1,?2,?3,?4,?5,?6,?7,?8,?9 "
		"WHERE NOT EXISTS (SELECT 1 FROM meta WHERE key = 'kernel gone' "
		"AND substr(value, 1, 32) = hex(?2) "
		"AND CAST(substr(value, 34) AS INTEGER) >= ?3) "
		"ON CONFLICT (boot_id, seq) DO NOTHING",
	/* numbers near the end: what is joined comes soon, or not at all */
	[SQL_KILLED] = "SELECT wall_ns FROM kernel WHERE boot_id = ? "
		"AND kind = 'killed' ORDER BY wall_ns DESC LIMIT 1",
	[SQL_HUGE] = "SELECT 1 FROM kernel WHERE boot_id = ? AND " HUGE "(text) "
		"LIMIT 1",
	/* a frame that is a sender's word names no module: one that the kernel has
	 * lost does, or one of a huge page that it says so of */
	[SQL_DIMM] = "SELECT k.dimm, k.frame FROM kernel k "
		"WHERE k.frame BETWEEN ?1 AND ?2 "
		"AND k.boot_id = ?3 AND k.dimm <> '' AND EXISTS (SELECT 1 FROM "
		"kernel l WHERE l.frame = k.frame AND l.boot_id = ?3 AND "
		"iif(k.frame = ?4, l.kind IN " LOST ", " HUGE "(l.text))) "
		"ORDER BY k.frame = ?4 DESC, k.number DESC LIMIT 1",
	[SQL_LOST] = "SELECT (SELECT dimm FROM kernel WHERE frame = ?1 AND "
		"boot_id = ?2 AND dimm <> '' ORDER BY number DESC LIMIT 1), "
		"max(" HUGE "(text)) FROM kernel WHERE frame = ?1 AND "
		"boot_id = ?2 AND kind IN " LOST,
	/* which frames, and whether a record of this process has it already */
	[SQL_FRAME] = "SELECT k.frame, EXISTS (SELECT 1 FROM places p "
		"JOIN records r ON r.number = p.record "
		"WHERE p.record > (SELECT max(record) FROM places) - 4096 "
		"AND p.frame = k.frame AND r.pid = ?4) FROM kernel k "
		"WHERE k.number > (SELECT max(number) FROM kernel) - 1024 "
		"AND k.kind = 'killed' AND k.frame >= 0 AND k.boot_id = ?1 "
		"AND k.pid IN (?4, ?5) AND k.wall_ns BETWEEN ?2 AND ?3 "
		"GROUP BY k.frame",
	[SQL_PLACE] = "INSERT OR IGNORE INTO places VALUES (?,?,?)",
	[SQL_PLACE_DIMM] = "UPDATE places SET dimm = ?1, frame = ?2 "
		"WHERE dimm = '' "
		"AND record > (SELECT max(record) FROM places) - 4096 "
		"AND EXISTS (SELECT 1 FROM records r WHERE r.number = record "
		"AND substr(r.raw, 49, 16) = ?3 "
		"AND (frame = ?2 OR (?4 AND frame / bez_pages(r.raw) = "
		"?2 / bez_pages(r.raw))))",
	[SQL_UNPLACED] = "SELECT number, pid, raw FROM records "
		"WHERE number > (SELECT max(number) FROM records) - 1024 "
		"AND cause IN (1, 2) AND (pid = ?2 OR (pid = own_pid AND "
		"bez_tid(raw) = ?2)) AND substr(raw, 49, 16) = ?1 "
		"AND bez_mono(raw) BETWEEN ?3 AND ?4 "
		"AND NOT EXISTS (SELECT 1 FROM places WHERE record = number) "
		"ORDER BY number LIMIT 16",
	[SQL_DEATH] = "INSERT INTO deaths (taken, boot_id, pid, start_ticks, "
		"uid, comm, status, told) VALUES (?,?,?,?,?,?,?,?)",
	[SQL_DEATH_TOLD] = "UPDATE deaths SET told = ?1 WHERE told = 0 "
		"AND boot_id = ?2 AND pid = ?3 AND start_ticks = ?4 "
		"AND (?5 = uid OR ?5 = 0)",
};

/* The last line of a boot that has gone: rows go in the order in which they came. */
const char store_gone[] =
	"CREATE TEMP TRIGGER IF NOT EXISTS kernel_gone AFTER DELETE ON kernel "
	"WHEN NOT EXISTS (SELECT 1 FROM meta WHERE key = 'kernel gone' AND "
	"substr(value, 1, 32) = hex(old.boot_id) AND "
	"CAST(substr(value, 34) AS INTEGER) >= old.seq) "
	"BEGIN INSERT OR REPLACE INTO meta VALUES ('kernel gone', "
	"hex(old.boot_id) || ' ' || old.seq); END";
