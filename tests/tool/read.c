/* SPDX-License-Identifier: MIT */
/* What the program makes of records, names and codes. */
#include <bezoar/bezoar.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "catalogue.h"
#include "escape.h"
#include "read.h"
#include "tap.h"

/* ----------------------------------------------------------------- the names */

static void escaped(void)
{
	static const char *const pairs[][2] = {
		{ "", "" },
		{ "plain name", "plain name" },
		{ "a\nb\r\t", "a\\x0ab\\x0d\\x09" },
		{ "\033]0;title\007", "\\x1b]0;title\\x07" },
		{ "q\"b\\", "q\\\"b\\\\" },
		{ "\\x0a", "\\\\x0a" },
		{ "\302\233\377", "\\xc2\\x9b\\xff" },
		{ "\177", "\\x7f" },
	};
	char text[ESCAPED(64)];
	size_t i;

	for (i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
		CHECKF(!strcmp(escape(text, pairs[i][0], 64), pairs[i][1]),
		       "%s instead of %s", text, pairs[i][1]);
	/* no NUL in it: no further than it is long */
	CHECK(!strcmp(escape(text, "abcdef", 3), "abc"));
	memset(text, 0, sizeof(text));
	CHECK(strlen(escape(text, "\1\1\1\1", 4)) == 16);
}

/* ---------------------------------------------------------------- the pieces */

static unsigned char bytes[4 * BEZ_RECORD_BYTES];

static void sign(unsigned char *at, size_t len)
{
	uint64_t digest = bez_digest(at, len - 8);

	memcpy(at + len - 8, &digest, 8);
}

static void make(unsigned char *at, uint16_t version, uint16_t len)
{
	memset(at, 'x', len);
	memcpy(at, BEZ_RECORD_MAGIC, 8);
	memcpy(at + 8, &version, 2);
	memcpy(at + 10, &len, 2);
	sign(at, len);
}

static void expect(size_t from, size_t len, int end, size_t want,
		   enum piece_kind kind)
{
	struct piece p = { .kind = PIECE_RECORD };
	size_t r = piece_first(bytes + from, len, end, &p);

	CHECKF(r == want && (!want || p.kind == kind),
	       "%zu bytes of %zu, kind %d; not %zu, %d", r, len, (int)p.kind,
	       want, (int)kind);
}

static void pieces(void)
{
	size_t all = BEZ_RECORD_BYTES;

	make(bytes, 1, BEZ_RECORD_BYTES);
	make(bytes + all, 1, BEZ_RECORD_BYTES);
	expect(0, 2 * all, 0, all, PIECE_RECORD);
	expect(0, all, 0, all, PIECE_RECORD);
	expect(0, all - 1, 0, 0, PIECE_RECORD);	/* more is to come */
	expect(0, all - 1, 1, all - 1, PIECE_TORN);
	expect(0, 5, 1, 5, PIECE_OTHER);
	expect(0, 9, 1, 9, PIECE_TORN);
	expect(0, 0, 1, 0, PIECE_OTHER);
	/* begins in the middle of one */
	expect(1, 2 * all - 1, 0, all - 1, PIECE_OTHER);
	expect(1, 100, 0, 93, PIECE_OTHER);
	expect(1, 100, 1, 100, PIECE_OTHER);

	/* one bit is wrong: it is passed over as a whole */
	bytes[200] ^= 1;
	expect(0, 2 * all, 0, all, PIECE_DAMAGED);
	bytes[200] ^= 1;
	/* it says that it is longer, and so hides the next one's beginning */
	bytes[10] += 64;
	expect(0, 2 * all, 0, all, PIECE_DAMAGED);
	bytes[10] -= 64;
	/* lengths that none has */
	bytes[10] = 19;
	bytes[11] = 0;
	expect(0, 2 * all, 0, 20, PIECE_DAMAGED);
	bytes[10] = 1;
	bytes[11] = 2;
	expect(0, 2 * all, 0, 20, PIECE_DAMAGED);

	/* of another version, and of another length */
	make(bytes, 2, 500);
	expect(0, 2 * all, 0, 500, PIECE_STRANGE);
	make(bytes, 7, BEZ_RECORD_LEAST);
	expect(0, 2 * all, 0, BEZ_RECORD_LEAST, PIECE_STRANGE);
	make(bytes, 1, 512);
	expect(0, 2 * all, 0, 512, PIECE_STRANGE);

	/* torn, and another behind it */
	make(bytes, 1, BEZ_RECORD_BYTES);
	make(bytes + 100, 1, BEZ_RECORD_BYTES);
	expect(0, 100 + all, 1, 100, PIECE_DAMAGED);
	expect(100, all, 1, all, PIECE_RECORD);
}

/* ------------------------------------------------------------- the catalogue */

/* Is it a sentence, or some? */
static int is_sentence(const char *text)
{
	size_t len = text ? strlen(text) : 0;

	return len > 5 && text[len - 1] == '.' &&
	       (isupper((unsigned char)text[0]) || !strncmp(text, "bez_", 4)) &&
	       !strstr(text, "  ");
}

static void entry(char kind, const char *symbol, unsigned int number)
{
	const struct entry *e = entry_of(kind, number);
	char code[8], word[96];

	CHECKF(e, "%c%u %s has no entry", kind, number, symbol);
	CHECKF(!strcmp(e->symbol, symbol), "%s is called %s", symbol,
	       e->symbol);
	CHECKF(strcmp(entry_name(e), "unknown"), "%s has no name", symbol);
	CHECKF(is_sentence(e->happened) && is_sentence(e->means) &&
	       is_sentence(entry_now(e)) && is_sentence(e->later),
	       "%s: one of its texts is no sentence", symbol);
	CHECKF(!strstr(e->means, "Not in this release") ==
	       !strstr(entry_now(e), "Not in this release"),
	       "%s is in this release or not", symbol);
	CHECK(entry_is(e, entry_code(e, code)));
	CHECK(entry_is(e, symbol));
	snprintf(word, sizeof(word), "bez_%s_%s",
		 kind == 'O' ? "outcome" : "cause", symbol);
	CHECKF(entry_is(e, word), "%s", word);
	snprintf(word, sizeof(word), "%u", number);
	CHECK_EQ(entry_is(e, word), kind == 'O');
	CHECK(!entry_is(e, ""));
	CHECK(!entry_is(e, "O"));
	snprintf(word, sizeof(word), "%ux", number);
	CHECK(!entry_is(e, word));
}

/* The header says which there are. */
static void complete(void)
{
	char line[256], name[64];
	unsigned int number, outcomes = 0, causes = 0;
	FILE *f = fopen(BEZOAR_H, "r");

	if (!f)
		tap_skip("%s is not there", BEZOAR_H);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, " BEZ_OUTCOME_%63[A-Z_] = %u", name,
			   &number) == 2) {
			entry('O', name, number);
			outcomes++;
		} else if (sscanf(line, " BEZ_CAUSE_%63[A-Z_] = %u", name,
				  &number) == 2) {
			entry('C', name, number);
			causes++;
		}
	}
	fclose(f);
	CHECK(outcomes >= 28 && causes >= 11);
	CHECK_EQ(catalogue_entries, outcomes + causes);
	CHECK(!entry_of('O', 9999));
}

static const struct tap_case cases[] = {
	{ .name = "names are escaped", .run = escaped },
	{ .name = "pieces", .run = pieces },
	{ .name = "every outcome and cause has an entry", .run = complete },
};
TAP_MAIN(cases)
