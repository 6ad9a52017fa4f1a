/* SPDX-License-Identifier: MIT */
#ifndef BEZOAR_TOOLS_ESCAPE_H
#define BEZOAR_TOOLS_ESCAPE_H

#include <stddef.h>

/* As many times longer, with a NUL besides. */
#define ESCAPED(bytes) ((bytes) * 4 + 1)

/*
 * A name that a stranger has chosen, up to a NUL or @len bytes, as text that does
 * nothing to a terminal, a line or a quotation: what is no plain character
 * becomes \xHH, " becomes \", and \ becomes \\. Nothing is lost. @ret has room for
 * ESCAPED(@len) bytes.
 */
const char *escape(char *ret, const char *name, size_t len);

#endif
