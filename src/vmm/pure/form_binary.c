/* SPDX-License-Identifier: MIT */
/*
 * The compact form: what lies between two ranges and what they cover, in pages, as
 * numbers of as few bytes as they need. Two bytes are enough for a page that is
 * lost near another. There is one way to write a list, and a digest over all of it.
 */
#include "vmm/pure/form.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#define XXH_NO_STDLIB
#include <xxhash.h>

#define VERSION		1
#define AT_VERSION	BZV_BINARY_MAGIC_BYTES
#define AT_COUNT	(AT_VERSION + 4)
#define HEAD		(AT_COUNT + 4)
#define DIGEST		8
#define PAGES_BITS	52		/* of 64, without those within a page */
#define LEAST_RANGE	2		/* bytes */

/* Bytes of it, read in order. */
struct in {
	const unsigned char *at, *end;
};

static void little(unsigned char *dst, uint64_t n, size_t bytes)
{
	size_t i;

	for (i = 0; i < bytes; i++)
		dst[i] = (unsigned char)(n >> 8 * i);
}

static uint64_t number(const unsigned char *from, size_t bytes)
{
	uint64_t n = 0;

	while (bytes--)
		n = n << 8 | from[bytes];
	return n;
}

/* Seven bits a byte, the lowest first; the last has bit 7 clear. */
static void put_pages(struct bzv_out *out, uint64_t n)
{
	unsigned char byte;

	do {
		byte = (unsigned char)((n & 0x7f) | (n > 0x7f ? 0x80 : 0));
		bzv_put(out, &byte, 1);
		n >>= 7;
	} while (n);
}

static int get_pages(struct in *in, uint64_t *ret)
{
	unsigned int shift;
	uint64_t n = 0;

	for (shift = 0; shift < PAGES_BITS && in->at < in->end; shift += 7) {
		unsigned char byte = *in->at++;

		n |= (uint64_t)(byte & 0x7f) << shift;
		if (byte & 0x80)
			continue;
		/* an empty last byte: there is a shorter way to write it */
		if ((!byte && shift) || n >> PAGES_BITS)
			return -EBADMSG;
		*ret = n;
		return 0;
	}
	return -EBADMSG;
}

/*
 * The digest is over what is in @out already: written in one piece, if it has room.
 * Otherwise the bytes are counted, and hold nothing of use.
 */
void bzv_binary_write(const struct bzv_range *range, size_t count,
		      struct bzv_out *out)
{
	unsigned char head[HEAD] = BZV_BINARY_MAGIC, digest[DIGEST] = { 0 };
	uint64_t end = 0;
	size_t i;

	little(head + AT_VERSION, VERSION, 4);
	little(head + AT_COUNT, count, 4);
	bzv_put(out, head, sizeof(head));
	for (i = 0; i < count; i++) {
		put_pages(out, (range[i].gpa - end) / BZV_FORM_PAGE);
		put_pages(out, range[i].len / BZV_FORM_PAGE - 1);
		end = range[i].gpa + range[i].len;
	}
	if (out->put <= out->len)
		little(digest, XXH3_64bits(out->dst, out->put), DIGEST);
	bzv_put(out, digest, DIGEST);
}

/* One more range behind @end. */
static int get_range(struct in *in, uint64_t end, struct bzv_range *ret)
{
	uint64_t gap, pages;

	if (get_pages(in, &gap) || get_pages(in, &pages))
		return -EBADMSG;
	ret->gpa = end + gap * BZV_FORM_PAGE;
	ret->len = (pages + 1) * BZV_FORM_PAGE;
	return bzv_range_ok(end, ret) ? 0 : -EBADMSG;
}

int bzv_binary_read(const unsigned char *from, size_t len,
		    struct bzv_range **ret_range, size_t *ret_count)
{
	struct bzv_range *range = NULL;
	uint64_t count, version, end = 0;
	struct in in;
	size_t i;

	if (len < HEAD + DIGEST ||
	    memcmp(from, BZV_BINARY_MAGIC, BZV_BINARY_MAGIC_BYTES) ||
	    XXH3_64bits(from, len - DIGEST) != number(from + len - DIGEST, DIGEST))
		return -EBADMSG;
	version = number(from + AT_VERSION, 4);
	count = number(from + AT_COUNT, 4);
	if (version != VERSION)
		return version ? -EOPNOTSUPP : -EBADMSG;
	in.at = from + HEAD;
	in.end = from + len - DIGEST;
	/* before anything is allocated for them */
	if (count > (uint64_t)(in.end - in.at) / LEAST_RANGE)
		return -EBADMSG;
	if (count > BZV_FORM_MOST)
		return -E2BIG;
	if (count) {
		range = malloc(count * sizeof(*range));
		if (!range)
			return -ENOMEM;
	}
	for (i = 0; i < count; i++) {
		if (get_range(&in, end, &range[i]))
			goto bad;
		end = range[i].gpa + range[i].len;
	}
	if (in.at != in.end)
		goto bad;
	*ret_range = range;
	*ret_count = count;
	return 0;
bad:
	free(range);
	return -EBADMSG;
}
