/* SPDX-License-Identifier: MIT */
#include "alone.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct store alone = { .lock = -1 };
char alone_folder[32], alone_sub[40], alone_path[48];

void alone_begin(void)
{
	strcpy(alone_folder, "/tmp/bezoar-alone-XXXXXX");
	CHECK(mkdtemp(alone_folder));
	snprintf(alone_sub, sizeof(alone_sub), "%s/sub", alone_folder);
	snprintf(alone_path, sizeof(alone_path), "%s/store", alone_sub);
	CHECK_EQ(mkdir(alone_sub, 0755), 0);
	CHECK_EQ(store_open(&alone, alone_path), 0);
}

void alone_end(void)
{
	char line[64];

	store_close(&alone);
	snprintf(line, sizeof(line), "rm -rf %s", alone_folder);
	CHECK_EQ(system(line), 0);
}

void alone_run(const char *sql)
{
	char *why = NULL;

	CHECKF(!sqlite3_exec(alone.db, sql, NULL, NULL, &why), "%s: %s", sql,
	       why ? why : "");
}

int alone_ask(const char *sql, int none)
{
	sqlite3_stmt *q = NULL;
	int n = none;

	CHECKF(!sqlite3_prepare_v2(alone.db, sql, -1, &q, NULL), "%s: %s", sql,
	       sqlite3_errmsg(alone.db));
	if (sqlite3_step(q) == SQLITE_ROW)
		n = sqlite3_column_int(q, 0);
	sqlite3_finalize(q);
	return n;
}
