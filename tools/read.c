/* SPDX-License-Identifier: MIT */
#include "read.h"

#include <bezoar/bezoar.h>
#include <string.h>

#define MAGIC		8		/* bytes of it */

/* Where a record begins among the first @limit places from @from on; @limit: it
 * does not. The last of them may have the end of the magic behind it. */
static size_t find(const unsigned char *bytes, size_t len, size_t from,
		   size_t limit)
{
	while (from < limit && from + MAGIC <= len) {
		const unsigned char *at = memchr(bytes + from,
						 BEZ_RECORD_MAGIC[0] & 0xff,
						 len - MAGIC + 1 - from);

		if (!at || (size_t)(at - bytes) >= limit)
			break;
		if (!memcmp(at, BEZ_RECORD_MAGIC, MAGIC))
			return (size_t)(at - bytes);
		from = (size_t)(at - bytes) + 1;
	}
	return limit;
}

/* Little-endian, of any alignment. */
static uint64_t number(const unsigned char *at, size_t bytes)
{
	uint64_t n = 0;

	while (bytes--)
		n = n << 8 | at[bytes];
	return n;
}

static size_t other(const unsigned char *bytes, size_t len, int end,
		    struct piece *piece)
{
	/* what could be the beginning of a magic waits for the rest of it */
	size_t sure = end ? len : len > MAGIC - 1 ? len - (MAGIC - 1) : 0;

	piece->kind = PIECE_OTHER;
	return find(bytes, len, 0, sure);
}

/* It begins as a record of @claimed bytes, and is none. Another may begin before
 * that many are over. */
static size_t damaged(const unsigned char *bytes, size_t len, int end,
		      size_t claimed, struct piece *piece)
{
	size_t next;

	if (!end && len < claimed + MAGIC - 1)
		return 0;
	piece->kind = PIECE_DAMAGED;
	next = find(bytes, len, 1, claimed < len ? claimed : len);
	if (next == len && len < claimed)
		piece->kind = PIECE_TORN;
	return next;
}

size_t piece_first(const unsigned char *bytes, size_t len, int end,
		   struct piece *ret_piece)
{
	size_t claimed;

	ret_piece->version = 0;
	if (!len || (!end && len < MAGIC))
		return 0;
	if (len < MAGIC || memcmp(bytes, BEZ_RECORD_MAGIC, MAGIC))
		return other(bytes, len, end, ret_piece);
	if (len < BEZ_RECORD_LEAST)
		return damaged(bytes, len, end, BEZ_RECORD_LEAST, ret_piece);
	ret_piece->version = (uint16_t)number(bytes + 8, 2);
	claimed = number(bytes + 10, 2);
	if (claimed < BEZ_RECORD_LEAST || claimed > BEZ_RECORD_MOST)
		return damaged(bytes, len, end, BEZ_RECORD_LEAST, ret_piece);
	if (len < claimed ||
	    number(bytes + claimed - 8, 8) != bez_digest(bytes, claimed - 8))
		return damaged(bytes, len, end, claimed, ret_piece);
	ret_piece->kind = PIECE_STRANGE;
	if (ret_piece->version == BEZ_RECORD_VERSION &&
	    claimed == sizeof(ret_piece->record)) {
		ret_piece->kind = PIECE_RECORD;
		memcpy(&ret_piece->record, bytes, claimed);
	}
	return claimed;
}
