/* SPDX-License-Identifier: MIT */
/*
 * What must hold of the reader of lists whatever it is given; the fuzzer's target,
 * and form_replay.c's. It aborts where something does not.
 */
#include "form_target.h"

#include <bezoar/bezoar.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "vmm/pure/form.h"

#define MUST(cond) ((cond) ? (void)0 : broken(#cond, __LINE__))

#define UNTOUCHED	((void *)0x5a5a)
#define TO_VERSION	8
#define HEAD		16
#define DIGEST		8

static void broken(const char *what, int line)
{
	fprintf(stderr, "form_target.c:%d: not so: %s\n", line, what);
	abort();
}

/* -------------------------------------------------------------- what it is */

static void is_list(const struct bzv_range *range, size_t count)
{
	uint64_t end = 0;
	size_t i;

	MUST(count <= BZV_FORM_MOST);
	for (i = 0; i < count; i++) {
		MUST(range[i].gpa >= end);
		MUST(range[i].len);
		MUST(!(range[i].gpa & 4095) && !(range[i].len & 4095));
		end = range[i].gpa + range[i].len;
		MUST(end > range[i].gpa);
	}
}

/* The bytes of it; nothing beside its room is touched. */
static unsigned char *written(enum bez_vm_form form,
			      const struct bzv_range *range, size_t count,
			      size_t *ret_len)
{
	int64_t len = bzv_form_write(form, range, count, NULL, 0);
	unsigned char *bytes;

	MUST(len > 0);
	bytes = malloc((size_t)len);
	MUST(bytes);
	MUST(bzv_form_write(form, range, count, bytes, (size_t)len - 1) == len);
	MUST(bzv_form_write(form, range, count, bytes, (size_t)len) == len);
	*ret_len = (size_t)len;
	return bytes;
}

static void comes_back(enum bez_vm_form form, const struct bzv_range *range,
		       size_t count, const uint8_t *same, size_t size)
{
	struct bzv_range *again = UNTOUCHED;
	size_t len, count_again = 0;
	unsigned char *bytes = written(form, range, count, &len);

	MUST(!bzv_form_read(bytes, len, &again, &count_again));
	MUST(count_again == count);
	MUST(!count || !memcmp(again, range, count * sizeof(*range)));
	/* there is one way to write it */
	if (same)
		MUST(len == size && !memcmp(bytes, same, size));
	free(again);
	free(bytes);
}

static int is_binary(const uint8_t *data, size_t size)
{
	return size >= HEAD + DIGEST &&
	       !memcmp(data, BZV_BINARY_MAGIC, TO_VERSION);
}

int form_ranges(const uint8_t *data, size_t size)
{
	struct bzv_range *range = UNTOUCHED;
	size_t count = SIZE_MAX;
	int r = bzv_form_read(data, size, &range, &count);

	if (r) {
		MUST(r == -EBADMSG || r == -EOPNOTSUPP || r == -E2BIG);
		MUST(range == UNTOUCHED && count == SIZE_MAX);
		return r;
	}
	is_list(range, count);
	comes_back(BEZ_VM_FORM_JSON, range, count, NULL, 0);
	comes_back(BEZ_VM_FORM_BINARY, range, count,
		   is_binary(data, size) ? data : NULL, size);
	free(range);
	return (int)count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* of its own size: what is read behind it is found */
	unsigned char *bytes = malloc(size ? size : 1);
	uint64_t digest;
	size_t i;

	if (!bytes)
		return 0;
	memcpy(bytes, data, size);
	form_ranges(bytes, size);
	if (is_binary(bytes, size)) {
		/* what nobody could guess */
		digest = XXH3_64bits(bytes, size - DIGEST);
		for (i = 0; i < DIGEST; i++)
			bytes[size - DIGEST + i] =
				(unsigned char)(digest >> 8 * i);
		form_ranges(bytes, size);
	}
	free(bytes);
	return 0;
}
