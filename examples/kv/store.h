/* SPDX-License-Identifier: MIT */
/*
 * The store: keys, values, and what becomes of them. Every call is atomic, may be
 * made by any thread, and lives on if memory of the store is lost meanwhile: the
 * keys that were there are missing then, and the call goes on without them.
 */
#ifndef KV_STORE_H
#define KV_STORE_H

#include <stddef.h>
#include <stdint.h>

#include "buffer.h"

#define KEY_MAX_LEN	250
#define ITEM_MAX	(1u << 20)	/* with its key and what we keep with it */

enum store_answer {
	STORE_DONE,
	STORE_NOT_STORED,		/* add, replace, append, prepend */
	STORE_EXISTS,			/* cas: another value has come */
	STORE_NOT_FOUND,
	STORE_TOO_LARGE,
	STORE_FULL,			/* not even by dropping others */
	STORE_NOT_A_NUMBER
};

enum store_how { STORE_SET, STORE_ADD, STORE_REPLACE, STORE_APPEND,
		 STORE_PREPEND, STORE_CAS };

struct store_key {
	const char *at;
	size_t len;
	uint64_t now;			/* seconds since 1970 */
};

struct store_value {
	enum store_how how;
	const char *at;
	size_t len;
	uint32_t flags, expires;	/* @expires: as struct item has it */
	uint64_t cas;
};

enum store_counter {
	STORE_GETS, STORE_GET_HITS, STORE_SETS, STORE_TOUCHES, STORE_TOUCH_HITS,
	STORE_DELETE_HITS, STORE_DELETE_MISSES, STORE_INCR_HITS,
	STORE_INCR_MISSES, STORE_DECR_HITS, STORE_DECR_MISSES, STORE_CAS_HITS,
	STORE_CAS_MISSES, STORE_CAS_BADVAL, STORE_FLUSHES, STORE_TOTAL_ITEMS,
	STORE_EVICTIONS,
	STORE_LOST_PAGES,		/* of items, and made good since */
	STORE_LOST_KEYS, STORE_LOST_BYTES, /* bytes of their keys and values */
	STORE_INDEX_LOST,		/* times that an index was made anew */
	STORE_UNMENDED,			/* times that a page could not be */
	STORE_COUNTERS
};

struct store_stats {
	uint64_t items, bytes;		/* now */
	uint64_t limit;			/* bytes for slabs */
	uint64_t count[STORE_COUNTERS];
};

/* @bytes for slabs, a MiB at least. bez_start() comes first. 0, or a negative
 * errno. */
int store_open(size_t bytes);

/* Append "VALUE <key> <flags> <len>[ <cas>]\r\n<value>\r\n" to @out: all of it,
 * or nothing. @expires, if not NULL: touch it, too. -1: no memory for that. */
int store_get(const struct store_key *k, int with_cas, const uint32_t *expires,
	      struct buffer *out);

enum store_answer store_put(const struct store_key *k,
			    const struct store_value *v);
enum store_answer store_delete(const struct store_key *k);
enum store_answer store_touch(const struct store_key *k, uint32_t expires);
/* Up, or down and not below 0. */
enum store_answer store_count(const struct store_key *k, int up, uint64_t by,
			      uint64_t *ret_value);

/* Drop all, at once or at a time (seconds since 1970). */
void store_flush(uint64_t at, uint64_t now);

void store_stats(struct store_stats *ret_stats);
void store_stats_reset(void);

#endif
