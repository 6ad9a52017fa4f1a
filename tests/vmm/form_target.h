/* SPDX-License-Identifier: MIT */
#ifndef BEZOAR_TESTS_FORM_TARGET_H
#define BEZOAR_TESTS_FORM_TARGET_H

#include <stddef.h>
#include <stdint.h>

/* The fuzzer's; aborts if something does not hold. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What bzv_form_read() says of it, or how many ranges it has; what must hold of any
 * bytes is seen to. */
int form_ranges(const uint8_t *data, size_t size);

#endif
