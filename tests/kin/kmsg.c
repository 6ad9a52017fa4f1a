/* SPDX-License-Identifier: MIT */
/*
 * The parser of the kernel's log, on logs made of the kernel's own formats: those of
 * mm/memory-failure.c, of EDAC, of firmware's errors and of machine checks, as
 * they are in Linux 5.10 to 7.x; and what a seed makes of them. "make fuzz" looks
 * for more, with clang.
 */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kmsg_target.h"
#include "tap.h"

#define MOST	65536
#define ROUNDS	20000

static const char *const logs[] = {
	"5.10", "6.1", "6.12", "7", "edac", "firmware", "mce", "others",
};
#define LOGS (sizeof(logs) / sizeof(logs[0]))

static size_t load(const char *name, const char *end, uint8_t bytes[MOST])
{
	char path[4096];
	size_t len;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s.%s", CORPUS, name, end);
	f = fopen(path, "r");
	CHECKF(f, "%s", path);
	len = fread(bytes, 1, MOST - 1, f);
	bytes[len] = '\0';
	fclose(f);
	return len;
}

struct list {
	char text[MOST];
	size_t len;
};

static void note(void *to, const struct kmsg_said *said)
{
	struct list *list = to;
	char frame[32] = "-";

	if (said->frame >= 0)
		snprintf(frame, sizeof(frame), "0x%" PRIx64,
			 (uint64_t)said->frame);
	list->len += (size_t)snprintf(list->text + list->len, 256,
				      "%" PRIu64 " %s %s %" PRId32 " %s\n",
				      said->seq, kmsg_kind_names[said->kind],
				      frame, said->pid,
				      said->dimm[0] ? said->dimm : "-");
}

static void log_(void)
{
	static uint8_t bytes[MOST], want[MOST];
	const char *const *name = tap_data();
	size_t len = load(*name, "kmsg", bytes);
	static struct list list;

	load(*name, "said", want);
	CHECK(len > 0);
	kmsg_all(bytes, len, note, &list);
	CHECKF(!strcmp(list.text, (char *)want), "it is:\n%sand not:\n%s",
	       list.text, (char *)want);
}

/* Several lines are one text; what is too long is cut. */
static void last(void *to, const struct kmsg_said *said)
{
	*(struct kmsg_said *)to = *said;
}

static void texts(void)
{
	static const char one[] = "3,1,2,-;Memory failure: 0x1: unhandlable "
				  "page.\n SUBSYSTEM=memory\n";
	static uint8_t bytes[MOST];
	struct kmsg_said said;
	size_t len;

	kmsg_all((const uint8_t *)one, sizeof(one) - 1, last, &said);
	CHECK_EQ(said.len, strlen("Memory failure: 0x1: unhandlable page."));
	CHECK(!memcmp(said.text, "Memory failure: 0x1: unh", 24));
	CHECK_EQ(said.usec, 2);
	len = load("mce", "kmsg", bytes);
	kmsg_all(bytes, len, last, &said);
	CHECK(memmem(said.text, said.len, "\nmce: [Hardware Error]: TSC 0", 29));
	memset(bytes, 'x', 3000);
	memcpy(bytes, one, strcspn(one, "\n"));
	kmsg_all(bytes, 3000, last, &said);
	CHECK_EQ(said.len, KMSG_TEXT);
	CHECK_EQ(said.frame, 1);
}

/* An address is of another page where pages are larger; EDAC names pages itself. */
static void large_pages(void)
{
	static const char mce[] = "3,1,2,-;mce: Uncorrected hardware memory "
				  "error in user-access at 3fe7b1c940\n",
			  edac[] = "3,1,2,-;EDAC MC0: 1 UE memory read error on "
				   "DIMM_A1 (channel:0 page:0x12 offset:0x40 "
				   "grain:32)\n";
	struct kmsg_said said;

	CHECK_EQ(kmsg_page, 4096);
	kmsg_all((const uint8_t *)mce, sizeof(mce) - 1, last, &said);
	CHECK_EQ(said.frame, 0x3fe7b1c);
	kmsg_page = 65536;
	kmsg_all((const uint8_t *)mce, sizeof(mce) - 1, last, &said);
	CHECK_EQ(said.frame, 0x3fe7b1);
	kmsg_all((const uint8_t *)edac, sizeof(edac) - 1, last, &said);
	CHECK_EQ(said.frame, 0x12);
}

