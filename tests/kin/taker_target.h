/* SPDX-License-Identifier: MIT */
#ifndef BEZOAR_TESTS_TAKER_TARGET_H
#define BEZOAR_TESTS_TAKER_TARGET_H

#include <stddef.h>
#include <stdint.h>

/* The fuzzer's; aborts if something does not hold. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* How many items the last file has come to. */
extern size_t taker_items;

#endif
