/* SPDX-License-Identifier: MIT */
/* Small things without state: sized structs, digests, the loop guards. */
#include <errno.h>
#include <string.h>

#include "core/sized.h"
#include "region/region.h"
#include "source/digest.h"
#include "unit.h"

/* ----------------------------------------------------------- sized structs */

struct ours {
	uint32_t size, a, b, c;
};

static void sized_in(void)
{
	struct { struct ours o; uint32_t more[2]; } user = {
		{ 0, 1, 2, 3 }, { 0, 0 } };
	struct ours got;
	uint32_t size;

	for (size = 0; size < 4; size++) {
		memset(&got, 0xa5, sizeof(got));
		CHECK_EQ(bz_sized_in(&got, sizeof(got), &user, size), -EINVAL);
		CHECK_EQ(got.a, 0xa5a5a5a5);
	}
	/* an older program: what it does not know is zero */
	memset(&got, 0xa5, sizeof(got));
	CHECK_EQ(bz_sized_in(&got, sizeof(got), &user, 8), 0);
	CHECK(got.a == 1 && !got.b && !got.c);
	CHECK_EQ(bz_sized_in(&got, sizeof(got), &user, 16), 0);
	CHECK(got.a == 1 && got.b == 2 && got.c == 3);
	/* a newer one may say more, if it is nothing */
	CHECK_EQ(bz_sized_in(&got, sizeof(got), &user, 24), 0);
	((unsigned char *)&user)[23] = 1;
	memset(&got, 0xa5, sizeof(got));
	CHECK_EQ(bz_sized_in(&got, sizeof(got), &user, 24), -E2BIG);
	CHECK_EQ(got.a, 0xa5a5a5a5);
	CHECK_EQ(bz_sized_in(&got, sizeof(got), &user, 23), 0);
}

static void sized_out(void)
{
	struct { struct ours o; uint32_t more[2]; } user;
	const struct ours from = { 99, 1, 2, 3 };

	CHECK_EQ(bz_sized_out(NULL, &from, sizeof(from)), -EINVAL);
	memset(&user, 0xa5, sizeof(user));
	user.o.size = 3;
	CHECK_EQ(bz_sized_out(&user, &from, sizeof(from)), -EINVAL);
	CHECK_EQ(user.o.a, 0xa5a5a5a5);
	/* not a byte more than there is room */
	user.o.size = 11;
	CHECK_EQ(bz_sized_out(&user, &from, sizeof(from)), 0);
	CHECK(user.o.size == 11 && user.o.a == 1 && user.o.b == 0xa5000002);
	user.o.size = 24;
	CHECK_EQ(bz_sized_out(&user, &from, sizeof(from)), 0);
	CHECK(user.o.size == 24 && user.o.c == 3 && !user.more[0] &&
	      !user.more[1]);
}

/* ----------------------------------------------------------------- digests */

/* Known answers of XXH3-64 with seed 0 and no secret; the bytes are those of
 * xxHash's own sanity test: a multiplicative generator. */
static void digests(void)
{
	static const struct {
		size_t len;
		uint64_t want;
	} known[] = {
		{ 0, 0x2d06800538d394c2 }, { 1, 0xc44bdff4074eecdb },
		{ 6, 0x27b56a84cd2d7325 }, { 12, 0xa713daf0dfbb77e7 },
		{ 24, 0xa3fe70bf9d3510eb }, { 48, 0x397da259ecba1f11 },
		{ 80, 0xbcdefbbb2c47c90a }, { 195, 0xcd94217ee362ec3a },
		{ 403, 0xcdeb804d65c6dea4 }, { 512, 0x617e49599013cb6b },
		{ 2048, 0xdd59e2c3a5f038e0 }, { 2240, 0x6e73a90539cf2948 },
		{ 2367, 0xcb37aeb9e5d361ed },
	};
	static unsigned char bytes[2400];
	uint64_t gen = 2654435761u;
	size_t i;

	for (i = 0; i < sizeof(bytes); i++) {
		bytes[i] = (unsigned char)(gen >> 56);
		gen *= 0x9e3779b185ebca8d;
	}
	for (i = 0; i < COUNT_OF(known); i++) {
		CHECKF(bez_digest(bytes, known[i].len) == known[i].want,
		       "%zu bytes: %016llx", known[i].len, (unsigned long long)
		       bez_digest(bytes, known[i].len));
		CHECK_EQ(bz_digest(bytes, known[i].len), known[i].want);
	}
}

