/* SPDX-License-Identifier: MIT */
/*
 * XXH3 comes from xxHash's own header, inlined: the handler must not depend on
 * another library being mapped, resolved and unharmed.
 */
#include "source/digest.h"

#define XXH_INLINE_ALL
#define XXH_NO_STDLIB
#include <xxhash.h>

#include <bezoar/bezoar.h>

uint64_t bz_digest(const void *bytes, size_t len)
{
	return XXH3_64bits(bytes, len);
}

uint64_t bez_digest(const void *bytes, size_t len)
{
	return bz_digest(bytes, len);
}
