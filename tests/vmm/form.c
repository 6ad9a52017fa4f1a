/* SPDX-License-Identifier: MIT */
/*
 * The list of lost memory: what is written comes back, as docs/vmm-lost.md has it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "form_help.h"
#include "tap.h"

static const enum bez_vm_form forms[] = { BEZ_VM_FORM_JSON, BEZ_VM_FORM_BINARY };

/* ------------------------------------------------------------- the golden ones */

static const struct bzv_range example[] = {
	{ 0x1000, 0x1000 },
	{ 0x200000, 0x200000 },
	{ 0x401000, 0x1000 },
	{ 0x40000000, 0x40000000 },
};

/* What the document has between ```@kind and ```. */
static size_t block(const char *kind, char *ret, size_t room)
{
	char line[4096], fence[16];
	size_t len = 0;
	int inside = 0;
	FILE *f = fopen(VMM_LOST_MD, "r");

	CHECKF(f, "%s", VMM_LOST_MD);
	snprintf(fence, sizeof(fence), "```%s\n", kind);
	while (fgets(line, sizeof(line), f)) {
		if (inside && !strcmp(line, "```\n"))
			break;
		if (inside) {
			CHECK(len + strlen(line) < room);
			memcpy(ret + len, line, strlen(line));
			len += strlen(line);
		}
		inside |= !strcmp(line, fence);
	}
	fclose(f);
	ret[len] = 0;
	CHECKF(len, "no %s", kind);
	return len;
}

static size_t unhex(const char *text, unsigned char *ret, size_t room)
{
	size_t n = 0;
	char *end;

	for (; n < room; n++, text = end) {
		ret[n] = (unsigned char)strtoul(text, &end, 16);
		if (end == text)
			break;
	}
	CHECKF(n < room && !text[strspn(text, " \n")], "%.20s", text);
	return n;
}

static void is_example(const void *bytes, size_t len)
{
	struct bzv_range *range;
	size_t count;

	CHECK_EQ(read_form(bytes, len, &range, &count), 0);
	CHECK_EQ(count, 4);
	CHECK(!memcmp(range, example, sizeof(example)));
	free(range);
}

static void same(const unsigned char *bytes, size_t len, const void *want,
		 size_t want_len)
{
	size_t i;

	for (i = 0; i < len && i < want_len; i++)
		CHECKF(bytes[i] == ((const unsigned char *)want)[i],
		       "byte %zu is %02x, not %02x", i, bytes[i],
		       ((const unsigned char *)want)[i]);
	CHECK_EQ(len, want_len);
}

static void golden_json(void)
{
	char text[4096];
	size_t want = block("json", text, sizeof(text)), len;
	unsigned char *bytes = write_form(BEZ_VM_FORM_JSON, example, 4, &len);

	same(bytes, len, text, want);
	is_example(text, want);
	free(bytes);
	bytes = write_form(BEZ_VM_FORM_JSON, NULL, 0, &len);
	same(bytes, len, "{\"bezoar-vm-lost\": 1, \"ranges\": []}\n", 36);
	free(bytes);
}

static void golden_binary(void)
{
	unsigned char want[256], *bytes;
	char text[4096];
	size_t want_len, len;

	block("hex", text, sizeof(text));
	want_len = unhex(text, want, sizeof(want));
	bytes = write_form(BEZ_VM_FORM_BINARY, example, 4, &len);
	same(bytes, len, want, want_len);
	is_example(want, want_len);
	free(bytes);
}

/* Made by other programs: the same list, with other digits and another order. */
static void others_json(void)
{
	static const char text[] =
		"{\"ranges\":[ {\"len\":\"0x000000000000a000\","
		"\"gpa\":\"0x9abcdef000\"},\r\n\t{\"gpa\":\"0xABCDEF1234567000\",\"len\":\"0x1000\"} ] ,"
		"\"bezoar-vm-lost\":1}";
	struct bzv_range *range;
	size_t count;

	CHECK_EQ(read_form(text, strlen(text), &range, &count), 0);
	CHECK_EQ(count, 2);
	CHECK_EQ(range[0].gpa, 0x9abcdef000);
	CHECK_EQ(range[0].len, 0xa000);
	CHECK_EQ(range[1].gpa, 0xabcdef1234567000);
	CHECK_EQ(range[1].len, 0x1000);
	free(range);
}

