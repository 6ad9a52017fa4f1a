/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "proto.h"

#include <time.h>

#include "line.h"

#define LINE_MAX_LEN	2048u		/* but for the keys of a get */
#define KEYS_MAX_LEN	65536u
#define OUT_MUCH	262144u		/* bytes; then they are sent first */

enum proto_next proto_say(struct proto *p, struct buffer *out,
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
	return proto_say(p, out, "END");
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
		return proto_say(p, out, l->words <= first ? "ERROR" : BAD_FORMAT);
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
		return proto_say(p, out, "ERROR");
	}
	p->noreply = l->words > words && token_is(w[words], "noreply");
	if (!is_key(w[1]) || !token_u64(w[2], &flags) || flags > UINT32_MAX ||
	    !token_i64(w[3], &said) || !token_u64(w[4], &len) ||
	    len > INT32_MAX - 2 ||
	    (how == STORE_CAS && !token_u64(w[5], &v.cas))) {
		in->begin = after;
		return proto_say(p, out, BAD_FORMAT);
	}
	k = key_of(l, w[1]);
	if (len > ITEM_MAX) {
		/* what it was is not what the client wants it to be */
		if (how == STORE_SET)
			store_delete(&k);
		p->swallow = len + 2;
		in->begin = after;
		return proto_say(p, out, put_answer[STORE_TOO_LARGE]);
	}
	if (in->end - after < len + 2) {
		p->more = len + 2 - (in->end - after);
		return PROTO_RECEIVE;
	}
	in->begin = after + len + 2;
	if (l->end[len] != '\r' || l->end[len + 1] != '\n')
		return proto_say(p, out, "CLIENT_ERROR bad data chunk");
	v.at = l->end;
	v.len = len;
	v.flags = (uint32_t)flags;
	v.expires = expires(said, l->now);
	return proto_say(p, out, put_answer[store_put(&k, &v)]);
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
	return l->words ? proto_simple(p, out, l) : proto_say(p, out, "ERROR");
}

static enum proto_next without_end(struct proto *p, struct buffer *in,
				   struct buffer *out)
{
	const char *at = in->at + in->begin;
	bool keys = buffer_waits(in) > 4 && *at == 'g';

	if (buffer_waits(in) <= (keys ? KEYS_MAX_LEN : LINE_MAX_LEN))
		return PROTO_RECEIVE;
	p->noreply = false;
	proto_say(p, out, "CLIENT_ERROR line too long");
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
