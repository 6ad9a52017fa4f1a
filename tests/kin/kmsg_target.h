/* SPDX-License-Identifier: MIT */
#ifndef BEZOAR_TESTS_KMSG_TARGET_H
#define BEZOAR_TESTS_KMSG_TARGET_H

#include <stddef.h>
#include <stdint.h>

#include "kmsg_parse.h"

/* The fuzzer's; aborts if something does not hold. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is said in a log, to @told in this order. Records are lines here; one that
 * begins with a blank belongs to that before it. */
void kmsg_all(const uint8_t *data, size_t size,
	      void (*told)(void *to, const struct kmsg_said *said), void *to);

#endif
