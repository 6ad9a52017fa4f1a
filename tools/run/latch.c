/* SPDX-License-Identifier: MIT */
#include "latch.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define SECOND 1000000000u

const char *latch_word(enum latch latch)
{
	static const char *const words[] = { NULL, "often", "dimm", "frame" };

	return words[latch];
}

const char *latch_when(uint64_t wall_ns, char ret[32])
{
	time_t s = (time_t)(wall_ns / SECOND);
	struct tm tm;

	memset(&tm, 0, sizeof(tm));
	gmtime_r(&s, &tm);
	strftime(ret, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
	return ret;
}

static int same_boot(const struct death *a, const struct death *b)
{
	return !memcmp(a->boot_id, b->boot_id, sizeof(a->boot_id));
}

/* Within one boot nobody can set the clock. */
static uint64_t ago(const struct death *was, const struct death *now)
{
	uint64_t from = same_boot(was, now) ? was->boot_ns : was->wall_ns;
	uint64_t to = same_boot(was, now) ? now->boot_ns : now->wall_ns;

	return from < to ? to - from : 0;
}

unsigned int latch_count(const struct deaths *before, const struct death *now,
			 uint64_t within_ns)
{
	unsigned int n = 1;
	size_t i;

	for (i = 0; i < before->n; i++)
		n += ago(&before->death[i], now) < within_ns;
	return n;
}

/* The last one of @before that lost the same frame in another boot, when the
 * kernel did not yet know that it is bad. In the same boot a frame that was lost
 * is out of use: who meets it again has it from before. */
static const struct death *same_frame(const struct deaths *before,
				      const struct death *now)
{
	size_t i;

	for (i = before->n; now->has_frame && i-- > 0;)
		if (before->death[i].has_frame &&
		    before->death[i].frame == now->frame &&
		    !same_boot(&before->death[i], now))
			return &before->death[i];
	return NULL;
}

static const struct death *same_dimm(const struct deaths *before,
				     const struct death *now)
{
	size_t i;

	for (i = before->n; *now->dimm && i-- > 0;)
		if (!strcmp(before->death[i].dimm, now->dimm))
			return &before->death[i];
	return NULL;
}

enum latch latch_of(const struct deaths *before, const struct death *now,
		    const struct limits *limits, char ret_why[WHY_ROOM])
{
	const struct death *frame = same_frame(before, now);
	const struct death *dimm = same_dimm(before, now);
	unsigned int n = latch_count(before, now, limits->within_ns);
	char when[32];

	if (frame || (now->has_frame && now->frame_was_lost)) {
		snprintf(ret_why, WHY_ROOM, "page frame 0x%" PRIx64 " was lost "
			 "in another boot, too (%s): it is bad for good, and "
			 "was in use again", now->frame,
			 latch_when(frame ? frame->wall_ns :
					    now->frame_lost_ns, when));
		return LATCH_FRAME;
	}
	if (dimm) {
		snprintf(ret_why, WHY_ROOM, "memory module %s has cost it its "
			 "life before (%s)", now->dimm,
			 latch_when(dimm->wall_ns, when));
		return LATCH_DIMM;
	}
	if (n > limits->restarts) {
		snprintf(ret_why, WHY_ROOM, "it has died of lost memory %u "
			 "time%s within %" PRIu64 " s, and may be restarted %u "
			 "time%s", n, n == 1 ? "" : "s",
			 limits->within_ns / SECOND, limits->restarts,
			 limits->restarts == 1 ? "" : "s");
		return LATCH_OFTEN;
	}
	return LATCH_NONE;
}

void deaths_add(struct deaths *d, const struct death *now)
{
	if (d->n == DEATHS_MOST) {
		memmove(d->death, d->death + 1,
			(DEATHS_MOST - 1) * sizeof(d->death[0]));
		d->n--;
	}
	d->death[d->n++] = *now;
}
