/* SPDX-License-Identifier: MIT */
#ifndef BEZOAR_TESTS_AROUND_TARGET_H
#define BEZOAR_TESTS_AROUND_TARGET_H

#include <stddef.h>
#include <stdint.h>

/* The fuzzer's; aborts if something does not hold. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What the reader says of a trailer of a range of @len bytes, or how many holes
 * it has; what must hold of any bytes is seen to. */
int around_holes(const uint8_t *data, size_t size, uint64_t len);

/* The length that a trailer claims, and put right what nobody can guess. */
uint64_t around_claims(const uint8_t *data, size_t size);
void around_mend(uint8_t *data, size_t size);

#endif
