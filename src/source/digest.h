/* SPDX-License-Identifier: MIT */
#ifndef BEZOAR_SOURCE_DIGEST_H
#define BEZOAR_SOURCE_DIGEST_H

#include <stddef.h>
#include <stdint.h>

/* XXH3-64, seed 0. Context: handler-safe; reads only @bytes. */
uint64_t bz_digest(const void *bytes, size_t len);

#endif
