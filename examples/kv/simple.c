/* SPDX-License-Identifier: MIT */
/* Commands that fit in one line. */
#include "line.h"

static enum proto_next count(struct proto *p, struct buffer *out,
			     const struct line *l, int up)
{
	struct store_key k = key_of(l, l->word[1]);
	uint64_t by, sum = 0, rest;
	char digits[24], *at = digits + sizeof(digits);

	if (l->words < 3 || l->words > 4)
		return proto_say(p, out, "ERROR");
	if (!is_key(l->word[1]))
		return proto_say(p, out, BAD_FORMAT);
	if (!token_u64(l->word[2], &by))
		return proto_say(p, out, "CLIENT_ERROR invalid numeric delta "
			   "argument");
	switch (store_count(&k, up, by, &sum)) {
	case STORE_DONE:
		*--at = '\0';
		rest = sum;
		do
			*--at = (char)('0' + rest % 10);
		while (rest /= 10);
		return proto_say(p, out, at);
	case STORE_NOT_FOUND:
		return proto_say(p, out, "NOT_FOUND");
	case STORE_NOT_A_NUMBER:
		return proto_say(p, out, "CLIENT_ERROR cannot increment or decrement "
			   "non-numeric value");
	default:
		return proto_say(p, out, "SERVER_ERROR out of memory in incr");
	}
}

static enum proto_next delete(struct proto *p, struct buffer *out,
			      const struct line *l)
{
	struct store_key k = key_of(l, l->word[1]);
	/* "delete <key> 0" is what old clients say */
	size_t words = l->words - p->noreply;

	if (l->words < 2 || l->words > 4)
		return proto_say(p, out, "ERROR");
	if (words > 3 || (words == 3 && !token_is(l->word[2], "0")))
		return proto_say(p, out, BAD_FORMAT ".  Usage: delete <key> "
			   "[noreply]");
	if (!is_key(l->word[1]))
		return proto_say(p, out, BAD_FORMAT);
	return proto_say(p, out, store_delete(&k) == STORE_DONE ? "DELETED" :
		   "NOT_FOUND");
}

static enum proto_next touch(struct proto *p, struct buffer *out,
			     const struct line *l)
{
	struct store_key k = key_of(l, l->word[1]);
	int64_t said;

	if (l->words < 3)
		return proto_say(p, out, "ERROR");
	if (!is_key(l->word[1]))
		return proto_say(p, out, BAD_FORMAT);
	if (!token_i64(l->word[2], &said))
		return proto_say(p, out, "CLIENT_ERROR invalid exptime argument");
	return proto_say(p, out, store_touch(&k, expires(said, l->now)) ==
		   STORE_DONE ? "TOUCHED" : "NOT_FOUND");
}

static enum proto_next flush(struct proto *p, struct buffer *out,
			     const struct line *l)
{
	int64_t said = 0;

	if (l->words > 3)
		return proto_say(p, out, "ERROR");
	if (l->words - p->noreply > 1 && !token_i64(l->word[1], &said))
		return proto_say(p, out, "CLIENT_ERROR invalid exptime argument");
	store_flush(said > 0 ? expires(said, l->now) : 0, l->now);
	return proto_say(p, out, "OK");
}

static enum proto_next stats(struct proto *p, struct buffer *out,
			     const struct line *l)
{
	if (l->words > 1 && token_is(l->word[1], "reset")) {
		store_stats_reset();
		return proto_say(p, out, "RESET");
	}
	if (l->words > 1 && !token_is(l->word[1], "settings") &&
	    !token_is(l->word[1], "items") && !token_is(l->word[1], "slabs"))
		return proto_say(p, out, "ERROR");
	/* there is nothing to say of these */
	if (l->words == 1 && stats_answer(out))
		return PROTO_CLOSE;
	return proto_say(p, out, "END");
}

/* Nothing is said more or less because of it. */
static enum proto_next verbosity(struct proto *p, struct buffer *out,
				 const struct line *l)
{
	uint64_t level;

	if (l->words - p->noreply > 1 && !token_u64(l->word[1], &level))
		return proto_say(p, out, BAD_FORMAT);
	return proto_say(p, out, "OK");
}

enum proto_next proto_simple(struct proto *p, struct buffer *out,
			     const struct line *l)
{
	const struct token *w = l->word;

	p->noreply = l->words > 1 && token_is(w[l->words - 1], "noreply");
	if (token_is(w[0], "incr") || token_is(w[0], "decr"))
		return count(p, out, l, *w[0].at == 'i');
	if (token_is(w[0], "delete"))
		return delete(p, out, l);
	if (token_is(w[0], "touch"))
		return touch(p, out, l);
	if (token_is(w[0], "flush_all"))
		return flush(p, out, l);
	if (token_is(w[0], "verbosity") && l->words > 1 && l->words < 4)
		return verbosity(p, out, l);
	p->noreply = false;
	if (token_is(w[0], "stats"))
		return stats(p, out, l);
	if (token_is(w[0], "version") && l->words == 1)
		return proto_say(p, out, "VERSION 1.0.0");
	if (token_is(w[0], "quit") && l->words == 1)
		return PROTO_CLOSE;
	return proto_say(p, out, "ERROR");
}
