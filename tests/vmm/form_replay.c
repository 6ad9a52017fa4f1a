/* SPDX-License-Identifier: MIT */
/*
 * The reader of lists on all that a fuzzer has found worth keeping, and on what a
 * seed makes of that. "make fuzz" looks for more, with clang.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "corpus.h"
#include "form_help.h"
#include "form_target.h"
#include "tap.h"

#define MOST	8192
#define ROUNDS	200000

static struct corpus all;

static void load(const char *form)
{
	char folder[1024];

	snprintf(folder, sizeof(folder), "%s/%s", CORPUS, form);
	corpus_load(&all, folder, 15, MOST);
}

/* The corpus is what its names say; what a fuzzer has named is not here. */
static const struct {
	const char *name;
	int r;			/* or how many ranges */
} known[] = {
	{ "empty-list.lost", 0 }, { "one.lost", 1 }, { "three.lost", 3 },
	{ "touching.lost", 2 }, { "last-page.lost", 1 }, { "widest.lost", 1 },
	{ "later.lost", -EOPNOTSUPP }, { "version-0.lost", -EBADMSG },
	{ "count-lies.lost", -EBADMSG }, { "count-huge.lost", -EBADMSG },
	{ "count-less.lost", -EBADMSG }, { "wraps.lost", -EBADMSG },
	{ "wraps-behind.lost", -EBADMSG }, { "len-wraps.lost", -EBADMSG },
	{ "number-long.lost", -EBADMSG }, { "number-too-long.lost", -EBADMSG },
	{ "number-too-large.lost", -EBADMSG }, { "number-cut.lost", -EBADMSG },
	{ "damaged.lost", -EBADMSG }, { "torn.lost", -EBADMSG },
	{ "magic.lost", -EBADMSG },
	{ "empty-list.json", 0 }, { "one.json", 1 }, { "three.json", 3 },
	{ "touching.json", 2 }, { "last-page.json", 1 }, { "widest.json", 1 },
	{ "order.json", 1 }, { "upper.json", 1 }, { "spaces.json", 0 },
	{ "later.json", -EOPNOTSUPP }, { "version-real.json", -EBADMSG },
	{ "twice.json", -EBADMSG }, { "gpa-twice.json", -EBADMSG },
	{ "unknown.json", -EBADMSG }, { "number.json", -EBADMSG },
	{ "nul.json", -EBADMSG }, { "bom.json", -EBADMSG },
	{ "utf16.json", -EBADMSG }, { "escapes.json", -EBADMSG },
	{ "deep.json", -EBADMSG }, { "two.json", -EBADMSG },
	{ "overlap.json", -EBADMSG }, { "wraps.json", -EBADMSG },
};

static void corpus(void)
{
	size_t i;

	load("binary");
	load("json");
	for (i = 0; i < all.count; i++)
		LLVMFuzzerTestOneInput(all.file[i].bytes, all.file[i].len);
	for (i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		const struct corpus_file *f = corpus_find(&all, known[i].name);
		int r = form_ranges(f->bytes, f->len);

		CHECKF(r == known[i].r, "%s: %d", known[i].name, r);
	}
}

static size_t mutate(uint8_t *bytes, size_t len)
{
	const struct corpus_file *other;
	size_t at = corpus_draw(len), from, n;

	switch (corpus_draw(6)) {
	case 0:
		if (len)
			bytes[at] = (uint8_t)corpus_draw(256);
		return len;
	case 1:
		if (len)
			bytes[at] ^= (uint8_t)(1u << corpus_draw(8));
		return len;
	case 2:				/* cut off */
		return corpus_draw(4) ? len : at;
	case 3:				/* a piece out of it */
		n = corpus_draw((len - at < 16 ? len - at : 16) + 1);
		memmove(bytes + at, bytes + at + n, len - at - n);
		return len - n;
	case 4:				/* a piece of another in between */
		other = &all.file[corpus_draw(all.count)];
		from = corpus_draw(other->len + 1);
		n = corpus_draw(other->len - from + 1);
		if (len + n > MOST)
			return len;
		memmove(bytes + at + n, bytes + at, len - at);
		memcpy(bytes + at, other->bytes + from, n);
		return len + n;
	default:			/* another digit: what is text stays so */
		if (len && bytes[at] >= '0' && bytes[at] <= 'f')
			bytes[at] = (uint8_t)
				"0123456789abcdef"[corpus_draw(16)];
		return len;
	}
}

static void mutated(void)
{
	static uint8_t bytes[MOST];
	const char *form = tap_data();
	size_t round, len, lists = 0, ranges = 0;
	int r;

	load(form);
	for (round = 0; round < ROUNDS; round++) {
		const struct corpus_file *from =
			&all.file[corpus_draw(all.count)];
		size_t times = corpus_draw(4);

		len = from->len < 1024 ? from->len : 1024;
		memcpy(bytes, from->bytes, len);
		while (times--)
			len = mutate(bytes, len < 2048 ? len : 2048);
		/* nobody guesses a digest */
		if (*form == 'b' && len >= HEAD_BYTES + DIGEST_BYTES &&
		    corpus_draw(8))
			mend(bytes, len);
		LLVMFuzzerTestOneInput(bytes, len);
		r = form_ranges(bytes, len);
		lists += r > 0;
		ranges += r > 0 ? (size_t)r : 0;
	}
	tap_diag("%zu lists of %zu ranges in %d rounds", lists, ranges, ROUNDS);
	CHECK(lists > ROUNDS / 100);
}

static const struct tap_case cases[] = {
	{ .name = "the corpus", .run = corpus },
	{ .name = "what a seed makes of it, binary", .run = mutated,
	  .data = "binary", .timeout_s = 120 },
	{ .name = "what a seed makes of it, JSON", .run = mutated, .data = "json",
	  .timeout_s = 120 },
};
TAP_MAIN(cases)
