/* SPDX-License-Identifier: MIT */
#include "vmm/pure/form.h"

#include <errno.h>
#include <string.h>

int64_t bzv_form_write(enum bez_vm_form form, const struct bzv_range *range,
		       size_t count, void *dst, size_t len)
{
	struct bzv_out out = { .dst = dst, .len = len };
	uint64_t end = 0;
	size_t i;

	if (form != BEZ_VM_FORM_JSON && form != BEZ_VM_FORM_BINARY)
		return -EINVAL;
	if (count > BZV_FORM_MOST)
		return -E2BIG;
	/* nothing is written that would not be read */
	for (i = 0; i < count; i++) {
		if (!bzv_range_ok(end, &range[i]))
			return -EINVAL;
		end = range[i].gpa + range[i].len;
	}
	if (form == BEZ_VM_FORM_JSON)
		bzv_json_write(range, count, &out);
	else
		bzv_binary_write(range, count, &out);
	return (int64_t)out.put;
}

int bzv_form_read(const void *from, size_t len, struct bzv_range **ret_range,
		  size_t *ret_count)
{
	if (!len)
		return -EBADMSG;
	/* no text begins as the magic does */
	if (*(const unsigned char *)from == (unsigned char)BZV_BINARY_MAGIC[0])
		return bzv_binary_read(from, len, ret_range, ret_count);
	return bzv_json_read(from, len, ret_range, ret_count);
}

void bzv_put(struct bzv_out *out, const void *bytes, size_t n)
{
	if (out->put <= out->len && n <= out->len - out->put)
		memcpy(out->dst + out->put, bytes, n);
	out->put += n;
}

int bzv_range_ok(uint64_t end, const struct bzv_range *next)
{
	return next->len && !(next->gpa % BZV_FORM_PAGE) &&
	       !(next->len % BZV_FORM_PAGE) && next->gpa >= end &&
	       next->gpa <= UINT64_MAX - next->len;
}
