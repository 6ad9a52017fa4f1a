/* SPDX-License-Identifier: MIT */
/*
 * The list of lost memory from somebody who means no good: what is damaged, or no
 * list, is refused, and what it claims costs nothing.
 */
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "form_help.h"
#include "tap.h"

static const struct bzv_range three[] = {
	{ 0x1000, 0x1000 },
	{ 0x200000, 0x200000 },
	{ 0x40000000, 0x40000000 },
};

/* --------------------------------------------------------------- damaged */

static void every_byte(void)
{
	size_t len, i;
	int other;
	unsigned char *bytes = write_form(BEZ_VM_FORM_BINARY, three, 3, &len);

	for (i = 0; i < len; i++)
		for (other = 1; other < 256; other++) {
			bytes[i] ^= (unsigned char)other;
			CHECKF(read_form(bytes, len, NULL, NULL) == -EBADMSG,
			       "byte %zu is %02x", i, bytes[i]);
			bytes[i] ^= (unsigned char)other;
		}
	CHECK_EQ(read_form(bytes, len, NULL, NULL), 0);
	free(bytes);
}

static void every_end(void)
{
	size_t len, i;
	unsigned char *bytes = write_form(BEZ_VM_FORM_BINARY, three, 3, &len);

	for (i = 0; i < len; i++)
		CHECKF(read_form(bytes, i, NULL, NULL) == -EBADMSG, "%zu bytes",
		       i);
	bytes = realloc(bytes, len + DIGEST_BYTES);
	CHECK(bytes);
	for (i = 1; i <= DIGEST_BYTES; i++) {
		memset(bytes + len, 0, i);
		CHECKF(read_form(bytes, len + i, NULL, NULL) == -EBADMSG,
		       "%zu bytes more", i);
	}
	free(bytes);
	/* of a text all but the newline is needed */
	bytes = write_form(BEZ_VM_FORM_JSON, three, 3, &len);
	for (i = 0; i < len - 1; i++)
		CHECKF(read_form(bytes, i, NULL, NULL) == -EBADMSG, "%zu bytes",
		       i);
	CHECK_EQ(read_form(bytes, len - 1, NULL, NULL), 0);
	free(bytes);
}

/* Binary, with a digest that is right. */
static const struct {
	const char *what;
	int r;
	unsigned int version, count, len;
	unsigned char body[24];
} binary[] = {
	{ "no range", 0, 1, 0, 0, { 0 } },
	{ "one", 0, 1, 1, 2, { 1, 0 } },
	{ "two that touch", 0, 1, 2, 4, { 1, 0, 0, 0 } },
	{ "the last page but one", 0, 1, 1, 9,
	  { 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x07, 0 } },
	{ "more than it says", -EBADMSG, 1, 1, 4, { 1, 0, 0, 0 } },
	{ "a byte more", -EBADMSG, 1, 1, 3, { 1, 0, 0 } },
	{ "less than it says", -EBADMSG, 1, 2, 2, { 1, 0 } },
	{ "no byte of what it says", -EBADMSG, 1, 1, 0, { 0 } },
	{ "long numbers are less than it says", -EBADMSG, 1, 2, 4,
	  { 0x81, 1, 0x81, 1 } },
	{ "4,294,967,295 in two bytes", -EBADMSG, 1, 0xffffffff, 2, { 1, 0 } },
	{ "the last page", -EBADMSG, 1, 1, 9,
	  { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x07, 0 } },
	{ "all pages there could be", -EBADMSG, 1, 1, 9,
	  { 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x07 } },
	{ "wraps around in the gap", -EBADMSG, 1, 2, 11,
	  { 5, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x07, 0 } },
	{ "53 bits", -EBADMSG, 1, 1, 9,
	  { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x08, 0 } },
	{ "nine bytes of a number", -EBADMSG, 1, 1, 10,
	  { 0x81, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01, 0 } },
	{ "a number that could be shorter", -EBADMSG, 1, 1, 3, { 0x81, 0, 0 } },
	{ "nothing in two bytes", -EBADMSG, 1, 1, 3, { 0x80, 0, 0 } },
	{ "a number that does not end", -EBADMSG, 1, 1, 2, { 1, 0x80 } },
	{ "version 0", -EBADMSG, 0, 0, 0, { 0 } },
	{ "version 2, of anything", -EOPNOTSUPP, 2, 9, 3, { 0x81, 0, 0 } },
	{ "version 65,537", -EOPNOTSUPP, 65537, 0, 0, { 0 } },
};

