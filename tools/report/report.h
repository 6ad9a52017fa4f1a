/* SPDX-License-Identifier: MIT */
/*
 * bezoar report: what a store says, as one page of HTML. It is gathered first, into
 * this struct of fixed size however many records there are, and then written.
 */
#ifndef BEZOAR_TOOLS_REPORT_H
#define BEZOAR_TOOLS_REPORT_H

#include <sqlite3.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "../escape.h"
#include "../read.h"
#include "../words.h"

#define REPORT_BINS	48	/* of the timeline, at most */
#define REPORT_TIMES	23	/* 1, 2, 5 in each of seven decades, and two ends */
#define REPORT_ROWS	12	/* of what there may be any number of: the rest is
				 * added up */
#define REPORT_DEATHS	20
#define REPORT_CODES	256	/* there are none above; later ones are counted */
#define REPORT_LABEL	256

/* One of a kind: a region, a page frame, a module ... */
struct row {
	char label[REPORT_LABEL];	/* plain: nothing but printable ASCII */
	char note[REPORT_LABEL];	/* likewise */
	uint64_t n[FATES], total;
	uint64_t extra;			/* boots, frames: as its table says */
	int64_t last;			/* ns */
};

struct rows {
	int there;			/* the store has what it takes */
	size_t count;
	struct row row[REPORT_ROWS];	/* most first */
	uint64_t more, more_total;	/* those that have no row */
};

struct death {
	int64_t taken, told;
	int pid;
	uint32_t uid;
	char comm[ESCAPED(64)];
	char how[64];
};

struct report {
	const char *store;		/* escaped */
	int64_t since;			/* ns; 0: from the beginning */
	int64_t first, last;		/* ns, of the records */
	uint64_t records;
	uint64_t unread;		/* rows that are no whole record */
	uint64_t fate[FATES];
	uint64_t outcome[REPORT_CODES], why[REPORT_CODES], cause[REPORT_CODES];
	uint64_t later;			/* outcomes that have no number here */

	int64_t start_s, width_s;	/* of the timeline's bins */
	size_t bins;
	uint64_t bin[REPORT_BINS][FATES];

	uint64_t time[REPORT_TIMES], times, longest_ns;

	struct rows regions, frames, modules, kernel, ends;
	struct death death[REPORT_DEATHS];	/* the latest */
	size_t deaths;
};

/* The upper end of a bucket of time[]; UINT64_MAX: the last. */
uint64_t report_time_end(size_t bucket);

/*
 * Gather. One transaction: what comes meanwhile is not in it. On a terminal (of
 * standard error) it says how far it is if it takes longer. Returns 0 or an SQLite
 * code.
 */
int report_gather(sqlite3 *db, struct report *r);

/* Of gather: when a fault was, in SQL. A sender on the socket sends at once, and the
 * daemon's clock is the one that can be believed; what a file says is, unless
 * it is later than when it was read, or before there was bezoar. */
#define REPORT_AT \
	"(CASE WHEN origin = 0 OR wall_ns < 1577836800000000000 THEN taken " \
	"ELSE min(wall_ns, taken) END)"
/* The tables that are made of groups; groups.c. */
int report_groups(sqlite3 *db, struct report *r);
int report_has(sqlite3 *db, const char *table);
void report_doing(const char *what);	/* for who waits */
/* Is it the bytes of one record, whole? */
int report_whole(sqlite3_value *value, struct piece *ret);

/* Write the page; pictures.h has its parts. Errors stay with @to. */
void report_page(FILE *to, const struct report *r);

#endif
