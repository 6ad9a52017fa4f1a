/* SPDX-License-Identifier: MIT */
#include <bezoar/bezoar.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "proto.h"
#include "serve.h"
#include "store.h"

static const char *const name[STORE_COUNTERS] = {
	[STORE_GETS] = "cmd_get",
	[STORE_GET_HITS] = "get_hits",
	[STORE_SETS] = "cmd_set",
	[STORE_TOUCHES] = "cmd_touch",
	[STORE_TOUCH_HITS] = "touch_hits",
	[STORE_DELETE_HITS] = "delete_hits",
	[STORE_DELETE_MISSES] = "delete_misses",
	[STORE_INCR_HITS] = "incr_hits",
	[STORE_INCR_MISSES] = "incr_misses",
	[STORE_DECR_HITS] = "decr_hits",
	[STORE_DECR_MISSES] = "decr_misses",
	[STORE_CAS_HITS] = "cas_hits",
	[STORE_CAS_MISSES] = "cas_misses",
	[STORE_CAS_BADVAL] = "cas_badval",
	[STORE_FLUSHES] = "cmd_flush",
	[STORE_TOTAL_ITEMS] = "total_items",
	[STORE_EVICTIONS] = "evictions",
	[STORE_LOST_PAGES] = "lost_pages",
	[STORE_LOST_KEYS] = "lost_keys",
	[STORE_LOST_BYTES] = "lost_bytes",
	[STORE_INDEX_LOST] = "index_rebuilt",
	[STORE_UNMENDED] = "lost_unmended",
};

static int stat(struct buffer *out, const char *what, uint64_t value)
{
	char *at = buffer_room(out, 80);

	if (!at)
		return -1;
	out->end += (size_t)snprintf(at, 80, "STAT %s %" PRIu64 "\r\n", what,
				     value);
	return 0;
}

int stats_answer(struct buffer *out)
{
	struct bez_status status = { .size = sizeof(status) };
	uint64_t now = (uint64_t)time(NULL);
	struct store_stats s;
	int i, r;

	store_stats(&s);
	bez_status(&status);
	r = stat(out, "pid", (uint64_t)getpid()) |
	    stat(out, "uptime", now - serve_info.started) |
	    stat(out, "time", now) |
	    stat(out, "pointer_size", sizeof(void *) * 8) |
	    stat(out, "curr_connections", serve_info.connections) |
	    stat(out, "total_connections", serve_info.total) |
	    stat(out, "threads", serve_info.threads) |
	    stat(out, "limit_maxbytes", s.limit) |
	    stat(out, "curr_items", s.items) |
	    stat(out, "bytes", s.bytes) |
	    stat(out, "get_misses",
		 s.count[STORE_GETS] - s.count[STORE_GET_HITS]);
	for (i = 0; i < STORE_COUNTERS; i++)
		r |= stat(out, name[i], s.count[i]);
	/* extents that nobody has made good yet; 0, but for a moment */
	return r | stat(out, "lost_now", status.lost);
}
