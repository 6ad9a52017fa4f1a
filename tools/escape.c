/* SPDX-License-Identifier: MIT */
#include "escape.h"

const char *escape(char *ret, const char *name, size_t len)
{
	static const char hex[] = "0123456789abcdef";
	char *to = ret;
	size_t i;

	for (i = 0; i < len && name[i]; i++) {
		unsigned char c = (unsigned char)name[i];

		if (c == '"' || c == '\\') {
			*to++ = '\\';
			*to++ = (char)c;
		} else if (c >= ' ' && c <= '~') {
			*to++ = (char)c;
		} else {
			*to++ = '\\';
			*to++ = 'x';
			*to++ = hex[c >> 4];
			*to++ = hex[c & 15];
		}
	}
	*to = '\0';
	return ret;
}
