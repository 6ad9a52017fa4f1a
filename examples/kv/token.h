/* SPDX-License-Identifier: MIT */
/* The words of a line, where they lie. */
#ifndef KV_TOKEN_H
#define KV_TOKEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct token {
	const char *at;
	size_t len;
};

/* The next one of [*@at, @end), which *@at is behind then; len 0: none. */
static inline struct token token_next(const char **at, const char *end)
{
	struct token t;

	while (*at < end && **at == ' ')
		++*at;
	t.at = *at;
	while (*at < end && **at != ' ')
		++*at;
	t.len = (size_t)(*at - t.at);
	return t;
}

static inline bool token_is(struct token t, const char *word)
{
	return t.len == strlen(word) && !memcmp(t.at, word, t.len);
}

static inline bool token_u64(struct token t, uint64_t *ret_value)
{
	uint64_t value = 0;
	size_t i;

	for (i = 0; i < t.len; i++)
		if (t.at[i] < '0' || t.at[i] > '9' ||
		    __builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(value, t.at[i] - '0', &value))
			return false;
	*ret_value = value;
	return t.len;
}

static inline bool token_i64(struct token t, int64_t *ret_value)
{
	bool minus = t.len > 1 && *t.at == '-';
	struct token digits = { t.at + minus, t.len - minus };
	uint64_t value;

	if (!token_u64(digits, &value) || value > INT64_MAX)
		return false;
	*ret_value = minus ? -(int64_t)value : (int64_t)value;
	return true;
}

#endif
