/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "proto.h"

#include <time.h>

#include "store.h"
#include "token.h"

#define LINE_MAX_LEN	2048u		/* but for the keys of a get */
#define KEYS_MAX_LEN	65536u
#define OUT_MUCH	262144u		/* bytes; then they are sent first */
#define WORDS		8
#define MONTH		(60 * 60 * 24 * 30)

#define BAD_FORMAT	"CLIENT_ERROR bad command line format"

struct line {
	struct token word[WORDS];
	size_t words;
	const char *end;		/* the byte behind its newline */
	uint64_t now;
};

static enum proto_next say(struct proto *p, struct buffer *out,
			   const char *answer)
{
	size_t len = strlen(answer);
	char *at;

	if (p->noreply)
		return PROTO_RECEIVE;
	at = buffer_room(out, len + 2);
	if (!at)
		return PROTO_CLOSE;
	memcpy(at, answer, len);
	memcpy(at + len, "\r\n", 2);
	out->end += len + 2;
	return PROTO_RECEIVE;
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME_COARSE, &t);
	return (uint64_t)t.tv_sec;
}

/* What a client says: seconds from now up to a month, or since 1970; below 0: it
 * is over already. */
static uint32_t expires(int64_t said, uint64_t at)
{
	if (said < 0)
		return 1;
	return (uint32_t)(said && said <= MONTH ? at + (uint64_t)said :
			  (uint64_t)said);
}

static bool is_key(struct token t)
{
	return t.len && t.len <= KEY_MAX_LEN;
}

static struct store_key key_of(const struct line *l, struct token t)
{
	return (struct store_key){ t.at, t.len, l->now };
}

/* --------------------------------------------------------------------- get */

static const char *line_end(const struct line *l)
{
	const char *end = l->end - 1;

	return end[-1] == '\r' ? end - 1 : end;
}

/* in->begin is in the line, behind the keys that are answered. */
static enum proto_next get_keys(struct proto *p, struct buffer *in,
				struct buffer *out, const struct line *l)
{
	const char *at = in->at + in->begin, *end = line_end(l);
	struct token t;

	for (t = token_next(&at, end); t.len; t = token_next(&at, end)) {
		struct store_key k = key_of(l, t);

		if (store_get(&k, p->with_cas, p->touch ? &p->expires : NULL,
			      out))
			return PROTO_CLOSE;
		in->begin = (size_t)(at - in->at);
		if (buffer_waits(out) >= OUT_MUCH) {
			p->getting = true;
			return PROTO_SEND;
		}
	}
	p->getting = false;
	in->begin = (size_t)(l->end - in->at);
	return say(p, out, "END");
}

/* Before the first is answered. */
static bool are_keys(const char *at, const char *end)
{
	struct token t;

	for (t = token_next(&at, end); t.len; t = token_next(&at, end))
		if (!is_key(t))
			return false;
	return true;
}

static enum proto_next get(struct proto *p, struct buffer *in,
			   struct buffer *out, const struct line *l)
{
	const struct token *w = l->word;
	int64_t said = 0;
	size_t first = 1;

	p->with_cas = w[0].at[w[0].len - 1] == 's';
	p->touch = w[0].at[1] == 'a';
	first += p->touch;
	if (l->words <= first || (p->touch && !token_i64(w[1], &said)) ||
	    !are_keys(w[first].at, line_end(l))) {
		in->begin = (size_t)(l->end - in->at);
		return say(p, out, l->words <= first ? "ERROR" : BAD_FORMAT);
	}
	if (p->touch)
		p->expires = expires(said, l->now);
	in->begin = (size_t)(w[first].at - in->at);
	return get_keys(p, in, out, l);
}

/* --------------------------------------------------------------------- put */

static const char *const put_answer[] = {
	[STORE_DONE] = "STORED",
	[STORE_NOT_STORED] = "NOT_STORED",
	[STORE_EXISTS] = "EXISTS",
	[STORE_NOT_FOUND] = "NOT_FOUND",
	[STORE_TOO_LARGE] = "SERVER_ERROR object too large for cache",
	[STORE_FULL] = "SERVER_ERROR out of memory storing object",
};