static void in_binary(void)
{
	unsigned char bytes[HEAD_BYTES + sizeof(binary[0].body) + DIGEST_BYTES];
	size_t i, k, len;
	int r;

	for (i = 0; i < sizeof(binary) / sizeof(binary[0]); i++) {
		memcpy(bytes, "\217bezvml\n", 8);
		for (k = 0; k < 4; k++) {
			bytes[8 + k] = (unsigned char)(binary[i].version >> 8 * k);
			bytes[12 + k] = (unsigned char)(binary[i].count >> 8 * k);
		}
		memcpy(bytes + HEAD_BYTES, binary[i].body, binary[i].len);
		len = HEAD_BYTES + binary[i].len + DIGEST_BYTES;
		mend(bytes, len);
		r = read_form(bytes, len, NULL, NULL);
		CHECKF(r == binary[i].r, "%s: %d", binary[i].what, r);
	}
}

/* ------------------------------------------------------------------ in text */

#define LIST(ranges)	"{\"bezoar-vm-lost\": 1, \"ranges\": [" ranges "]}"
#define RANGE(gpa, len)	"{\"gpa\": \"" gpa "\", \"len\": \"" len "\"}"
#define ONE		RANGE("0x1000", "0x1000")
#define VERSION(v)	"{\"bezoar-vm-lost\": " v ", \"ranges\": []}"

static const struct {
	const char *text;
	int r;
} text[] = {
	{ LIST(ONE), 0 },
	{ LIST(RANGE("0x000000000000a000", "0x1000")), 0 },
	{ LIST(RANGE("0xABCDEF000", "0xabcdef000")), 0 },
	{ LIST(ONE "," RANGE("0x2000", "0x1000")), 0 },
	{ "{\"ranges\":[{\"len\":\"0x1000\",\"gpa\":\"0x0\"}],"
	  "\"bezoar-vm-lost\":1}", 0 },
	{ " \t\r\n{ \"ranges\" : [ ] , \"bezoar-vm-lost\" : 1 } \r\n", 0 },
	/* another version */
	{ VERSION("2"), -EOPNOTSUPP },
	{ VERSION("999999"), -EOPNOTSUPP },
	{ "{\"bezoar-vm-lost\": 2, \"any\": [[[{\"thing\": 1.5e3", -EOPNOTSUPP },
	{ VERSION("0"), -EBADMSG },
	{ VERSION("-1"), -EBADMSG },
	{ VERSION("1.0"), -EBADMSG },
	{ VERSION("2.0"), -EBADMSG },
	{ VERSION("1e0"), -EBADMSG },
	{ VERSION("01"), -EBADMSG },
	{ VERSION("1 1"), -EBADMSG },
	{ VERSION("4294967297"), -EBADMSG },
	{ VERSION("18446744073709551617"), -EBADMSG },
	{ VERSION("\"1\""), -EBADMSG },
	{ VERSION("true"), -EBADMSG },
	{ VERSION("[1]"), -EBADMSG },
	{ VERSION(""), -EBADMSG },
	/* members */
	{ "{\"ranges\": []}", -EBADMSG },
	{ "{\"bezoar-vm-lost\": 1}", -EBADMSG },
	{ "{}", -EBADMSG },
	{ "{\"bezoar-vm-lost\": 1, \"bezoar-vm-lost\": 1, \"ranges\": []}",
	  -EBADMSG },
	{ "{\"bezoar-vm-lost\": 1, \"ranges\": [], \"ranges\": []}", -EBADMSG },
	{ "{\"bezoar-vm-lost\": 1, \"ranges\": [], \"x\": 1}", -EBADMSG },
	{ "{\"x\": 1, \"bezoar-vm-lost\": 1, \"ranges\": []}", -EBADMSG },
	{ "{\"bezoar-vm-lost\": 1, \"ranges\": [],}", -EBADMSG },
	{ "{\"bezoar-vm-lost\": 1 \"ranges\": []}", -EBADMSG },
	{ "{\"bezoar-vm-lost\", 1, \"ranges\": []}", -EBADMSG },
	{ "{bezoar-vm-lost: 1, ranges: []}", -EBADMSG },
	{ "{\"bezoar-vm-lost\": 1, \"r\\u0061nges\": []}", -EBADMSG },
	{ "{\"bezoar-vm-lost\": 1, \"ranges\": {}}", -EBADMSG },
	{ "{\"bezoar-vm-lost\": 1, \"ranges\": null}", -EBADMSG },
	{ "[\"bezoar-vm-lost\", 1]", -EBADMSG },
	{ LIST("{\"gpa\": \"0x1000\"}"), -EBADMSG },
	{ LIST("{\"len\": \"0x1000\"}"), -EBADMSG },
	{ LIST("{\"gpa\": \"0x1000\", \"gpa\": \"0x1000\"}"), -EBADMSG },
	{ LIST("{\"gpa\": \"0x0\", \"gpa\": \"0x1000\", \"len\": \"0x1000\"}"),
	  -EBADMSG },
	{ LIST("{\"len\": \"0x1000\", \"gpa\": \"0x1000\", \"len\": \"0x1000\"}"),
	  -EBADMSG },
	{ LIST("{\"gpa\": \"0x1000\", \"len\": \"0x1000\", \"x\": 1}"), -EBADMSG },
	{ LIST("{}"), -EBADMSG },
	{ LIST("[]"), -EBADMSG },
	{ LIST("\"0x1000\""), -EBADMSG },
	{ LIST(ONE ","), -EBADMSG },
	{ LIST("," ONE), -EBADMSG },
	{ LIST(ONE " " RANGE("0x2000", "0x1000")), -EBADMSG },
	/* numbers */
	{ LIST("{\"gpa\": 4096, \"len\": 4096}"), -EBADMSG },
	{ LIST("{\"gpa\": 4096.0, \"len\": 1e400}"), -EBADMSG },
	{ LIST(RANGE("1000", "0x1000")), -EBADMSG },
	{ LIST(RANGE("0X1000", "0x1000")), -EBADMSG },
	{ LIST(RANGE("0x", "0x1000")), -EBADMSG },
	{ LIST(RANGE("", "0x1000")), -EBADMSG },
	{ LIST(RANGE("-0x1000", "0x1000")), -EBADMSG },
	{ LIST(RANGE("0x-1000", "0x1000")), -EBADMSG },
	{ LIST(RANGE("0x1000 ", "0x1000")), -EBADMSG },
	{ LIST(RANGE("0x10g0", "0x1000")), -EBADMSG },
	{ LIST(RANGE("0x00000000000001000", "0x1000")), -EBADMSG },
	{ LIST(RANGE("0x\\u0031000", "0x1000")), -EBADMSG },
	{ LIST(RANGE("0x1000\\u0000", "0x1000")), -EBADMSG },
	/* ranges */
	{ LIST(RANGE("0x1000", "0x0")), -EBADMSG },
	{ LIST(RANGE("0x1001", "0x1000")), -EBADMSG },
	{ LIST(RANGE("0x1000", "0x1800")), -EBADMSG },
	{ LIST(RANGE("0xfffffffffffff000", "0x1000")), -EBADMSG },
	{ LIST(RANGE("0x1000", "0xfffffffffffff000")), -EBADMSG },
	{ LIST(ONE "," ONE), -EBADMSG },
	{ LIST(RANGE("0x1000", "0x2000") "," RANGE("0x2000", "0x1000")),
	  -EBADMSG },
	{ LIST(RANGE("0x2000", "0x1000") "," ONE), -EBADMSG },
	/* what is around it */
	{ LIST(ONE) "x", -EBADMSG },
	{ LIST(ONE) LIST(ONE), -EBADMSG },
	{ LIST(ONE) "\v", -EBADMSG },
	{ "\357\273\277" LIST(ONE), -EBADMSG },
	{ "", -EBADMSG },
	{ "null", -EBADMSG },
	{ "\177", -EBADMSG },
};