/* -------------------------------------------------------------- there and back */

static uint64_t random_state = 88172645463325252u;

static uint64_t draw(uint64_t below)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state % below;
}

/* A number of pages of any size, small ones mostly. */
static uint64_t pages(void)
{
	return draw(UINT64_C(1) << draw(draw(4) ? 10 : 50));
}

static size_t draw_list(struct bzv_range *range, size_t most)
{
	size_t want = draw(most + 1), count = 0;
	uint64_t end = 0;

	while (count < want) {
		uint64_t gap = pages(), len = pages() + 1;

		if (gap + len >= (UINT64_MAX - end) / PAGE)
			break;
		range[count].gpa = end + gap * PAGE;
		range[count].len = len * PAGE;
		end = range[count].gpa + range[count].len;
		count++;
	}
	return count;
}

static void there_and_back(enum bez_vm_form form, const struct bzv_range *range,
			   size_t count)
{
	struct bzv_range *again;
	size_t len, n;
	unsigned char *bytes = write_form(form, range, count, &len);

	CHECK_EQ(read_form(bytes, len, &again, &n), 0);
	CHECK_EQ(n, count);
	CHECK(!count || !memcmp(again, range, count * sizeof(*range)));
	free(again);
	free(bytes);
}

static void at_random(void)
{
	struct bzv_range range[100];
	size_t round, count, ranges = 0;

	for (round = 0; round < 2000; round++) {
		count = draw_list(range, 100);
		there_and_back(BEZ_VM_FORM_JSON, range, count);
		there_and_back(BEZ_VM_FORM_BINARY, range, count);
		ranges += count;
	}
	CHECKF(ranges > 20000, "%zu", ranges);
}

static void ends(void)
{
	static const struct bzv_range last = { UINT64_MAX - 2 * PAGE + 1, PAGE };
	static const struct bzv_range all = { 0, UINT64_MAX - PAGE + 1 };
	size_t i;

	for (i = 0; i < 2; i++) {
		there_and_back(forms[i], &last, 1);
		there_and_back(forms[i], &all, 1);
		there_and_back(forms[i], NULL, 0);
	}
}

/* What it costs: single pages, one near the other, and the worst. */
static void compact(void)
{
	struct bzv_range range[1000];
	size_t i, len;

	for (i = 0; i < 1000; i++)
		range[i] = (struct bzv_range){ i * 128 * PAGE, PAGE };
	free(write_form(BEZ_VM_FORM_BINARY, range, 1000, &len));
	CHECK_EQ(len, HEAD_BYTES + 2 * 1000 + DIGEST_BYTES);
	range[0] = (struct bzv_range){ UINT64_MAX - 2 * PAGE + 1, PAGE };
	free(write_form(BEZ_VM_FORM_BINARY, range, 1, &len));
	CHECK_EQ(len, HEAD_BYTES + 9 + DIGEST_BYTES);
}

/* ---------------------------------------------------------------- its room */

static void room(void)
{
	unsigned char bytes[512];
	size_t i, len, k;
	int64_t need;

	for (i = 0; i < 2; i++) {
		need = bzv_form_write(forms[i], example, 4, NULL, 0);
		CHECK(need > 0 && (size_t)need + 8 < sizeof(bytes));
		for (len = 0; len <= (size_t)need + 8; len++) {
			memset(bytes, 0xee, sizeof(bytes));
			CHECK_EQ(bzv_form_write(forms[i], example, 4, bytes, len),
				 need);
			for (k = len < (size_t)need ? len : (size_t)need;
			     k < sizeof(bytes); k++)
				CHECK_EQ(bytes[k], 0xee);
			if (len >= (size_t)need)
				is_example(bytes, (size_t)need);
		}
	}
}

