/* SPDX-License-Identifier: MIT */
/*
 * The text protocol of memcached, as far as clients use it: get, gets, gat, gats,
 * set, add, replace, append, prepend, cas, delete, incr, decr, touch, stats,
 * flush_all, version, verbosity, quit. It knows buffers, and no sockets.
 */
#ifndef KV_PROTO_H
#define KV_PROTO_H

#include <stdbool.h>
#include <stdint.h>

#include "buffer.h"

/* Of a connection. All 0 to begin with. */
struct proto {
	size_t swallow;		/* bytes of a value that nobody wants */
	size_t more;		/* so many are missing of one, at least */
	bool getting;		/* in the keys of a get whose answers are many */
	int with_cas;
	bool touch;
	uint32_t expires;
	bool noreply;		/* of the command that is under way */
};

enum proto_next {
	PROTO_RECEIVE,		/* it has done what it could */
	PROTO_SEND,		/* there is much to send; then call again */
	PROTO_CLOSE		/* send what there is, and close */
};

enum proto_next proto_run(struct proto *p, struct buffer *in,
			  struct buffer *out);

/* stats.c: what "stats" answers. -1: no memory. */
int stats_answer(struct buffer *out);

#endif
