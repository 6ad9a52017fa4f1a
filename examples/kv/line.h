/* SPDX-License-Identifier: MIT */
/* A line of the protocol, between the files that answer it: proto.c, simple.c. */
#ifndef KV_LINE_H
#define KV_LINE_H

#include "proto.h"
#include "store.h"
#include "token.h"

#define WORDS		8
#define MONTH		(60 * 60 * 24 * 30)
#define BAD_FORMAT	"CLIENT_ERROR bad command line format"

struct line {
	struct token word[WORDS];
	size_t words;
	const char *end;		/* the byte behind its newline */
	uint64_t now;
};

/* Unless the client wants no reply. */
enum proto_next proto_say(struct proto *p, struct buffer *out,
			  const char *answer);

/* The commands that fit in one line, but for the gets. */
enum proto_next proto_simple(struct proto *p, struct buffer *out,
			     const struct line *l);

/* What a client says: seconds from now up to a month, or since 1970; below 0: it
 * is over already. */
static inline uint32_t expires(int64_t said, uint64_t at)
{
	if (said < 0)
		return 1;
	return (uint32_t)(said && said <= MONTH ? at + (uint64_t)said :
			  (uint64_t)said);
}

static inline bool is_key(struct token t)
{
	return t.len && t.len <= KEY_MAX_LEN;
}

static inline struct store_key key_of(const struct line *l, struct token t)
{
	return (struct store_key){ t.at, t.len, l->now };
}

#endif
