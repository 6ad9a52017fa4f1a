/* SPDX-License-Identifier: MIT */
/*
 * The list of a guest's lost memory as bytes, in two forms: docs/vmm-lost.md.
 * They travel between machines, so that nothing is believed of what is read.
 */
#ifndef BEZOAR_VMM_PURE_FORM_H
#define BEZOAR_VMM_PURE_FORM_H

#include <bezoar/vmm.h>
#include <stddef.h>
#include <stdint.h>

/*
 * In a list: both are multiples of 4,096, @len is not 0, @gpa + @len does not wrap
 * around, and it begins where the one before it ends, or later.
 */
struct bzv_range {
	uint64_t gpa, len;
};

#define BZV_FORM_MOST	1048576u	/* ranges of a list */
#define BZV_FORM_PAGE	4096u

/*
 * Write the @count ranges at @range to @dst, which has room for @len bytes. Returns
 * how many it takes, also if that is more than @len: then @dst holds nothing of use.
 *
 * -EINVAL: no list, or no form. -E2BIG: more than BZV_FORM_MOST.
 * Context: any.
 */
int64_t bzv_form_write(enum bez_vm_form form, const struct bzv_range *range,
		       size_t count, void *dst, size_t len);

/*
 * The list that the @len bytes at @from are; the form is found out. *@ret_range is
 * for free(), and may be NULL if *@ret_count is 0. Both stay untouched on failure.
 * It takes memory of at most eight times @len and 2 KiB, whatever they claim, and
 * no more stack for the one than for the other.
 *
 * -EBADMSG: no form, damaged, no list, or more follows. -EOPNOTSUPP: of a later
 * version. -E2BIG: more than BZV_FORM_MOST. -ENOMEM.
 * Context: any; not in a handler.
 */
int bzv_form_read(const void *from, size_t len, struct bzv_range **ret_range,
		  size_t *ret_count);

/* ------------------------------------------------- between its own files */

/* Where bytes go that may be more than there is room for. */
struct bzv_out {
	unsigned char *dst;
	size_t len;		/* room */
	size_t put;		/* also what had none */
};

void bzv_put(struct bzv_out *out, const void *bytes, size_t n);

/* May @next follow what ends at @end? And is it a range? */
int bzv_range_ok(uint64_t end, const struct bzv_range *next);

#define BZV_BINARY_MAGIC	"\217bezvml\n"
#define BZV_BINARY_MAGIC_BYTES	8

void bzv_binary_write(const struct bzv_range *range, size_t count,
		      struct bzv_out *out);
int bzv_binary_read(const unsigned char *from, size_t len,
		    struct bzv_range **ret_range, size_t *ret_count);
void bzv_json_write(const struct bzv_range *range, size_t count,
		    struct bzv_out *out);
int bzv_json_read(const char *from, size_t len, struct bzv_range **ret_range,
		  size_t *ret_count);

#endif
