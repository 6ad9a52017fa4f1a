/* SPDX-License-Identifier: MIT */
/*
 * What must hold of the reader of trailers whatever it is given; the fuzzer's
 * target, and around_replay.c's. It aborts where something does not.
 */
#include "around_target.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hunt/around_form.h"
#include "source/digest.h"

#define MUST(cond) ((cond) ? (void)0 : broken(#cond, __LINE__))

#define AT_LEN	16

static void broken(const char *what, int line)
{
	fprintf(stderr, "around_target.c:%d: not so: %s\n", line, what);
	abort();
}

static void put(uint8_t *at, uint64_t value)
{
	int i;

	for (i = 0; i < 8; i++)
		at[i] = (uint8_t)(value >> 8 * i);
}

uint64_t around_claims(const uint8_t *data, size_t size)
{
	uint64_t len = 0;
	int i;

	for (i = 8; size >= BZ_AROUND_HEAD && i; i--)
		len = len << 8 | data[AT_LEN + i - 1];
	return len;
}

void around_mend(uint8_t *data, size_t size)
{
	put(data + size - 16, size);
	put(data + size - 8, bz_digest(data, size - 8));
}

static void is_list(const struct bez_hole *hole, size_t count, uint64_t len)
{
	uint64_t end = 0;
	size_t i;

	for (i = 0; i < count; i++) {
		MUST(hole[i].len);
		MUST(!i || hole[i].offset > end);
		MUST(hole[i].offset < len);
		MUST(hole[i].len <= len - hole[i].offset);
		end = hole[i].offset + hole[i].len;
	}
}

int around_holes(const uint8_t *data, size_t size, uint64_t len)
{
	struct bez_hole *hole;
	uint64_t digest;
	uint8_t *again;
	size_t count = SIZE_MAX;
	int r;

	if (size < BZ_AROUND_HEAD)
		return -EBADMSG;
	r = bz_around_head(data, len, &count);
	if (r) {
		MUST(r == -EBADMSG || r == -EOPNOTSUPP);
		MUST(count == SIZE_MAX);
		MUST(bz_around_get(data, size, len, NULL, &digest) == r ||
		     size < bz_around_size(0));
		return r;
	}
	MUST(count <= BEZ_HOLES_MAX);
	/* of its own size: what is written behind it is found */
	hole = malloc(count * sizeof(*hole) + 1);
	MUST(hole);
	r = bz_around_get(data, size, len, hole, &digest);
	if (!r) {
		is_list(hole, count, len);
		/* there is one way to write it */
		MUST(size == bz_around_size(count));
		again = malloc(size);
		MUST(again);
		bz_around_put(again, len, hole, count, digest);
		MUST(!memcmp(again, data, size));
		free(again);
		r = (int)count;
	} else {
		MUST(r == -EBADMSG);
	}
	free(hole);
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *bytes = malloc(size ? size : 1);

	if (!bytes)
		return 0;
	memcpy(bytes, data, size);
	around_holes(bytes, size, 0);
	around_holes(bytes, size, around_claims(bytes, size));
	if (size >= bz_around_size(0)) {
		around_mend(bytes, size);
		around_holes(bytes, size, around_claims(bytes, size));
	}
	free(bytes);
	return 0;
}