static enum proto_next put(struct proto *p, struct buffer *in,
			   struct buffer *out, const struct line *l,
			   enum store_how how)
{
	const size_t words = how == STORE_CAS ? 6 : 5;
	const struct token *w = l->word;
	size_t after = (size_t)(l->end - in->at);
	struct store_value v = { .how = how };
	uint64_t flags, len;
	struct store_key k;
	int64_t said;

	if (l->words < words || l->words > words + 1) {
		in->begin = after;
		return say(p, out, "ERROR");
	}
	p->noreply = l->words > words && token_is(w[words], "noreply");
	if (!is_key(w[1]) || !token_u64(w[2], &flags) || flags > UINT32_MAX ||
	    !token_i64(w[3], &said) || !token_u64(w[4], &len) ||
	    len > INT32_MAX - 2 ||
	    (how == STORE_CAS && !token_u64(w[5], &v.cas))) {
		in->begin = after;
		return say(p, out, BAD_FORMAT);
	}
	k = key_of(l, w[1]);
	if (len > ITEM_MAX) {
		/* what it was is not what the client wants it to be */
		if (how == STORE_SET)
			store_delete(&k);
		p->swallow = len + 2;
		in->begin = after;
		return say(p, out, put_answer[STORE_TOO_LARGE]);
	}
	if (in->end - after < len + 2) {
		p->more = len + 2 - (in->end - after);
		return PROTO_RECEIVE;
	}
	in->begin = after + len + 2;
	if (l->end[len] != '\r' || l->end[len + 1] != '\n')
		return say(p, out, "CLIENT_ERROR bad data chunk");
	v.at = l->end;
	v.len = len;
	v.flags = (uint32_t)flags;
	v.expires = expires(said, l->now);
	return say(p, out, put_answer[store_put(&k, &v)]);
}

/* --------------------------------------------------- what fits in one line */

static enum proto_next count(struct proto *p, struct buffer *out,
			     const struct line *l, int up)
{
	struct store_key k = key_of(l, l->word[1]);
	uint64_t by, sum = 0, rest;
	char digits[24], *at = digits + sizeof(digits);

	if (l->words < 3 || l->words > 4)
		return say(p, out, "ERROR");
	if (!is_key(l->word[1]))
		return say(p, out, BAD_FORMAT);
	if (!token_u64(l->word[2], &by))
		return say(p, out, "CLIENT_ERROR invalid numeric delta "
			   "argument");
	switch (store_count(&k, up, by, &sum)) {
	case STORE_DONE:
		*--at = '\0';
		rest = sum;
		do
			*--at = (char)('0' + rest % 10);
		while (rest /= 10);
		return say(p, out, at);
	case STORE_NOT_FOUND:
		return say(p, out, "NOT_FOUND");
	case STORE_NOT_A_NUMBER:
		return say(p, out, "CLIENT_ERROR cannot increment or decrement "
			   "non-numeric value");
	default:
		return say(p, out, "SERVER_ERROR out of memory in incr");
	}
}

static enum proto_next delete(struct proto *p, struct buffer *out,
			      const struct line *l)
{
	struct store_key k = key_of(l, l->word[1]);
	/* "delete <key> 0" is what old clients say */
	size_t words = l->words - p->noreply;

	if (l->words < 2 || l->words > 4)
		return say(p, out, "ERROR");
	if (words > 3 || (words == 3 && !token_is(l->word[2], "0")))
		return say(p, out, BAD_FORMAT ".  Usage: delete <key> "
			   "[noreply]");
	if (!is_key(l->word[1]))
		return say(p, out, BAD_FORMAT);
	return say(p, out, store_delete(&k) == STORE_DONE ? "DELETED" :
		   "NOT_FOUND");
}

static enum proto_next touch(struct proto *p, struct buffer *out,
			     const struct line *l)
{
	struct store_key k = key_of(l, l->word[1]);
	int64_t said;

	if (l->words < 3)
		return say(p, out, "ERROR");
	if (!is_key(l->word[1]))
		return say(p, out, BAD_FORMAT);
	if (!token_i64(l->word[2], &said))
		return say(p, out, "CLIENT_ERROR invalid exptime argument");
	return say(p, out, store_touch(&k, expires(said, l->now)) ==
		   STORE_DONE ? "TOUCHED" : "NOT_FOUND");
}