static void in_text(void)
{
	size_t i;
	int r;

	for (i = 0; i < sizeof(text) / sizeof(text[0]); i++) {
		r = read_form(text[i].text, strlen(text[i].text), NULL, NULL);
		CHECKF(r == text[i].r, "%s: %d", text[i].text, r);
	}
	/* NUL at every place, and behind it */
	for (i = 0; i <= strlen(LIST(ONE)); i++) {
		char with[] = LIST(ONE) " ";

		with[i] = 0;
		CHECKF(read_form(with, sizeof(with) - 1, NULL, NULL) == -EBADMSG,
		       "NUL at %zu", i);
	}
}

/* Again and again the same, four million bytes, alone and in a list. */
static void deep(void)
{
	static const char *const parts[] = {
		"[", "{", "{\"ranges\":[", "{\"ranges\":", "[{\"gpa\":", "[[[]]",
		"{\"a\":{\"b\":[",
	};
	static const char before[] = "{\"bezoar-vm-lost\": 1, \"ranges\": [";
	size_t i, at, first, len = 4000000;
	char *bytes = malloc(len);

	CHECK(bytes);
	for (i = 0; i < 2 * sizeof(parts) / sizeof(parts[0]); i++) {
		const char *part = parts[i / 2];

		first = i % 2 ? strlen(before) : 0;
		memcpy(bytes, before, first);
		for (at = first; at < len; at++)
			bytes[at] = part[at % strlen(part)];
		CHECK_EQ(read_form(bytes, len, NULL, NULL), -EBADMSG);
	}
	free(bytes);
}

/* ------------------------------------------------------------------- memory */

