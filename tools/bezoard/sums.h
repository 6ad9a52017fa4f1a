/* SPDX-License-Identifier: MIT */
/*
 * What was ever taken, in numbers that stay when the rows are retired: they are
 * what counters of a monitoring system are made of, and those may not fall. They
 * are kept in the table meta, under keys that begin with "sum ", and are put by
 * the transaction that puts the rows.
 *
 *	sum records O1 C1	records, by the codes of bezoar explain
 *	sum losses restored	pages lost, see sums_add(); and "gone"
 *	sum bytes restored	how wide they were; and "gone"
 *	sum took 2000		faults that took so many ns at most, and more than
 *				the limit before; "sum took more": than the last
 *	sum took ns		all of them together
 *	sum dimm LABEL		page frames lost, by memory module
 *	sum deaths yes		processes that died and had told; and "no"
 *
 * "last loss" is when the last of the losses was taken. "sums" says that all this
 * is there: a store of before has its rows counted.
 */
#ifndef BEZOAR_TOOLS_BEZOARD_SUMS_H
#define BEZOAR_TOOLS_BEZOARD_SUMS_H

#include <bezoar/record.h>
#include <stdint.h>

struct store;

/* Whoever can send may send any number: what has no name counts as the last. */
#define SUMS_OUTCOMES	256
#define SUMS_CAUSES	16
/* What one record can add; 2^63 is not reached by honest ones. */
#define SUMS_MOST_BYTES	(1ull << 30)
#define SUMS_MOST_NS	60000000000ull

enum { SUMS_RESTORED, SUMS_GONE, SUMS_CONTENTS };

#define SUMS_LIMITS 12
struct sums_limit {
	uint64_t ns;
	const char *seconds;	/* the same, as a label */
};
extern const struct sums_limit sums_limits[SUMS_LIMITS];

/* Of one transaction, to be added to what is in the table. */
struct sums {
	uint64_t records[SUMS_OUTCOMES][SUMS_CAUSES];
	uint64_t losses[SUMS_CONTENTS], bytes[SUMS_CONTENTS];
	uint64_t took[SUMS_LIMITS + 1], took_ns;
	int64_t lost_ns;		/* when the last was taken; 0: none */
};

/*
 * One record more. A loss is a page that was met and is lost: it is restored if the
 * good bytes are in its place by now, else gone; one that stays lost counts each
 * time it is met. Of a shutdown only the beginning does. @taken: when the record was,
 * in ns.
 */
void sums_add(struct sums *sums, const struct bez_record *r, int64_t taken);

/* In a transaction. SQLITE_OK, or an extended code. */
int sums_put(struct store *s, const struct sums *sums);

/* When the store is opened; in a transaction of its own. Returns likewise. */
int sums_open(struct store *s);

#endif