static enum proto_next flush(struct proto *p, struct buffer *out,
			     const struct line *l)
{
	int64_t said = 0;

	if (l->words > 3)
		return say(p, out, "ERROR");
	if (l->words - p->noreply > 1 && !token_i64(l->word[1], &said))
		return say(p, out, "CLIENT_ERROR invalid exptime argument");
	store_flush(said > 0 ? expires(said, l->now) : 0, l->now);
	return say(p, out, "OK");
}

static enum proto_next stats(struct proto *p, struct buffer *out,
			     const struct line *l)
{
	if (l->words > 1 && token_is(l->word[1], "reset")) {
		store_stats_reset();
		return say(p, out, "RESET");
	}
	if (l->words > 1 && !token_is(l->word[1], "settings") &&
	    !token_is(l->word[1], "items") && !token_is(l->word[1], "slabs"))
		return say(p, out, "ERROR");
	/* there is nothing to say of these */
	if (l->words == 1 && stats_answer(out))
		return PROTO_CLOSE;
	return say(p, out, "END");
}

/* Nothing is said more or less because of it. */
static enum proto_next verbosity(struct proto *p, struct buffer *out,
				 const struct line *l)
{
	uint64_t level;

	if (l->words - p->noreply > 1 && !token_u64(l->word[1], &level))
		return say(p, out, BAD_FORMAT);
	return say(p, out, "OK");
}

static enum proto_next simple(struct proto *p, struct buffer *out,
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
		return say(p, out, "VERSION 1.0.0");
	if (token_is(w[0], "quit") && l->words == 1)
		return PROTO_CLOSE;
	return say(p, out, "ERROR");
}

/* --------------------------------------------------------------- dispatch */

static const struct {
	const char *name;
	enum store_how how;
} puts_[] = {
	{ "set", STORE_SET }, { "add", STORE_ADD }, { "cas", STORE_CAS },
	{ "replace", STORE_REPLACE }, { "append", STORE_APPEND },
	{ "prepend", STORE_PREPEND },
};

static enum proto_next command(struct proto *p, struct buffer *in,
			       struct buffer *out, struct line *l)
{
	const char *at = in->at + in->begin, *end;
	size_t i;

	end = l->end - 1 > at ? line_end(l) : at;
	while (l->words < WORDS) {
		l->word[l->words] = token_next(&at, end);
		if (!l->word[l->words].len)
			break;
		l->words++;
	}
	p->noreply = false;
	if (l->words && (token_is(l->word[0], "get") ||
			 token_is(l->word[0], "gets") ||
			 token_is(l->word[0], "gat") ||
			 token_is(l->word[0], "gats")))
		return get(p, in, out, l);
	for (i = 0; l->words && i < sizeof(puts_) / sizeof(*puts_); i++)
		if (token_is(l->word[0], puts_[i].name))
			return put(p, in, out, l, puts_[i].how);
	in->begin = (size_t)(l->end - in->at);
	return l->words ? simple(p, out, l) : say(p, out, "ERROR");
}

static enum proto_next without_end(struct proto *p, struct buffer *in,
				   struct buffer *out)
{
	const char *at = in->at + in->begin;
	bool keys = buffer_waits(in) > 4 && *at == 'g';

	if (buffer_waits(in) <= (keys ? KEYS_MAX_LEN : LINE_MAX_LEN))
		return PROTO_RECEIVE;
	p->noreply = false;
	say(p, out, "CLIENT_ERROR line too long");
	return PROTO_CLOSE;
}

enum proto_next proto_run(struct proto *p, struct buffer *in,
			  struct buffer *out)
{
	struct line l = { .now = now() };
	enum proto_next next = PROTO_RECEIVE;

	p->more = 0;
	while (next == PROTO_RECEIVE && !p->more) {
		size_t waits = buffer_waits(in);
		const char *newline;

		if (p->swallow) {
			size_t some = p->swallow < waits ? p->swallow : waits;

			in->begin += some;
			p->swallow -= some;
			waits -= some;
		}
		if (!waits)
			break;
		newline = memchr(in->at + in->begin, '\n', waits);
		if (!newline)
			return without_end(p, in, out);
		l.words = 0;
		l.end = newline + 1;
		next = p->getting ? get_keys(p, in, out, &l) :
		       command(p, in, out, &l);
		if (next == PROTO_RECEIVE && buffer_waits(out) >= OUT_MUCH)
			next = PROTO_SEND;
	}
	return next;
}