/* One bit of a page makes another digest, wherever it is. */
static void digest_bits(void)
{
	static unsigned char page[4096];
	uint64_t zero = bez_digest(page, sizeof(page));
	size_t i;

	for (i = 0; i < sizeof(page); i++) {
		page[i] = 1 << i % 8;
		CHECK(bez_digest(page, sizeof(page)) != zero);
		page[i] = 0;
	}
	CHECK_EQ(bez_digest(page, sizeof(page)), zero);
}

/* --------------------------------------------------------------- the loops */

#define MS	1000000ull

static struct bz_extent page_at(uint64_t number)
{
	return (struct bz_extent){ number << 12, 4096 };
}

static void repeats(void)
{
	struct bz_mm *mm = unit_mm();
	uint64_t now = 5000 * MS;
	uint32_t i, limit;

	bz_core.page_shift = 12;
	for (limit = 1; limit < 255; limit += 23) {
		struct bz_extent x = page_at(0x7f0000000 + limit);

		for (i = 1; i <= limit; i++)
			CHECK(!bz_repeats(mm, x, now += 90 * MS, limit));
		CHECK(bz_repeats(mm, x, now += 90 * MS, limit));
		CHECK(bz_repeats(mm, x, now, limit));
		/* it came to rest */
		CHECK(!bz_repeats(mm, x, now += 300 * MS, limit));
	}
	/* slower than a tenth of a second is no loop */
	for (i = 0; i < 1000; i++)
		CHECK(!bz_repeats(mm, page_at(77), now += 210 * MS, 1));
	/* nor are many pages once each, whatever buckets they share */
	for (i = 0; i < 100000; i++)
		CHECK(!bz_repeats(mm, page_at(1000003 + i * 7), now, 1));
}

/* Two pages of one bucket: a loop may be seen late, never where none is. */
static void repeats_shared(void)
{
	struct bz_mm *mm = unit_mm();
	uint64_t a = 5, b = 4 << 10 | (a ^ 4);
	uint32_t i;

	bz_core.page_shift = 12;
	CHECK_EQ((a ^ a >> 10) & 1023, (b ^ b >> 10) & 1023);
	for (i = 0; i < 100; i++) {
		CHECK(!bz_repeats(mm, page_at(a), 1000 * MS, 1));
		CHECK(!bz_repeats(mm, page_at(b), 1000 * MS, 1));
	}
}

static void missing(void)
{
	struct bz_mm *mm = unit_mm();
	uint64_t now = 100000 * MS;
	uint32_t i;

	for (i = 0; i < 8; i++)
		CHECK(bz_missing_again(mm, now += 100 * MS, 8));
	CHECK(!bz_missing_again(mm, now, 8));
	CHECK(!bz_missing_again(mm, now, 8));
	/* a new second after the first of them */
	CHECK(bz_missing_again(mm, now += 400 * MS, 8));
	for (i = 1; i < 8; i++)
		CHECK(bz_missing_again(mm, now, 8));
	CHECK(!bz_missing_again(mm, now, 8));
	/* a thread whose fault was taken a little earlier opens no window */
	CHECK(!bz_missing_again(mm, now - 2 * MS, 8));
	CHECK(!bz_missing_again(mm, now, 8));
	CHECK(!bz_missing_again(mm, now, 1));
}

static const struct tap_case cases[] = {
	{ .name = "sized structs in", .run = sized_in },
	{ .name = "sized structs out", .run = sized_out },
	{ .name = "digests are XXH3-64", .run = digests },
	{ .name = "digests see every bit", .run = digest_bits },
	{ .name = "repeats", .run = repeats },
	{ .name = "repeats that share a bucket", .run = repeats_shared },
	{ .name = "faults without an address", .run = missing },
};
TAP_MAIN(cases)
