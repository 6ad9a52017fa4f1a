/* SPDX-License-Identifier: MIT */
/* The trailer, byte by byte: docs/around.md has the golden ones. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "around_target.h"
#include "hunt/around_form.h"
#include "source/digest.h"
#include "tap.h"

#define LEN	12288

static const struct bez_hole two[] = { { 4096, 4096 }, { LEN - 1, 1 } };

static size_t golden(unsigned char *to, size_t room)
{
	FILE *f = fopen(AROUND_MD, "r");
	char line[512];
	size_t n = 0;
	int in = 0;

	CHECKF(f, "%s", AROUND_MD);
	while (fgets(line, sizeof(line), f)) {
		char *at = line, *end;

		if (!strncmp(line, "```", 3)) {
			in = !strcmp(line, "```hex\n");
			continue;
		}
		while (in && n < room) {
			unsigned long byte = strtoul(at, &end, 16);

			if (end == at)
				break;
			to[n++] = (unsigned char)byte;
			at = end;
		}
	}
	fclose(f);
	return n;
}

static uint64_t good_bytes(void)
{
	static unsigned char bytes[LEN];
	size_t n = LEN - 4096 - 1;

	memset(bytes, 0xff, n);
	return bz_digest(bytes, n);
}

static void as_documented(void)
{
	unsigned char is[256], doc[256];
	struct bez_hole hole[2];
	uint64_t digest;
	size_t size = bz_around_size(2);

	bz_around_put(is, LEN, two, 2, good_bytes());
	CHECK_EQ(golden(doc, sizeof(doc)), size);
	CHECK(!memcmp(is, doc, size));
	CHECK_EQ(bz_around_get(doc, size, LEN, hole, &digest), 0);
	CHECK(!memcmp(hole, two, sizeof(two)));
	CHECK(digest == good_bytes());
}

/* A trailer with these holes, its digest put right. */
static int with(const struct bez_hole *hole, size_t count, uint64_t len)
{
	unsigned char is[512];

	bz_around_put(is, len, hole, count, 7);
	return around_holes(is, bz_around_size(count), len);
}

#define BAD(len, ...) do {						\
	static const struct bez_hole bad[] = { __VA_ARGS__ };		\
									\
	CHECK_EQ(with(bad, sizeof(bad) / sizeof(bad[0]), len), -EBADMSG); \
} while (0)

static void bad_lists(void)
{
	static const struct bez_hole all = { 0, LEN };
	static const struct bez_hole fine[] = { { 0, 1 }, { 2, 1 }, { 9, 3 } };

	CHECK_EQ(with(NULL, 0, 0), 0);
	CHECK_EQ(with(NULL, 0, UINT64_MAX), 0);
	CHECK_EQ(with(&all, 1, LEN), 1);
	CHECK_EQ(with(fine, 3, 12), 3);
	CHECK_EQ(with(fine, 3, 11), -EBADMSG);
	BAD(LEN, { 1, 0 });
	BAD(LEN, { 0, LEN + 1 });
	BAD(LEN, { LEN, 1 });
	BAD(LEN, { UINT64_MAX, 2 });
	BAD(LEN, { 1, UINT64_MAX });
	BAD(LEN, { 0, 1 }, { 1, 1 });		/* touch */
	BAD(LEN, { 0, 2 }, { 1, 2 });
	BAD(LEN, { 5, 1 }, { 2, 1 });
	BAD(UINT64_MAX, { 0, UINT64_MAX }, { 0, 1 });
	BAD(0, { 0, 1 });
}

static void heads(void)
{
	unsigned char is[256];
	size_t size = bz_around_size(2), i;

	bz_around_put(is, LEN, two, 2, 7);
	CHECK_EQ(around_holes(is, size, LEN - 1), -EBADMSG);
	for (i = 0; i < size; i++) {
		CHECK_EQ(around_holes(is, i, LEN), -EBADMSG);
		is[i] ^= 0x10;
		CHECKF(around_holes(is, size, LEN) ==
			       (i == 9 || i == 10 || i == 11 || i == 8 ?
					-EOPNOTSUPP : -EBADMSG), "byte %zu", i);
		is[i] ^= 0x10;
	}
	is[8] = 0;
	around_mend(is, size);
	CHECK_EQ(around_holes(is, size, LEN), -EBADMSG);
	is[8] = 1;
	is[24] = 1;				/* one hole, and room for two */
	around_mend(is, size);
	CHECK_EQ(around_holes(is, size, LEN), -EBADMSG);
	is[24] = 2;
	is[26] = 0x10;				/* 1,048,578 */
	around_mend(is, size);
	CHECK_EQ(around_holes(is, size, LEN), -EBADMSG);
}

static const struct tap_case cases[] = {
	{ .name = "as it is documented", .run = as_documented },
	{ .name = "lists that are none", .run = bad_lists },
	{ .name = "another byte, another length", .run = heads },
};
TAP_MAIN(cases)
