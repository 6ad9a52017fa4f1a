/* SPDX-License-Identifier: MIT */
/* Private to record/: one line of text, built by hand: no stdio in a handler. */
#ifndef BEZOAR_RECORD_LINE_H
#define BEZOAR_RECORD_LINE_H

#include <stdint.h>

struct bz_line {
	uint32_t len;
	char text[256];
};

static inline void bz_line_char(struct bz_line *l, char c)
{
	/* the last is the end of the line */
	if (l->len < sizeof(l->text) - 1)
		l->text[l->len++] = c;
}

static inline void bz_line_add(struct bz_line *l, const char *s)
{
	for (; *s; s++)
		bz_line_char(l, *s);
}

/* The program's own words: what is no plain character could be anything. */
static inline void bz_line_name(struct bz_line *l, const char *s)
{
	for (; *s; s++)
		bz_line_char(l, *s < ' ' || *s > '~' || *s == '"' ? '?' : *s);
}

static inline void bz_line_number(struct bz_line *l, uint64_t n, uint32_t base)
{
	char digits[24];
	uint32_t i = sizeof(digits);

	do {
		digits[--i] = "0123456789abcdef"[n % base];
		n /= base;
	} while (n);
	for (; i < sizeof(digits); i++)
		bz_line_char(l, digits[i]);
}

static inline void bz_line_end(struct bz_line *l)
{
	l->text[l->len++] = '\n';
}

#endif