/* An event whose lines never end is said in parts, and takes no room. */
static void endless(void)
{
	static const char line[] = "3,%d,2,-;{7}[Hardware Error]:   error_type: "
				   "3, multi-bit ECC";
	struct kmsg_said said;
	struct kmsg k;
	char text[128];
	int i, n = 0;

	memset(&k, 0, sizeof(k));
	n += kmsg_take(&k, text, (size_t)sprintf(text,
		       "3,0,2,-;{7}[Hardware Error]:   section_type: memory "
		       "error"), &said);
	for (i = 1; i <= 1000; i++)
		n += kmsg_take(&k, text, (size_t)sprintf(text, line, i), &said);
	n += kmsg_over(&k, &said);
	CHECK_EQ(n, 1);
	CHECK_EQ(said.seq, 0);
	CHECK(!kmsg_waits(&k));
}

/* ---------------------------------------------------------------------- a seed */

/* xorshift; TAP_SEED names another. */
static uint64_t random_state = 88172645463325252u;

static uint64_t draw(uint64_t below)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state % below;
}

static size_t mutate(uint8_t *bytes, size_t len)
{
	static const char *const words[] = {
		"0x", ":", " on ", " (", "page:0x", ",", ";", "\n", " ", "{1}",
		"due to hardware memory corruption", "ffffffffffffffff",
	};
	size_t at = len ? draw(len) : 0, n;
	const char *word;

	switch (draw(5)) {
	case 0:
		if (len)
			bytes[at] = (uint8_t)draw(256);
		return len;
	case 1:
		return at;
	case 2:				/* a piece out of it */
		n = draw((len - at) % 64 + 1);
		memmove(bytes + at, bytes + at + n, len - at - n);
		return len - n;
	case 3:				/* a piece of it again */
		n = draw((len - at) % 128 + 1);
		if (len + n >= MOST)
			return len;
		memmove(bytes + at + n, bytes + at, len - at);
		return len + n;
	default:
		word = words[draw(sizeof(words) / sizeof(words[0]))];
		n = strlen(word);
		if (len + n >= MOST)
			return len;
		memmove(bytes + at + n, bytes + at, len - at);
		memcpy(bytes + at, word, n);
		return len + n;
	}
}

static void count(void *to, const struct kmsg_said *said)
{
	(void)said;
	++*(size_t *)to;
}

static void mutated(void)
{
	static uint8_t bytes[MOST], log[LOGS][MOST];
	const char *seed = getenv("TAP_SEED");
	size_t i, round, len[LOGS], n, said = 0;

	for (i = 0; i < LOGS; i++)
		len[i] = load(logs[i], "kmsg", log[i]);
	if (seed)
		random_state = strtoull(seed, NULL, 0) | 1;
	for (round = 0; round < ROUNDS; round++) {
		size_t from = draw(LOGS), times = draw(8);

		n = len[from];
		memcpy(bytes, log[from], n);
		while (times--)
			n = mutate(bytes, n);
		LLVMFuzzerTestOneInput(bytes, n);
		kmsg_all(bytes, n, count, &said);
	}
	tap_diag("%zu lines in %d rounds", said, ROUNDS);
	CHECK(said > ROUNDS);
}

static const struct tap_case cases[] = {
	{ .name = "Linux 5.10", .run = log_, .data = &logs[0] },
	{ .name = "Linux 6.1", .run = log_, .data = &logs[1] },
	{ .name = "Linux 6.12", .run = log_, .data = &logs[2] },
	{ .name = "Linux 7", .run = log_, .data = &logs[3] },
	{ .name = "EDAC", .run = log_, .data = &logs[4] },
	{ .name = "firmware: several lines make one", .run = log_,
	  .data = &logs[5] },
	{ .name = "machine checks", .run = log_, .data = &logs[6] },
	{ .name = "what only looks like it", .run = log_, .data = &logs[7] },
	{ .name = "the texts", .run = texts },
	{ .name = "pages that are larger", .run = large_pages },
	{ .name = "an event without an end", .run = endless },
	{ .name = "what a seed makes of it", .run = mutated,
	  .timeout_s = 120 },
};
TAP_MAIN(cases)
