/* SPDX-License-Identifier: MIT */
#include "form_help.h"

#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "tap.h"

#define UNTOUCHED ((void *)0x5a5a)

int read_form(const void *from, size_t len, struct bzv_range **ret_range,
	      size_t *ret_count)
{
	void *copy = malloc(len ? len : 1);
	struct bzv_range *range = UNTOUCHED;
	size_t count = 12345;
	int r;

	CHECK(copy);
	memcpy(copy, from, len);
	r = bzv_form_read(copy, len, &range, &count);
	free(copy);
	if (r) {
		CHECK(range == UNTOUCHED && count == 12345);
		return r;
	}
	if (ret_range)
		*ret_range = range;
	else
		free(range);
	if (ret_count)
		*ret_count = count;
	return 0;
}

unsigned char *write_form(enum bez_vm_form form, const struct bzv_range *range,
			  size_t count, size_t *ret_len)
{
	int64_t len = bzv_form_write(form, range, count, NULL, 0);
	unsigned char *bytes;

	CHECK(len > 0);
	bytes = malloc((size_t)len);
	CHECK(bytes);
	CHECK_EQ(bzv_form_write(form, range, count, bytes, (size_t)len), len);
	*ret_len = (size_t)len;
	return bytes;
}

void mend(unsigned char *bytes, size_t len)
{
	uint64_t digest = XXH3_64bits(bytes, len - DIGEST_BYTES);
	size_t i;

	for (i = 0; i < DIGEST_BYTES; i++)
		bytes[len - DIGEST_BYTES + i] = (unsigned char)(digest >> 8 * i);
}
