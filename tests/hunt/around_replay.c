/* SPDX-License-Identifier: MIT */
/*
 * The reader of trailers on all that a fuzzer has found worth keeping, and on what
 * a seed makes of that. "make fuzz" looks for more, with clang.
 */
#include <errno.h>
#include <string.h>

#include "around_target.h"
#include "corpus.h"
#include "hunt/around_form.h"
#include "tap.h"

#define MOST	1024
#define ROUNDS	200000

static struct corpus all;

/* The corpus is what its names say. */
static const struct {
	const char *name;
	int r;			/* or how many holes */
} known[] = {
	{ "none", 0 }, { "one", 1 }, { "four", 4 }, { "all", 1 },
	{ "later", -EOPNOTSUPP }, { "touching", -EBADMSG },
	{ "behind", -EBADMSG }, { "wraps", -EBADMSG }, { "empty", -EBADMSG },
	{ "count-huge", -EBADMSG }, { "torn", -EBADMSG },
	{ "damaged", -EBADMSG }, { "magic", -EBADMSG },
	{ "version-0", -EBADMSG }, { "not-zero", -EBADMSG },
	{ "head", -EBADMSG }, { "starts-behind", -EBADMSG },
};

static void corpus(void)
{
	size_t i;

	corpus_load(&all, CORPUS, 8, MOST);
	for (i = 0; i < all.count; i++)
		LLVMFuzzerTestOneInput(all.file[i].bytes, all.file[i].len);
	for (i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		const struct corpus_file *f = corpus_find(&all, known[i].name);
		int r = around_holes(f->bytes, f->len,
				     around_claims(f->bytes, f->len));

		CHECKF(r == known[i].r, "%s: %d", known[i].name, r);
	}
}

static void mutate(uint8_t *bytes, size_t *len)
{
	size_t at = corpus_draw(*len);

	switch (corpus_draw(4)) {
	case 0:
		bytes[at] ^= (uint8_t)(1u << corpus_draw(8));
		break;
	case 1:
		bytes[at] = (uint8_t)corpus_draw(256);
		break;
	case 2:				/* one hole more, or less */
		if (*len + BZ_AROUND_HOLE <= MOST)
			*len += BZ_AROUND_HOLE;
		bytes[24]++;
		break;
	default:
		if (corpus_draw(4) == 0)
			*len = at ? at : 1;
	}
}

static void mutated(void)
{
	static uint8_t bytes[MOST];
	size_t round, lists = 0;

	corpus_load(&all, CORPUS, 8, MOST);
	for (round = 0; round < ROUNDS; round++) {
		const struct corpus_file *from =
			&all.file[corpus_draw(all.count)];
		size_t times = corpus_draw(4), len = from->len;

		memcpy(bytes, from->bytes, MOST);
		while (times--)
			mutate(bytes, &len);
		/* nobody guesses a digest */
		if (len >= bz_around_size(0) && corpus_draw(8))
			around_mend(bytes, len);
		LLVMFuzzerTestOneInput(bytes, len);
		lists += around_holes(bytes, len,
				      around_claims(bytes, len)) >= 0;
	}
	tap_diag("%zu lists in %d rounds", lists, ROUNDS);
	CHECK(lists > ROUNDS / 100);
	CHECK(lists < ROUNDS);
}

static const struct tap_case cases[] = {
	{ .name = "the corpus", .run = corpus },
	{ .name = "what a seed makes of it", .run = mutated, .timeout_s = 120 },
};
TAP_MAIN(cases)
