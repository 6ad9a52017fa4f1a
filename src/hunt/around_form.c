/* SPDX-License-Identifier: MIT */
#include "hunt/around_form.h"

#include <errno.h>
#include <string.h>

#include "source/digest.h"

#define AT_VERSION	8
#define AT_ZERO		12
#define AT_LEN		16
#define AT_COUNT	24
#define MAGIC		8

static void put(unsigned char *to, uint64_t value, unsigned int bytes)
{
	unsigned int i;

	for (i = 0; i < bytes; i++)
		to[i] = (unsigned char)(value >> 8 * i);
}

static uint64_t get(const unsigned char *from, unsigned int bytes)
{
	uint64_t value = 0;

	while (bytes--)
		value = value << 8 | from[bytes];
	return value;
}

void bz_around_put(unsigned char *to, uint64_t len,
		   const struct bez_hole *hole, size_t count, uint64_t digest)
{
	size_t size = bz_around_size(count), i;
	unsigned char *at = to + BZ_AROUND_HEAD;

	memcpy(to, BZ_AROUND_MAGIC, MAGIC);
	put(to + AT_VERSION, BZ_AROUND_VERSION, 4);
	put(to + AT_ZERO, 0, 4);
	put(to + AT_LEN, len, 8);
	put(to + AT_COUNT, count, 8);
	for (i = 0; i < count; i++, at += BZ_AROUND_HOLE) {
		put(at, hole[i].offset, 8);
		put(at + 8, hole[i].len, 8);
	}
	put(at, digest, 8);
	put(at + 8, size, 8);
	put(at + 16, bz_digest(to, size - 8), 8);
}

int bz_around_head(const unsigned char *from, uint64_t len, size_t *ret_count)
{
	uint64_t version = get(from + AT_VERSION, 4);
	uint64_t count = get(from + AT_COUNT, 8);

	if (memcmp(from, BZ_AROUND_MAGIC, MAGIC) || !version)
		return -EBADMSG;
	if (version > BZ_AROUND_VERSION)
		return -EOPNOTSUPP;
	if (get(from + AT_ZERO, 4) || get(from + AT_LEN, 8) != len ||
	    count > BEZ_HOLES_MAX)
		return -EBADMSG;
	*ret_count = (size_t)count;
	return 0;
}

int bz_around_get(const unsigned char *from, size_t size, uint64_t len,
		  struct bez_hole *ret_hole, uint64_t *ret_digest)
{
	const unsigned char *at = from + BZ_AROUND_HEAD;
	uint64_t end = 0;		/* of the hole before */
	size_t count, i;
	int r;

	if (size < bz_around_size(0))
		return -EBADMSG;
	r = bz_around_head(from, len, &count);
	if (r)
		return r;
	if (size != bz_around_size(count) ||
	    get(from + size - 16, 8) != size ||
	    get(from + size - 8, 8) != bz_digest(from, size - 8))
		return -EBADMSG;
	for (i = 0; i < count; i++, at += BZ_AROUND_HOLE) {
		uint64_t offset = get(at, 8), bytes = get(at + 8, 8);

		/* one that touches the one before would be a part of it */
		if (!bytes || (i && offset <= end) || offset > len ||
		    bytes > len - offset)
			return -EBADMSG;
		ret_hole[i] = (struct bez_hole){ offset, bytes };
		end = offset + bytes;
	}
	*ret_digest = get(at, 8);
	return 0;
}
