/* SPDX-License-Identifier: MIT */
#ifndef BEZOAR_TESTS_FORM_HELP_H
#define BEZOAR_TESTS_FORM_HELP_H

#include "vmm/pure/form.h"

#define PAGE		UINT64_C(4096)
#define HEAD_BYTES	16
#define DIGEST_BYTES	8

/* Like bzv_form_read(), of a copy that ends where it ends, and a failure must have
 * touched nothing. With NULL the list is given back at once. */
int read_form(const void *from, size_t len, struct bzv_range **ret_range,
	      size_t *ret_count);

/* The bytes of a list, for free(). */
unsigned char *write_form(enum bez_vm_form form, const struct bzv_range *range,
			  size_t count, size_t *ret_len);

/* The last eight of @len bytes become the digest of those before them. */
void mend(unsigned char *bytes, size_t len);

#endif
