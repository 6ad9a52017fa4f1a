/* SPDX-License-Identifier: MIT */
/*
 * The reader of records on all that a fuzzer has found worth keeping, and on what
 * a seed makes of that. "make fuzz" looks for more, with clang.
 */
#include <string.h>

#include "corpus.h"
#include "reader_target.h"
#include "tap.h"

#include <bezoar/bezoar.h>
#include <bezoar/record.h>

#define MOST	65536
#define ROUNDS	200000

static struct corpus all;

static void load(void)
{
	corpus_load(&all, CORPUS, 10, MOST);
}

static size_t records_of(const char *name)
{
	const struct corpus_file *f = corpus_find(&all, name);

	return reader_records(f->bytes, f->len);
}

static void corpus(void)
{
	size_t i;

	load();
	for (i = 0; i < all.count; i++)
		LLVMFuzzerTestOneInput(all.file[i].bytes, all.file[i].len);
	/* the corpus is what its names say */
	CHECK_EQ(records_of("golden.rec"), 1);
	CHECK_EQ(records_of("three.rec"), 3);
	CHECK_EQ(records_of("torn-between.rec"), 2);
	CHECK_EQ(records_of("damaged-between.rec"), 2);
	CHECK_EQ(records_of("size-lies.rec"), 1);
	CHECK_EQ(records_of("strange-between.rec"), 2);
	CHECK_EQ(records_of("text-between.rec"), 2);
	CHECK_EQ(records_of("magic-twice.rec"), 1);
	CHECK_EQ(records_of("torn-end.rec"), 1);
	CHECK_EQ(records_of("empty.rec"), 0);
}

/* The digest of the record that begins at @at, if one does. */
static void mend(uint8_t *bytes, size_t len, size_t at)
{
	size_t claimed;
	uint64_t digest;

	if (at + 12 > len)
		return;
	claimed = bytes[at + 10] | (size_t)bytes[at + 11] << 8;
	if (claimed < BEZ_RECORD_LEAST || at + claimed > len)
		return;
	digest = bez_digest(bytes + at, claimed - 8);
	memcpy(bytes + at + claimed - 8, &digest, 8);
}

static size_t mutate(uint8_t *bytes, size_t len)
{
	const struct corpus_file *other;
	size_t at = corpus_draw(len), n;

	switch (corpus_draw(7)) {
	case 0:
		if (len)
			bytes[at] = (uint8_t)corpus_draw(256);
		return len;
	case 1:
		if (len)
			bytes[at] ^= (uint8_t)(1u << corpus_draw(8));
		return len;
	case 2:				/* cut off */
		return at;
	case 3:				/* a piece out of it */
		n = corpus_draw(len - at + 1);
		memmove(bytes + at, bytes + at + n, len - at - n);
		return len - n;
	case 4:				/* a piece of another in between */
		other = &all.file[corpus_draw(all.count)];
		n = corpus_draw(other->len + 1);
		if (len + n > MOST)
			return len;
		memmove(bytes + at + n, bytes + at, len - at);
		memcpy(bytes + at, other->bytes, n);
		return len + n;
	case 5:				/* a magic */
		if (len >= at + 8)
			memcpy(bytes + at, BEZ_RECORD_MAGIC, 8);
		return len;
	default:			/* what is damaged becomes right */
		mend(bytes, len, at & ~(size_t)127);
		mend(bytes, len, 0);
		return len;
	}
}

static void mutated(void)
{
	static uint8_t bytes[MOST];
	size_t round, len, found = 0;

	load();
	for (round = 0; round < ROUNDS; round++) {
		const struct corpus_file *from =
			&all.file[corpus_draw(all.count)];
		size_t times = corpus_draw(8);

		if (from->len > 2048)
			continue;
		len = from->len;
		memcpy(bytes, from->bytes, len);
		while (times--)
			len = mutate(bytes, len < 4096 ? len : 4096);
		LLVMFuzzerTestOneInput(bytes, len);
		found += reader_records(bytes, len);
	}
	tap_diag("%zu whole records in %d rounds", found, ROUNDS);
	CHECK(found > ROUNDS / 100);
}

static const struct tap_case cases[] = {
	{ .name = "the corpus", .run = corpus },
	{ .name = "what a seed makes of it", .run = mutated, .timeout_s = 120 },
};
TAP_MAIN(cases)