void *__real_malloc(size_t bytes);
void *__real_realloc(void *old, size_t bytes);
void __real_free(void *bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_realloc(void *old, size_t bytes);
void __wrap_free(void *bytes);

static int counting;
static size_t has, peak;
static long fails_at = -1;		/* the n-th from now */

static void *counted(void *bytes, size_t before)
{
	has += malloc_usable_size(bytes);
	if (has + before > peak)
		peak = has + before;
	return bytes;
}

void *__wrap_malloc(size_t bytes)
{
	if (!counting)
		return __real_malloc(bytes);
	return fails_at-- == 0 ? NULL : counted(__real_malloc(bytes), 0);
}

void *__wrap_realloc(void *old, size_t bytes)
{
	size_t before = old ? malloc_usable_size(old) : 0;

	if (!counting)
		return __real_realloc(old, bytes);
	if (fails_at-- == 0)
		return NULL;
	/* both are there while it is copied */
	has -= before;
	return counted(__real_realloc(old, bytes), before);
}

void __wrap_free(void *bytes)
{
	if (counting && bytes)
		has -= malloc_usable_size(bytes);
	__real_free(bytes);
}

/* What comes of it; its peak is in peak, and nothing is left. */
static int measured(const void *from, size_t len, long nth)
{
	struct bzv_range *range = NULL;
	size_t count;
	int r;

	has = peak = 0;
	fails_at = nth;
	counting = 1;
	r = bzv_form_read(from, len, &range, &count);
	free(range);
	counting = 0;
	CHECK_EQ(has, 0);
	return r;
}

#define DENSE "{\"gpa\":\"0x%lx\",\"len\":\"0x1000\"}"

/* The shortest text that has so many. */
static char *dense(size_t count, size_t *ret_len)
{
	char *bytes = malloc(64 + count * 48);
	size_t i, len;

	CHECK(bytes);
	len = (size_t)sprintf(bytes, "{\"bezoar-vm-lost\":1,\"ranges\":[");
	for (i = 0; i < count; i++)
		len += (size_t)sprintf(bytes + len, i ? "," DENSE : DENSE,
				       (unsigned long)(i * PAGE));
	*ret_len = len + (size_t)sprintf(bytes + len, "]}");
	return bytes;
}

static void bounded(void)
{
	static const size_t counts[] = { 1, 64, 65, 1000, 65536, 65537, 100000 };
	struct bzv_range *range = malloc(100000 * sizeof(*range));
	size_t i, len;
	void *bytes;

	CHECK(range);
	for (i = 0; i < 100000; i++)
		range[i] = (struct bzv_range){ i * PAGE, PAGE };
	for (i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		bytes = dense(counts[i], &len);
		CHECK_EQ(measured(bytes, len, -1), 0);
		CHECKF(peak && peak <= 8 * len + 2048, "%zu of %zu", peak, len);
		free(bytes);
		bytes = write_form(BEZ_VM_FORM_BINARY, range, counts[i], &len);
		CHECK_EQ(measured(bytes, len, -1), 0);
		CHECKF(peak && peak <= 8 * len + 2048, "%zu of %zu", peak, len);
		free(bytes);
	}
	free(range);
}

/* A million of ranges in 40 bytes, with a digest that is right. */
static void claims(void)
{
	unsigned char bytes[40] = "\217bezvml\n\1\0\0\0\0\0\20";

	mend(bytes, sizeof(bytes));
	CHECK_EQ(measured(bytes, sizeof(bytes), -1), -EBADMSG);
	CHECK_EQ(peak, 0);
}

static void no_memory(void)
{
	size_t len;
	long n;
	void *bytes = dense(200, &len);

	/* 64, 128, 256 */
	for (n = 0; n < 3; n++)
		CHECK_EQ(measured(bytes, len, n), -ENOMEM);
	CHECK_EQ(measured(bytes, len, 3), 0);
	free(bytes);
	bytes = write_form(BEZ_VM_FORM_BINARY, three, 3, &len);
	CHECK_EQ(measured(bytes, len, 0), -ENOMEM);
	CHECK_EQ(measured(bytes, len, 1), 0);
	free(bytes);
}

static const struct tap_case cases[] = {
	{ .name = "another byte anywhere is refused", .run = every_byte },
	{ .name = "less of it, or more, is refused", .run = every_end },
	{ .name = "what is no list, in binary", .run = in_binary },
	{ .name = "what is no list, in JSON", .run = in_text },
	{ .name = "four million brackets", .run = deep },
	{ .name = "memory is bounded by what there is", .run = bounded },
	{ .name = "a claim alone costs nothing", .run = claims },
	{ .name = "no memory", .run = no_memory },
};
TAP_MAIN(cases)