static void not_written(void)
{
	static const struct bzv_range bad[][2] = {
		{ { 0x1000, 0 }, { 0x2000, 0x1000 } },
		{ { 0x1000, 0x1000 }, { 0x2000, 0 } },
		{ { 0x1001, 0x1000 }, { 0x3000, 0x1000 } },
		{ { 0x1000, 0x1000 }, { 0x2800, 0x1000 } },
		{ { 0x1000, 0x800 }, { 0x2000, 0x1000 } },
		{ { 0x1000, 0x1000 }, { 0x2000, 0x1001 } },
		{ { 0x1000, 0x2000 }, { 0x2000, 0x1000 } },
		{ { 0x1000, 0x1000 }, { 0x1000, 0x1000 } },
		{ { 0x2000, 0x1000 }, { 0x1000, 0x1000 } },
		{ { 0x1000, 0x1000 }, { 0xfffffffffffff000, 0x1000 } },
		{ { 0x1000, 0x1000 }, { 0xfffffffffffff000, 0x2000 } },
	};
	size_t i, k;

	for (i = 0; i < 2; i++) {
		for (k = 0; k < sizeof(bad) / sizeof(bad[0]); k++)
			CHECKF(bzv_form_write(forms[i], bad[k], 2, NULL, 0) ==
			       -EINVAL, "row %zu", k);
		CHECK_EQ(bzv_form_write(forms[i], example, BZV_FORM_MOST + 1,
					NULL, 0), -E2BIG);
	}
	CHECK_EQ(bzv_form_write((enum bez_vm_form)2, example, 4, NULL, 0),
		 -EINVAL);
}

/* -------------------------------------------------------------------- limits */

static struct bzv_range *very_many(size_t count)
{
	struct bzv_range *range = malloc(count * sizeof(*range));
	size_t i;

	CHECK(range);
	for (i = 0; i < count; i++)
		range[i] = (struct bzv_range){ i * PAGE, PAGE };
	return range;
}

static void most(void)
{
	struct bzv_range *range = very_many(BZV_FORM_MOST);

	there_and_back(BEZ_VM_FORM_JSON, range, BZV_FORM_MOST);
	there_and_back(BEZ_VM_FORM_BINARY, range, BZV_FORM_MOST);
	free(range);
}

/* One more than a list may have, put in by hand. */
static void one_too_many(void)
{
	static const char last[] =
		",{\"gpa\": \"0x8000000000\", \"len\": \"0x1000\"}]}";
	struct bzv_range *range = very_many(BZV_FORM_MOST);
	unsigned char *bytes;
	size_t len;

	bytes = write_form(BEZ_VM_FORM_JSON, range, BZV_FORM_MOST, &len);
	bytes = realloc(bytes, len + sizeof(last));
	CHECK(bytes);
	CHECK_EQ(bytes[len - 3], ']');
	memcpy(bytes + len - 3, last, sizeof(last) - 1);
	CHECK_EQ(read_form(bytes, len - 3 + sizeof(last) - 1, NULL, NULL),
		 -E2BIG);
	free(bytes);

	bytes = write_form(BEZ_VM_FORM_BINARY, range, BZV_FORM_MOST, &len);
	bytes = realloc(bytes, len + 2);
	CHECK(bytes);
	memset(bytes + len - DIGEST_BYTES, 0, 2 + DIGEST_BYTES);
	bytes[12] = 1;			/* of 0x00100000 */
	mend(bytes, len + 2);
	CHECK_EQ(read_form(bytes, len + 2, NULL, NULL), -E2BIG);
	free(bytes);
	free(range);
}

static const struct tap_case cases[] = {
	{ .name = "JSON as in the document", .run = golden_json },
	{ .name = "JSON that others have written", .run = others_json },
	{ .name = "binary as in the document", .run = golden_binary },
	{ .name = "what is written comes back", .run = at_random },
	{ .name = "the first and the last page", .run = ends },
	{ .name = "two bytes for a page near another", .run = compact },
	{ .name = "no byte is written behind its room", .run = room },
	{ .name = "what is no list is not written", .run = not_written },
	{ .name = "as many as a list may have", .run = most },
	{ .name = "one more than that", .run = one_too_many },
};
TAP_MAIN(cases)
