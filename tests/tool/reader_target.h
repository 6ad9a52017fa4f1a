/* SPDX-License-Identifier: MIT */
#ifndef BEZOAR_TESTS_READER_TARGET_H
#define BEZOAR_TESTS_READER_TARGET_H

#include <stddef.h>
#include <stdint.h>

/* The fuzzer's; aborts if something does not hold. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* How many whole records it finds. */
size_t reader_records(const uint8_t *data, size_t size);

#endif
